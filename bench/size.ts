/**
 * What a whole Worker weighs, and what an application on S3: all dependencies, minified and gzipped, in KB of 1,024 bytes.
 * @module
 */
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build, stop } from "esbuild";
import type { Row } from "./main.ts";

const BUDGET_KB = 45;

/** Bundles as a Worker's toolchain does. */
export async function size(): Promise<Row[]> {
  const worker = await bundled("../examples/cloudflare-worker/worker.ts");
  const all = await bundled("../mod.ts");
  await stop();
  return [
    {
      what: "bundle of a whole Worker on R2",
      budget: `<= ${BUDGET_KB} KB`,
      measured: `${worker.kb.toFixed(1)} KB`,
      good: worker.kb <= BUDGET_KB,
    },
    { what: "  of which, before gzip", budget: "", measured: worker.shares },
    { what: "bundle of mod.ts, with S3", budget: "", measured: `${all.kb.toFixed(1)} KB` },
  ];
}

async function bundled(entry: string): Promise<{ kb: number; shares: string }> {
  const { outputFiles, metafile } = await build({
    entryPoints: [fileURLToPath(new URL(entry, import.meta.url))],
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    platform: "browser",
    conditions: ["workerd", "worker"],
    tsconfig: fileURLToPath(new URL("../tsconfig.json", import.meta.url)),
    metafile: true,
    write: false,
    logLevel: "error",
  });
  const parts = new Map<string, number>();
  for (const [path, { bytesInOutput }] of Object.entries(Object.values(metafile.outputs)[0]!.inputs)) {
    const name = /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? "Tundra";
    if (bytesInOutput > 0) parts.set(name, (parts.get(name) ?? 0) + bytesInOutput);
  }
  const sum = [...parts.values()].reduce((a, b) => a + b);
  return {
    kb: gzipSync(outputFiles[0]!.contents, { level: 9 }).length / 1024,
    shares: [...parts].sort(([, a], [, b]) => b - a).map(([name, bytes]) => `${name} ${Math.round(bytes / sum * 100)}%`)
      .join(", "),
  };
}
