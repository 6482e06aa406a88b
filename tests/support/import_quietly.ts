/**
 * Run as a program, `import_quietly.ts FOLDER MODULE...`: imports the modules while it watches time, timers, randomness
 * and I/O, and prints as JSON each call that came from code under FOLDER, dependencies included: `["Date.now at ..."]`.
 * A process of its own, so that no module was loaded before.
 * @module
 */
import process from "node:process";
import { pathToFileURL } from "node:url";

type Holder = Record<string, unknown>;

const WATCHED: [string, object, string[]][] = [
  ["", globalThis, ["fetch", "setTimeout", "setInterval", "setImmediate", "WebSocket", "EventSource", "Worker"]],
  ["Date.", Date, ["now"]],
  ["Math.", Math, ["random"]],
  ["performance.", performance, ["now"]],
  ["crypto.", crypto, ["randomUUID", "getRandomValues"]],
  ["crypto.subtle.", crypto.subtle, ["digest", "generateKey", "importKey"]],
  ["AbortSignal.", AbortSignal, ["timeout"]],
];

const [folder, ...modules] = process.argv.slice(2);
const calls: string[] = [];

/**
 * The innermost line of the stack under the folder; a runtime's module loader may use timers itself, so others don't
 * count.
 */
function caller(): string | undefined {
  return new Error().stack?.split("\n").slice(1).find((line) =>
    line.includes(folder!) && !/import_quietly|node_modules\/(\.deno\/)?(tsx|esbuild|get-tsconfig)/.test(line)
  )?.trim();
}

for (const [prefix, object, names] of WATCHED) {
  const holder = object as Holder;
  for (const name of names) {
    const original = holder[name];
    if (typeof original !== "function") continue;
    // Defined on the object itself: some of these are inherited, and some are getters.
    Object.defineProperty(holder, name, {
      configurable: true,
      writable: true,
      value: function (this: unknown, ...args: unknown[]): unknown {
        const from = caller();
        if (from) calls.push(`${prefix}${name} ${from}`);
        return new.target ? Reflect.construct(original, args) : Reflect.apply(original, this, args);
      },
    });
  }
}
for (const module of modules) await import(pathToFileURL(module).href);
console.log(JSON.stringify(calls));
process.exit(0);
