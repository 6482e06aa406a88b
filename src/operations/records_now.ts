/**
 * recordsNow: the records of keys at this moment, as the primary has them, for an operation that is about to delete.
 * @module
 */
import type { TundraError } from "../base/errors.ts";
import { monotonicMs } from "../base/platform.ts";
import type { Context } from "../core/context.ts";
import { type KeyRecord, parseRecord } from "../scripts/prelude.ts";
import { readIndex } from "../scripts/read_index.ts";
import type { Bounds } from "./bounds.ts";

/** Records by key; `null` for none, `undefined` for one of another version. */
export type Records = Map<string, KeyRecord | null | undefined>;

/** A look at the records. */
export interface LastLook {
  /** Redis' time then, microseconds. */
  clockUs: number;
  /** The time of the last erasure, as of then, microseconds. */
  erasedUs: number;
  /** The monotonic time before it, ms. */
  lookedAtMs: number;
}

/** No look yet. */
export const NO_LOOK: LastLook = { clockUs: 0, erasedUs: 0, lookedAtMs: -Infinity };

/** Reads them, and notes the look; throws `changed` if the index's id is not the one that the operation began with. */
export async function recordsNow(
  run: LastLook & { readonly context: Context; readonly bounds: Bounds; readonly id: string },
  all: readonly string[],
  changed: (id: string) => TundraError,
): Promise<Records> {
  const keys = [...new Set(all)];
  const lookedAtMs = monotonicMs();
  const { id, nowUs, erasedUs, records } = await readIndex(run.context.index, keys, run.bounds.call);
  if (id !== run.id) throw changed(id);
  Object.assign(run, { clockUs: nowUs, erasedUs, lookedAtMs } satisfies LastLook);
  return new Map(keys.map((key, i) => [key, recordIn(records[i]!)]));
}

/** The record that a text holds, as {@linkcode Records} has it. */
export function recordIn(text: string): KeyRecord | null | undefined {
  return text === "" ? null : parseRecord(text);
}
