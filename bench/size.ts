/**
 * What a whole Worker weighs, and what an application on S3: all dependencies, minified and gzipped, in KB of 1,024 bytes.
 * @module
 */
import { stop } from "esbuild";
import { type BundleSize, bundleSize, WORKER, WORKER_BUDGET_KB } from "../dev/bundle.ts";
import type { Row } from "./main.ts";

const inKb = ({ bytes }: BundleSize): string => `${(bytes / 1024).toFixed(1)} KB`;

/** Weighs both. */
export async function size(): Promise<Row[]> {
  const worker = await bundleSize(WORKER);
  const all = await bundleSize(`export * from "./mod.ts"`);
  await stop();
  return [
    {
      what: "bundle of a whole Worker on R2",
      budget: `<= ${WORKER_BUDGET_KB} KB`,
      measured: inKb(worker),
      good: worker.bytes <= WORKER_BUDGET_KB * 1024,
    },
    { what: "  of which, before gzip", budget: "", measured: shares(worker) },
    { what: "bundle of mod.ts, with S3", budget: "", measured: inKb(all) },
  ];
}

function shares({ inputs }: BundleSize): string {
  const parts = new Map<string, number>();
  for (const [path, bytes] of Object.entries(inputs)) {
    const name = /^(?:src|examples|mod\b|<)/.test(path) ? "Tundra" : /^(?:@[^/]+\/)?[^/]+/.exec(path)![0];
    parts.set(name, (parts.get(name) ?? 0) + bytes);
  }
  const sum = [...parts.values()].reduce((a, b) => a + b);
  return [...parts].sort(([, a], [, b]) => b - a).map(([name, bytes]) => `${name} ${Math.round(bytes / sum * 100)}%`)
    .join(", ");
}
