/**
 * The size of a whole Worker, of Tundra's own part of it, and each entry point alone: minified and gzipped, in KB of
 * 1,024 bytes.
 * @module
 */
import { stop } from "esbuild";
import {
  type BundleSize,
  bundleSize,
  ENTRY_POINTS,
  OWN_BUDGET_KB,
  WORKER,
  WORKER_BUDGET_KB,
} from "../dev/tools/bundle.ts";
import { DEPENDENCIES } from "../dev/tools/manifests.ts";
import type { Row } from "./row.ts";

const inKb = ({ bytes }: BundleSize): string => `${(bytes / 1024).toFixed(1)} KB`;

/** Weighs them all. */
export async function size(): Promise<Row[]> {
  const worker = await bundleSize(WORKER);
  const own = await bundleSize(WORKER, new RegExp(`^(${DEPENDENCIES.join("|")})`));
  const entries: Row[] = [];
  for (const [name, path] of Object.entries(ENTRY_POINTS)) {
    const measured = inKb(await bundleSize(`export * from "${path}"`, /^node:/));
    entries.push({ what: `bundle of everything in ${name}`, budget: "", measured });
  }
  await stop();
  return [
    {
      what: "bundle of a whole Worker on R2",
      budget: `<= ${WORKER_BUDGET_KB} KB`,
      measured: inKb(worker),
      good: worker.bytes <= WORKER_BUDGET_KB * 1024,
    },
    {
      what: "  of which Tundra's own",
      budget: `<= ${OWN_BUDGET_KB} KB`,
      measured: inKb(own),
      good: own.bytes <= OWN_BUDGET_KB * 1024,
    },
    { what: "  of which, before gzip", budget: "", measured: shares(worker) },
    ...entries,
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
