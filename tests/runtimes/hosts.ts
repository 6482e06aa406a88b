/**
 * The portable bundle, and the hosts that serve it: Deno, Bun, Node, workerd with and without Node's built-ins, and
 * Vercel's edge-runtime.
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { build } from "esbuild";
import { bin, load, miniflare, ROOT } from "./tools.ts";

/** The bundle, as a module and as a script that sets `globalThis.portable`. */
export interface Bundle {
  module: string;
  script: string;
  folder: string;
  remove(): void;
}

/** Bundles the portable suite once, for all hosts. */
export async function bundlePortable(): Promise<Bundle> {
  const common = {
    bundle: true,
    write: false,
    platform: "browser",
    target: "es2022",
    logLevel: "error",
    tsconfig: join(ROOT, "tsconfig.json"),
    alias: { "node:util": join(ROOT, "tests/runtimes/portable/inspect.ts") },
  } as const;
  const entryPoints = [join(ROOT, "tests/runtimes/portable/main.ts")];
  const module = (await build({ ...common, entryPoints, format: "esm" })).outputFiles[0]!.text;
  const stdin = { contents: module, loader: "js" } as const;
  const script = (await build({ ...common, stdin, format: "iife", globalName: "portable" })).outputFiles[0]!.text;
  const folder = mkdtempSync(join(tmpdir(), "tundra-portable-"));
  writeFileSync(join(folder, "portable.mjs"), module);
  return { module, script, folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** A host under test. */
export interface Host {
  readonly name: string;
  /** Asks the bundle. */
  ask<T>(path: string, body?: object): Promise<T>;
  stop(): Promise<void>;
}

/** Commands that start each host. */
export const HOSTS: Record<string, (bundle: Bundle) => Promise<Host>> = {
  deno: (bundle) => startProcess("deno", bin("deno"), ["run", "-A", "--no-config"], bundle),
  bun: (bundle) => startProcess("bun", bin("bun"), ["run"], bundle),
  node: (bundle) => startProcess("node", "node", [], bundle),
  "workerd": (bundle) => startWorkerd("workerd", bundle, []),
  "workerd, nodejs_compat": (bundle) => startWorkerd("workerd, nodejs_compat", bundle, ["nodejs_compat"]),
  "edge-runtime": startEdge,
};

async function startProcess(name: string, command: string, args: string[], bundle: Bundle): Promise<Host> {
  const child = spawn(command, [...args, join(ROOT, "tests/runtimes/host.mjs"), join(bundle.folder, "portable.mjs")], {
    cwd: bundle.folder,
    stdio: ["pipe", "pipe", "inherit"],
  });
  const port = await portOf(name, child);
  return {
    name,
    ask: (path, body) => ask(`http://127.0.0.1:${port}${path}`, body),
    stop: () =>
      new Promise((resolve) => {
        child.once("exit", () => resolve());
        child.stdin!.end();
        child.kill();
      }),
  };
}

function portOf(name: string, child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    let output = "";
    child.stdout!.on("data", (chunk) => {
      output += chunk;
      const port = /port (\d+)/.exec(output)?.[1];
      if (port) resolve(Number(port));
    });
    child.on("error", reject);
    child.on("exit", (code) => reject(new Error(`${name} ended with ${code} before it listened`)));
  });
}

async function startWorkerd(name: string, bundle: Bundle, compatibilityFlags: string[]): Promise<Host> {
  const worker = `import { answer } from "./portable.mjs"; export default { fetch: (request) => answer(request) };`;
  const mf = miniflare({
    compatibilityFlags,
    modules: [
      { type: "ESModule", path: "worker.mjs", contents: worker },
      { type: "ESModule", path: "portable.mjs", contents: bundle.module },
    ],
  });
  const url = await mf.ready;
  return { name, ask: (path, body) => ask(new URL(path, url).href, body), stop: () => mf.dispose() };
}

async function startEdge(bundle: Bundle): Promise<Host> {
  const { EdgeRuntime, runServer } = load<{
    EdgeRuntime: new (options: { initialCode: string }) => object;
    runServer(options: { runtime: object }): Promise<{ url: string; close(): Promise<void> }>;
  }>("edge-runtime", ROOT);
  const serve = `addEventListener("fetch", (event) => event.respondWith(portable.answer(event.request)));`;
  const server = await runServer({ runtime: new EdgeRuntime({ initialCode: bundle.script + serve }) });
  return {
    name: "edge-runtime",
    ask: (path, body) => ask(new URL(path, server.url).href, body),
    // what it waits for are keep-alive connections of the tests themselves
    stop: () => Promise.race([server.close(), new Promise<void>((resolve) => setTimeout(resolve, 100))]),
  };
}

async function ask<T>(url: string, body: object = {}): Promise<T> {
  const response = await fetch(url, { method: "POST", body: JSON.stringify(body) });
  const text = await response.text();
  if (!response.ok) throw new Error(`${url} answered ${response.status}: ${text}`);
  return JSON.parse(text) as T;
}

/** True in the one runtime that can start all of them. */
export const isNode = !process.versions.deno && !process.versions.bun;
