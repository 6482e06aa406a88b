/**
 * Modules of a person's own, named on the command line: a store, or a datastore. This is the one file that imports by a
 * name which is not known before.
 * @module
 */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { UsageError } from "./arguments.ts";

/**
 * The default export of a module; if that is a function, what it returns.
 *
 * @throws {UsageError} there is no such file, it cannot be loaded, or it has no default export
 */
export async function loadDefault(option: string, folder: string, name: string): Promise<unknown> {
  const path = resolve(folder, name);
  if (!existsSync(path)) throw new UsageError(`${option} must name a file: there is no ${JSON.stringify(path)}`);
  let module: { default?: unknown };
  try {
    module = await import(pathToFileURL(path).href);
  } catch (thrown) {
    const { message, code } = thrown as Error & { code?: string };
    const hint = code === "ERR_UNKNOWN_FILE_EXTENSION" || /Unknown file extension/.test(message)
      ? ". This Node cannot read TypeScript: name a .mjs file, or run the command on Deno, Bun or Node 22.18"
      : "";
    throw new UsageError(`${option} ${name} cannot be loaded: ${message}${hint}`, { cause: thrown });
  }
  if (module.default === undefined) {
    throw new UsageError(`${option} ${name} must have a default export: it has none`);
  }
  return typeof module.default === "function" ? await module.default() : module.default;
}
