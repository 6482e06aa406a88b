/**
 * The command line `tundra`: looks at a store, and acts on it. It runs if this module is the program, and does nothing
 * if it is imported. For Deno, Bun and Node; no part of an application's bundle.
 *
 * ```sh
 * deno run -A jsr:@tundra/store/cli status
 * npx @tundra/store status
 * ```
 *
 * @example
 * ```ts
 * import { runCommandLine } from "@tundra/store/cli";
 *
 * const exitCode = await runCommandLine(["--help"]);
 * console.log(exitCode); // 0
 * ```
 * @module
 */
import { inProcess } from "./host.ts";
import { runCommandLine } from "./main.ts";

export { runCommandLine };
export type { Host, HostStream } from "./host.ts";

// Deno and Bun know it; on Node, and in the npm package, bin.ts is the program
if ((import.meta as { main?: boolean }).main) await inProcess(runCommandLine);
