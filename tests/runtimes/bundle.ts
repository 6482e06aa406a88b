/**
 * Modules for workerd, bundled as wrangler would.
 * @module
 */
import { join } from "node:path";
import { build } from "esbuild";
import { ROOT } from "./tools.ts";

/** Bundles a module; its relative imports begin at the root of the repository. */
export async function bundle(contents: string): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: ROOT, loader: "ts" },
    bundle: true,
    write: false,
    format: "esm",
    platform: "browser",
    conditions: ["workerd", "worker"],
    target: "es2022",
    tsconfig: join(ROOT, "tsconfig.json"),
  });
  return outputFiles[0]!.text;
}
