/**
 * Uploads: one version as an object of its own, or the versions of many keys as a pack.
 * @module
 */
import { freezePack } from "../archive/pack.ts";
import { placeWord } from "../archive/place.ts";
import { freezeRecord } from "../archive/record.ts";
import { TundraError } from "../base/errors.ts";
import { newestOf, objectName, packName, tombstoneVersion, versionAfter } from "../base/keys.ts";
import type { Context } from "../core/context.ts";
import { archiveRecord, type Change, putOf } from "./changes.ts";
import type { PutObject } from "./commits.ts";
import { isOver, type Lease } from "./leases.ts";
import type { TickRun } from "./run.ts";

/** An error that the archive or a freezer has thrown. */
export class ArchiveRefused {
  constructor(readonly cause: unknown) {}
}

/** Marks what the archive or a freezer throws as theirs. */
export async function theirs<T>(act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (thrown) {
    throw new ArchiveRefused(thrown);
  }
}

/** Tells if a change may share a pack with others. A search by name must find a removal that nobody has explained. */
export function isPackable({ packBytes, maxPackedBytes }: Context, lease: Lease, { dump, gone }: Change): boolean {
  return packBytes > 0 && !lease.begun && gone !== "missing" && (dump?.length ?? 0) <= maxPackedBytes;
}

/** The name of the version that replaces those of some changes; `tries`: uploads under this lease that have failed. */
function versionFor(lease: Lease, changes: Change[], tries: number): string {
  const [previous = ""] = newestOf(changes.map((change) => change.previous));
  return versionAfter(lease.nowUs, previous, tries); // a failed upload may be stored all the same
}

/** Puts one change under a name that was never used before. */
export async function putOwn(run: TickRun, lease: Lease, change: Change, tries: number): Promise<PutObject> {
  const { freezers } = run.context;
  const next = versionFor(lease, [change], tries);
  const ver = change.dump === undefined ? tombstoneVersion(next, change.gone === "removed") : next;
  const name = await objectName(run.context, change.key, ver);
  const object = await theirs(() => freezeRecord(archiveRecord(lease, change, ver), name, freezers));
  const committed = await putOf(run.context, change, ver, object.length);
  await put(run, lease, name, object);
  return committed;
}

/** A pack that was made, and waits for its upload. */
export interface MadePack {
  /** The changes that it holds: the first of those given. */
  changes: Change[];
  /** Puts it; the commits of its changes. */
  put(): Promise<PutObject[]>;
}

/** Makes a pack of the first changes, under a name that was never used before. */
export async function makePack(run: TickRun, lease: Lease, changes: Change[], tries: number): Promise<MadePack> {
  const { tqname, freezers, packBytes } = run.context;
  const ver = versionFor(lease, changes, tries);
  const name = packName(tqname, ver);
  const records = changes.map((change) => archiveRecord(lease, change, ver));
  const { bytes, entries } = await theirs(() => freezePack(records, name, freezers, packBytes, lease.id));
  const share = Math.floor(bytes.length / entries.length);
  const first = bytes.length - share * (entries.length - 1); // the shares of all are its size
  return {
    changes: changes.slice(0, entries.length),
    async put() {
      const committed = await Promise.all(
        entries.map(({ offset, length }, i) =>
          putOf(run.context, changes[i]!, placeWord({ ver, pack: ver, offset, length }), i === 0 ? first : share)
        ),
      );
      await put(run, lease, name, bytes);
      return committed;
    },
  };
}

async function put(run: TickRun, lease: Lease, name: string, object: Uint8Array): Promise<void> {
  const { context } = run;
  const { signal, release } = run.until(lease.endsAt);
  try {
    await theirs(async () => {
      // to freeze it may have taken long
      if (isOver(lease)) throw new TundraError("UNAVAILABLE", "Cannot begin an upload as its lease has ended");
      return await run.counted((call) => context.datastore.putKey(name, object, call), signal);
    });
  } finally {
    release();
  }
  run.report.bytesWritten += object.length;
}
