/**
 * Seeded bugs: the package with a few words of its source replaced.
 * @module
 */
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** A text, and what stands in its place. */
export type Patch = readonly [from: string, to: string];

/** The text with its patches; a patch that fits nowhere would never be noticed, so it throws. */
export function patched(text: string, patches: readonly Patch[], where: string): string {
  return patches.reduce((patched, [from, to]) => {
    if (!patched.includes(from)) throw new Error(`${where} no longer has ${JSON.stringify(from)}`);
    return patched.replace(from, () => to);
  }, text);
}

/** A module whose imports begin at the root of the repository, bundled with one patched file, and imported. */
export async function importPatched<T>(contents: string, file: string, patches: readonly Patch[]): Promise<T> {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: ROOT, loader: "ts" },
    bundle: true,
    write: false,
    format: "esm",
    platform: "node",
    plugins: [{
      name: "patch",
      setup({ onLoad }) {
        onLoad({ filter: /\.ts$/ }, ({ path }) => {
          if (path !== join(ROOT, file)) return undefined;
          return { contents: patched(readFileSync(path, "utf8"), patches, file), loader: "ts" };
        });
      },
    }],
    logLevel: "silent",
  });
  const code = Buffer.from(outputFiles![0]!.text).toString("base64");
  return await import(`data:text/javascript;base64,${code}`) as T;
}
