/**
 * recordsNow: the records of keys at this moment, as the primary has them, for an operation that is about to delete.
 * @module
 */
import type { TundraError } from "../base/errors.ts";
import type { Context } from "../core/context.ts";
import { type KeyRecord, parseRecord } from "../scripts/prelude.ts";
import { readIndex } from "../scripts/read_index.ts";
import type { Bounds } from "./bounds.ts";

/** Records by key; `null` for none, `undefined` for one of another version. */
export type Records = Map<string, KeyRecord | null | undefined>;

/** Reads them, and notes Redis' clock; throws `changed` if the index's id is not the one that the operation began with. */
export async function recordsNow(
  run: { readonly context: Context; readonly bounds: Bounds; readonly id: string; clockUs: number },
  all: readonly string[],
  changed: (id: string) => TundraError,
): Promise<Records> {
  const keys = [...new Set(all)];
  const { id, nowUs, records } = await readIndex(run.context.index, keys, run.bounds.call);
  if (id !== run.id) throw changed(id);
  run.clockUs = nowUs;
  return new Map(keys.map((key, i) => [key, records[i] === "" ? null : parseRecord(records[i])]));
}
