/**
 * Changes: what a snapshot of a key says that is to be archived.
 * @module
 */
import type { ArchiveRecord, Tombstone } from "../archive/encoding.ts";
import { show, TundraError } from "../base/errors.ts";
import type { Context } from "../core/context.ts";
import { unsupportedRecord } from "../core/key_errors.ts";
import { leastEvicted } from "../core/policy.ts";
import type { Snapshot } from "../scripts/snapshot.ts";
import { sha1Hex } from "../upstash/script.ts";
import type { PutObject } from "./commits.ts";
import type { Lease } from "./leases.ts";

/** One key's value or removal. */
export interface Change {
  key: string;
  /** The record's revision at the snapshot. */
  rev: number;
  attempts: number;
  /** The code for which an attempt was counted last; "" for none. */
  failed: string;
  /** The key's own expiry, ms since 1970; 0: none. */
  exp: number;
  /** The archived version that it replaces, and its place; "" for none. */
  previous: string;
  /** Objects up to this version were removed on purpose; "" for none. */
  old: string;
  /** The payload; `undefined` for a removal. */
  dump: Uint8Array | undefined;
  /** For a removal: on purpose, by the key's own expiry, or for an unknown reason. */
  gone?: "removed" | "expired" | "missing";
}

/**
 * The change of a key; `undefined` if there is nothing to archive, so that a commit only takes it out of the queue.
 *
 * @throws TundraError if it must not be archived
 */
export function changeOf(lease: Lease, { key, record, exp, dump }: Snapshot): Change | undefined {
  if (record === undefined) throw unsupportedRecord("archive", key);
  const { rev, attempts, flag, ver: previous, old, error } = record;
  const failed = attempts > 0 ? error.split(" ")[0]! : "";
  const change: Change = { key, rev, attempts, failed, exp, previous, old, dump };
  const nowMs = lease.nowUs / 1000;
  if (dump === undefined) {
    if (flag === "e" || rev === 0) return undefined; // the archived value lives
    if (flag === "g") return { ...change, gone: "removed" };
    return { ...change, gone: record.exp > 0 && record.exp <= nowMs ? "expired" : "missing" };
  }
  if (flag === "e" && (record.exp === 0 || record.exp > nowMs)) {
    throw new TundraError(
      "CONFLICT",
      `Cannot archive ${show(key)} as it must not be written while evicted: call ensureKs() and see its error`,
      { keys: [key], retryable: true },
    );
  }
  return change;
}

/** A commit that archives nothing. */
export function nothingToPut({ key, record, exp }: Snapshot): PutObject {
  const { rev, ver: previous, old } = record!;
  return { key, rev, ver: "", exp, fp: "", bytes: 0, kb: 0, previous, old };
}

/** The archive's record of a change. */
export function archiveRecord(lease: Lease, change: Change, ver: string): ArchiveRecord | Tombstone {
  const { key, exp, dump, gone, previous } = change;
  const head = { key, ver, at: Math.floor(lease.nowUs / 1000), index: lease.id, prev: previous };
  return dump === undefined ? { ...head, gone: gone === "removed" || "inferred" } : { ...head, exp, dump };
}

/** The commit of a change: its version and place are `word`, and it takes so many bytes of the archive. */
export async function putOf(context: Context, change: Change, word: string, bytes: number): Promise<PutObject> {
  const { key, rev, exp, previous, old, dump, gone } = change;
  const fp = dump === undefined ? "" : await sha1Hex(dump);
  const size = dump?.length ?? 0;
  const stays = size < leastEvicted(context, key);
  return {
    key,
    rev,
    ver: word,
    exp,
    fp,
    bytes,
    kb: Math.ceil(size / 1024),
    stays,
    previous,
    old,
    ...(gone && { gone }),
  };
}
