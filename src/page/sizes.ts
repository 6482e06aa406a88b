/**
 * Bytes of evicted and resident keys, from a sample of their records.
 * @module
 */
import type { Context } from "../core/context.ts";
import { scanRecords } from "../operations/known_keys.ts";
import { parseRecord } from "../scripts/prelude.ts";
import type { Status } from "../store_interface.ts";

/** Bytes of payloads, `undefined` where the sample does not tell. */
export interface Sizes {
  evicted?: number;
  resident?: number;
  /** `true`: every record was read. */
  exact: boolean;
}

interface Sum {
  keys: number;
  kb: number;
}

/** The sizes of the archived keys that one step of a scan has met. Cost: 1 request, 1 command; 2 of each if it met any. */
export async function sampleSizes(context: Context): Promise<{ evicted: Sum; resident: Sum; all: boolean }> {
  const evicted = { keys: 0, kb: 0 };
  const resident = { keys: 0, kb: 0 };
  for await (const { texts, next } of scanRecords(context, "show sizes")) {
    for (const text of texts.values()) {
      const { flag, ver, kb } = parseRecord(text) ?? { flag: "g", ver: "", kb: 0 };
      const sum = flag === "e" ? evicted : resident;
      if (ver === "" || kb === 0 || flag === "g" || flag === "m") continue; // a rebuild leaves sizes unknown
      sum.keys++;
      sum.kb += kb;
    }
    return { evicted, resident, all: next === undefined };
  }
  return { evicted, resident, all: true };
}

/** The sizes of all, if those of the sample are like the others. */
export function estimate(status: Status, sample: Awaited<ReturnType<typeof sampleSizes>>): Sizes {
  const bytesOf = ({ keys, kb }: Sum, all: number) =>
    all === 0 ? 0 : keys === 0 ? undefined : Math.round(1024 * kb / keys * all);
  return {
    evicted: bytesOf(sample.evicted, status.evicted),
    resident: bytesOf(sample.resident, status.resident),
    exact: sample.all,
  };
}
