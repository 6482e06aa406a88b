/**
 * The command `tundra` of pages: the command line of this repository, on PATH.
 * @module
 */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { ROOT } from "./page.ts";

/** Puts it into a folder of its own; `env` has the PATH. */
export function tundraCommand(): { env: Record<string, string>; remove(): void } {
  const folder = mkdtempSync(join(tmpdir(), "tundra-command-"));
  const deno = `"${process.execPath}" run -A --no-check --config "${ROOT}deno.json" "${ROOT}src/cli/mod.ts"`;
  writeFileSync(join(folder, "tundra"), `#!/bin/bash\nexec ${deno} "$@"\n`);
  chmodSync(join(folder, "tundra"), 0o755);
  return {
    env: { PATH: `${folder}:${process.env.PATH}`, NO_COLOR: "1" },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
