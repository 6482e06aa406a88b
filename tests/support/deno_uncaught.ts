/**
 * Preloaded by tests/run.ts on Deno: there, a file that imports node:test passes even if it throws at import, after a
 * test, or leaves a rejection unhandled. Each goes into the file that TUNDRA_UNCAUGHT names, and the runner counts a
 * failure.
 * @module
 */
import { appendFileSync } from "node:fs";
import process from "node:process";

function note(what: string, thrown: unknown): void {
  const text = `${what}: ${thrown instanceof Error ? thrown.stack : String(thrown)}\n`;
  console.error(text);
  appendFileSync(process.env.TUNDRA_UNCAUGHT!, text);
}

globalThis.addEventListener("error", (event) => note("uncaught", event.error));
globalThis.addEventListener("unhandledrejection", (event) => note("unhandled rejection", event.reason));
