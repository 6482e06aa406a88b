/**
 * A record of calls that must not happen while the package is imported. Bundled before it; `callsAtImport()` comes
 * after it.
 *
 * workerd refuses these at the top of a module anyway: there, starting at all is the proof.
 * @module
 */

type Holder = Record<string, unknown>;

const WATCHED: [name: string, object: object, members: string[]][] = [
  ["", globalThis, ["fetch", "setTimeout", "setInterval", "setImmediate", "queueMicrotask", "WebSocket"]],
  ["Date.", Date, ["now"]],
  ["Math.", Math, ["random"]],
  ["performance.", globalThis.performance ?? {}, ["now"]],
  ["crypto.", crypto, ["randomUUID", "getRandomValues"]],
  ["crypto.subtle.", crypto.subtle, ["digest", "generateKey", "importKey"]],
];

const calls: string[] = [];
const restore: (() => void)[] = [];
const isWorkerd = globalThis.navigator?.userAgent === "Cloudflare-Workers";

if (!isWorkerd) {
  for (const [prefix, object, members] of WATCHED) {
    const holder = object as Holder;
    for (const member of members) {
      const original = holder[member];
      if (typeof original !== "function") continue;
      const own = Object.getOwnPropertyDescriptor(holder, member);
      const watcher = function (this: unknown, ...args: unknown[]): unknown {
        calls.push(prefix + member);
        return Reflect.apply(original, this, args);
      };
      // Assigned where it may not be redefined (edge-runtime), defined where it is inherited.
      if (own?.configurable === false) {
        if (!own.writable) continue;
        holder[member] = watcher;
        restore.push(() => holder[member] = original);
        continue;
      }
      Object.defineProperty(holder, member, { configurable: true, writable: true, value: watcher });
      restore.push(() => {
        if (own) Object.defineProperty(holder, member, own);
        else delete holder[member];
      });
    }
  }
}

/** Ends watching: what was called, and how many functions were watched. */
export function callsAtImport(): { calls: string[]; watched: number } {
  const watched = restore.length;
  restore.splice(0).forEach((act) => act());
  return { calls: [...calls], watched: isWorkerd ? -1 : watched };
}
