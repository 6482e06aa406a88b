/**
 * Moves versions out of packs of which little is left: into new packs, under their own names. A record that names a
 * version is told of its new place by compare-and-set.
 * @module
 */
import type { Block } from "../archive/block.ts";
import type { ArchiveRecord, Tombstone } from "../archive/encoding.ts";
import { freezePack } from "../archive/pack.ts";
import { placeOf, placeWord } from "../archive/place.ts";
import { byGroup, groupOf } from "../archive/seal.ts";
import { asTundraError, show, TundraError } from "../base/errors.ts";
import { newestOf, packName, versionAfter } from "../base/keys.ts";
import { monotonicMs } from "../base/platform.ts";
import type { Context } from "../core/context.ts";
import { fetchArchived, type Fetched, READ_BYTES, thawArchived } from "../core/fetch_archived.ts";
import { relocate } from "../scripts/relocate.ts";
import type { Bounds } from "./bounds.ts";
import type { LastLook } from "./records_now.ts";

/** The run of an operation that moves versions. */
export interface MovingRun extends LastLook {
  readonly context: Context;
  readonly bounds: Bounds;
  readonly id: string;
  readonly dryRun: boolean;
  /** Bytes of a new pack; by default those of this store's packs. */
  readonly packBytes?: number;
  /** Counts versions moved. */
  readonly report: { moved: number };
}

/** Told of a pack that stays as it is, and why. */
type Kept = (pack: string, thrown: unknown) => void;

/** A version that lives. */
export interface Move {
  key: string;
  /** The word for its place now. */
  ver: string;
  /** `true`: its record names it. */
  isNamed: boolean;
}

interface Copied extends Move {
  /** The pack that it was read from; "" for an object of its own. */
  source: string;
  record: ArchiveRecord | Tombstone;
}

/** Versions that wait for a pack. */
export interface Mover {
  /** Requests that it will need for those that wait. */
  readonly requests: number;
  /**
   * Reads versions of a pack, and moves them once there are enough for a new one. The caller has just looked at their
   * records, before.
   */
  add(pack: string, moves: Move[]): Promise<void>;
  /** Moves the rest. */
  flush(): Promise<void>;
}

/** Bytes of a new pack if this store makes none by itself, and the most of values that wait for one. */
const PACK_BYTES = 1_048_576;
/** The most versions of a new pack: what reads it reads their records, a request for each 1,000. */
const MOST_ENTRIES = 2_000;
/** Requests to put a pack and to relocate its versions, or to take it back. */
const REQUESTS = 5;
/**
 * A pack is put within so long after the look that its name tells, ms: whoever searches the archive reads packs of that
 * long ago at the end once more, as what they hold may have lain in an older one that is erased by then.
 */
export const PUT_MS = 3_600_000;

/** Begins to move; at most about the size of two packs is in memory. */
export function moverOf(run: MovingRun, onKept: Kept): Mover {
  const packBytes = run.packBytes ?? (run.context.packBytes || PACK_BYTES);
  let waiting: Copied[] = [];
  let size = 0;
  let erasedUs = 0;
  const flush = async () => {
    const versions = waiting;
    waiting = [];
    size = 0;
    if (versions.length > 0) await putMoved(run, versions, erasedUs, packBytes, onKept);
  };
  return {
    get requests() {
      return waiting.length > 0 ? REQUESTS : 0;
    },
    flush,
    async add(pack, moves) {
      if (run.dryRun) return void (run.report.moved += moves.length);
      if (run.erasedUs !== erasedUs) await flush();
      ({ erasedUs } = run);
      const copied = await readMoves(run, pack, moves, onKept);
      for (const each of copied) {
        waiting.push(each);
        size += "dump" in each.record ? each.record.dump.length + each.key.length : each.key.length;
        if (size >= packBytes || waiting.length >= MOST_ENTRIES) await flush();
      }
    },
  };
}

/** Requests that it may take to read versions of a pack, and to put more packs than the one that then waits. */
export function requestsToMove(moves: readonly Move[]): number {
  const places = moves.map(({ ver }) => placeOf(ver));
  const from = places.reduce((least, { offset }) => Math.min(least, offset), Infinity);
  const to = places.reduce((most, { offset, length }) => Math.max(most, offset + length), 0);
  return 1 + 2 * Math.floor((to - from) / READ_BYTES) + REQUESTS * Math.floor(moves.length / MOST_ENTRIES);
}

/** Reads and checks versions. If one of them is damaged, the pack stays as it is: none of them is moved. */
async function readMoves(run: MovingRun, pack: string, moves: Move[], onKept: Kept): Promise<Copied[]> {
  const { context, bounds } = run;
  const blocks = new Map<string, Promise<Block>>();
  try {
    const fetched: (Move & Fetched)[] = await bounds.counted((call) =>
      fetchArchived(context, moves, { gapBytes: Infinity, call })
    );
    return await Promise.all(fetched.map(async (each) => {
      const { key, ver, isNamed } = each;
      groupOf(key, context.freezers); // a key without a group spoils its own pack only
      const record = await thawArchived(context, each, blocks);
      if (!("dump" in record || "gone" in record)) {
        throw new TundraError("TOO_LARGE", `Cannot move ${show(key)} as its value must fit into a pack: it is large`);
      }
      return { key, ver, isNamed, source: pack, record };
    }));
  } catch (thrown) {
    if (asTundraError(thrown, "read versions").code === "UNAVAILABLE" && !bounds.mayBegin()) throw thrown;
    onKept(pack, thrown);
    return [];
  }
}

/** Puts versions into new packs. What an erasure may have removed meanwhile is taken back, and stays where it is. */
async function putMoved(
  run: MovingRun,
  versions: Copied[],
  erasedUs: number,
  packBytes: number,
  onKept: Kept,
): Promise<void> {
  const { context, bounds, id, report } = run;
  for (const rest = byGroup(versions, context.freezers); rest.length > 0;) {
    const [newest = ""] = newestOf(rest.map(({ ver }) => ver));
    const pack = versionAfter(run.clockUs, newest);
    const name = packName(context.tqname, pack);
    const some = rest.slice(0, MOST_ENTRIES);
    const { bytes, entries } = await freezePack(
      some.map(({ record }) => record),
      name,
      context.freezers,
      packBytes,
      run.id,
    );
    if (monotonicMs() - run.lookedAtMs > PUT_MS) { // it was frozen meanwhile
      throw new TundraError("UNAVAILABLE", "Cannot move what was looked at more than an hour ago");
    }
    await context.datastore.putKey(name, bytes, bounds.closing);
    const moved = rest.splice(0, entries.length);
    const named = moved.flatMap(({ key, ver: from, isNamed }, i) => {
      const { ver, offset, length } = entries[i]!;
      return isNamed ? [{ key, from, to: placeWord({ ver, pack, offset, length }) }] : [];
    });
    const outcomes = await relocate(context.index, pack, { id, erasedUs }, named, bounds.closing);
    const isMoved = outcomes.every((outcome) => outcome === "moved" || outcome === "again");
    if (isMoved) report.moved += moved.length;
    else {
      // if some records were told before an erasure looked, that has found the new pack, and rewrites it. If this was
      // frozen meanwhile, another sweep may have deleted the old one for the sake of the copy
      const isRecent = monotonicMs() - run.lookedAtMs <= PUT_MS;
      if (isRecent && !outcomes.includes("moved")) await context.datastore.deleteKeys?.([name], bounds.closing);
      const must = "nothing must be erased meanwhile, and records must be of this version: try again";
      for (const source of new Set(moved.map(({ source }) => source))) {
        onKept(source, new TundraError("UNAVAILABLE", `Cannot move versions as ${must}`));
      }
    }
  }
}
