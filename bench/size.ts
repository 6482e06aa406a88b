/**
 * What mod.ts and its dependencies weigh in an application's bundle.
 * @module
 */
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build, stop } from "esbuild";
import type { Row } from "./main.ts";

const BUDGET = 45_000;

/** Bundles as a Worker's toolchain does: ES module, browser conditions, minified. */
export async function size(): Promise<Row[]> {
  const entry = fileURLToPath(new URL("../mod.ts", import.meta.url));
  const { outputFiles, metafile } = await build({
    entryPoints: [entry],
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    platform: "browser",
    conditions: ["workerd", "worker", "browser"],
    external: ["node:*"],
    metafile: true,
    write: false,
    logLevel: "error",
  });
  await stop();
  const zipped = gzipSync(outputFiles[0]!.contents, { level: 9 }).length;
  const parts = new Map<string, number>();
  for (const [path, { bytesInOutput }] of Object.entries(Object.values(metafile.outputs)[0]!.inputs)) {
    const name = /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? "Tundra";
    parts.set(name, (parts.get(name) ?? 0) + bytesInOutput);
  }
  const all = [...parts.values()].reduce((a, b) => a + b);
  const shares = [...parts].sort(([, a], [, b]) => b - a)
    .map(([name, bytes]) => `${name} ${Math.round(bytes / all * 100)}%`);
  return [
    {
      what: "bundle of mod.ts, all dependencies, minified and gzipped",
      budget: `${BUDGET / 1000} KB`,
      measured: `${(zipped / 1000).toFixed(1)} KB`,
      good: zipped <= BUDGET,
    },
    { what: "  of which, before gzip", budget: "", measured: shares.join(", ") },
  ];
}
