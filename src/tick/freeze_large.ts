/**
 * Archiving large values: a key whose payload fits neither a reply nor a request. It is staged under a temporary key,
 * read in pieces, and put as one object with segments, so that a few of them are in memory at a time.
 * @module
 */
import { sha1 } from "@noble/hashes/legacy";
import { freezeHead, freezeSegment, LARGE_END, type LargeHead, SEGMENT_BYTES } from "../archive/large.ts";
import { asTundraError, isKeysOwn, show, TundraError } from "../base/errors.ts";
import { isLarge, largeVersion, objectName, versionAfter } from "../base/keys.ts";
import { hex, monotonicMs, uuid } from "../base/platform.ts";
import { leastEvicted } from "../core/policy.ts";
import { PART_BYTES, putLarge } from "../core/put_large.ts";
import { dropTemporary } from "../scripts/put_temporary.ts";
import { readRecords } from "../scripts/read_records.ts";
import { readStaged, stage, type Staged } from "../scripts/stage.ts";
import { type Change, changeOf } from "./changes.ts";
import type { Commits } from "./commits.ts";
import { failure, giveBack, isOver, type Lease, recordFailures } from "./leases.ts";
import type { TickRun } from "./run.ts";
import { ArchiveRefused, theirs } from "./uploads.ts";

/** Requests besides those for pieces and parts: the start and the end of an upload, and of the temporary key. */
const OTHER_REQUESTS = 5;
/** Requests of a tick that has not done anything else: claim, owner, search, snapshots, begin, those kept back. */
const TICK_REQUESTS = 22;

/**
 * Those of some keys whose archived value is large: they are not read with others again. Cost: a request, a command; if
 * it fails, none is known.
 */
export async function knownLarge(run: TickRun, keys: string[]): Promise<string[]> {
  try {
    const records = await readRecords(run.context, keys, run.call);
    return keys.filter((_, i) => isLarge(records[i]?.ver ?? ""));
  } catch {
    return [];
  }
}

/** Archives one large value under a lease, and leaves it to `commits`; or queues it again. */
export async function freezeLarge(run: TickRun, lease: Lease, key: string, commits: Commits): Promise<void> {
  const { context } = run;
  const name = context.index.keys.temporary(uuid());
  let attempts = 0;
  let isStaged = false;
  try {
    const ttlMs = Math.max(1, Math.ceil(lease.endsAt - monotonicMs()));
    const mostBytes = mostBytesOf(run);
    isStaged = true; // also if no reply comes
    const staged = await stage(context.index, key, { token: lease.token, name, ttlMs, mostBytes }, run.call);
    attempts = staged.record?.attempts ?? 0;
    isStaged = staged.outcome === "staged";
    if (staged.outcome === "too large") {
      if (staged.bytes <= mostBytesOf(run, run.settings.maxSubrequests - TICK_REQUESTS)) {
        return await giveBack(run, lease, [key], true); // a tick that has done nothing else can
      }
      throw tooLarge(run, key, staged.bytes);
    }
    if (staged.outcome === "unrestorable") {
      const must = `fit into the server's proto-max-bulk-len, or it could not come back: it has ${staged.bytes} bytes`;
      throw new TundraError("TOO_LARGE", `Cannot archive ${show(key)} as its value must ${must}`, { keys: [key] });
    }
    if (staged.outcome !== "staged") return await giveBack(run, lease, [key], true);
    run.report.bytesRead += staged.bytes;
    const { record, exp } = staged;
    const change = changeOf(lease, { key, record, exp, dump: new Uint8Array(0) })!;
    await put(run, lease, change, staged, name, commits);
  } catch (thrown) {
    const error = asTundraError(thrown instanceof ArchiveRefused ? thrown.cause : thrown, `archive ${show(key)}`);
    if (run.stopped()) return await giveBack(run, lease, [key], true);
    const own = isKeysOwn(error);
    const fault = own
      ? "own"
      : thrown instanceof ArchiveRefused && run.stored > 0 && !isOver(lease)
      ? "odd"
      : "passing";
    const failed = { ...failure(run, lease, key, error, attempts, fault), alone: true };
    if (!own && isOver(lease)) run.unfinished = true;
    await recordFailures(run, lease, [!own && isOver(lease) ? { ...failed, backoffMs: 0 } : failed]);
  } finally {
    if (isStaged) await dropTemporary(context.connection, name, run.closing).catch(() => {}); // it goes by its TTL
  }
}

/** The size of the largest payload that can be archived and brought back with the memory and the requests left. */
function mostBytesOf({ context, settings, requestsLeft }: TickRun, requests = requestsLeft()): number {
  const { datastore: { putParts, fetchRanges }, maxBytesInFlight } = context;
  const memory = putParts && fetchRanges ? 2 ** 32 : maxBytesInFlight;
  if (settings.maxSubrequests === Infinity) return memory;
  // pieces of a segment's size, and parts that are no smaller than they
  const perByte = 1 / pieceBytes(context) + 1 / PART_BYTES;
  return Math.max(0, Math.min(memory, Math.floor((requests - OTHER_REQUESTS) / perByte)));
}

/** Bytes of a segment: what one reply and one request can carry, so that a segment is read and restored by one. */
function pieceBytes({ connection }: TickRun["context"]): number {
  return Math.max(1024, Math.min(SEGMENT_BYTES, Math.floor(0.46 * connection.requestLimit())));
}

function tooLarge({ context, settings }: TickRun, key: string, bytes: number): TundraError {
  const { maxBytesInFlight, datastore: { putParts, fetchRanges } } = context;
  const whole = !(putParts && fetchRanges) && bytes > maxBytesInFlight;
  const must = whole
    ? `fit into maxBytesInFlight, ${maxBytesInFlight} bytes, with a datastore without putParts or fetchRanges`
    : `take no more requests than maxSubrequests, ${settings.maxSubrequests}, allows`;
  const message = `Cannot archive ${show(key)} as its value must ${must}: it has ${bytes} bytes; it stays in Redis`;
  return new TundraError("TOO_LARGE", message, { keys: [key] });
}

/** One upload: where its bytes come from, and how far it is. */
interface Source {
  readonly run: TickRun;
  readonly lease: Lease;
  readonly head: LargeHead;
  /** Bytes of a piece. */
  readonly segment: number;
  /** The temporary key. */
  readonly temporary: string;
  /** The object's name. */
  readonly name: string;
  /** Bytes so far. */
  written: number;
  /** The reason why it ended early, if that is not the archive's. */
  failure: unknown;
}

/** Puts the object of what is staged. */
async function put(
  run: TickRun,
  lease: Lease,
  change: Change,
  staged: Staged,
  temporary: string,
  commits: Commits,
): Promise<void> {
  const { context } = run;
  const { key, rev, exp, previous, old } = change;
  const ver = largeVersion(versionAfter(lease.nowUs, previous));
  const name = await objectName(context, key, ver);
  const segment = pieceBytes(context);
  const { bytes, sha1 } = staged;
  const parts = Math.ceil(bytes / segment);
  const at = Math.floor(lease.nowUs / 1000);
  const head: LargeHead = { key, ver, at, index: lease.id, prev: previous, exp, bytes, parts, sha1 };
  const source: Source = { run, lease, head, segment, temporary, name, written: 0, failure: undefined };
  const { signal, release } = run.until(lease.endsAt);
  try {
    await upload(run, name, source, signal);
  } finally {
    release();
  }
  run.report.bytesWritten += source.written;
  const kb = Math.ceil(bytes / 1024);
  const stays = bytes < leastEvicted(context, key);
  commits.add({ key, rev, ver, exp, fp: sha1, bytes: source.written, kb, stays, previous, old }, 0);
}

/** Puts the object. What its source failed for is no failure of the archive. */
async function upload(run: TickRun, name: string, source: Source, signal: AbortSignal): Promise<void> {
  try {
    await putLarge(run.context.datastore, name, bytesOf(source), (act) => run.counted(act, signal));
  } catch (thrown) {
    throw source.failure !== undefined ? source.failure : new ArchiveRefused(thrown);
  }
}

/** The bytes of an object, made of pieces that are read from Redis one after another. */
async function* bytesOf(source: Source): AsyncGenerator<Uint8Array, void, void> {
  try {
    for await (const chunk of chunksOf(source)) {
      source.written += chunk.length;
      yield chunk;
    }
  } catch (thrown) {
    source.failure = thrown;
    throw thrown;
  }
}

async function* chunksOf(source: Source): AsyncGenerator<Uint8Array, void, void> {
  const { run, lease, head, segment, temporary, name } = source;
  const { connection, freezers } = run.context;
  const { key, bytes, parts } = head;
  yield await theirs(() => freezeHead(head, name, freezers));
  const digest = sha1.create();
  for (let part = 0; part < parts; part++) {
    checkLease(lease);
    const offset = part * segment;
    const length = Math.min(segment, bytes - offset);
    const dump = await readStaged(connection, { name: temporary, key }, offset, length, run.call);
    digest.update(dump);
    if (part === parts - 1 && hex(digest.digest()) !== head.sha1) {
      const must = "its pieces must have the SHA-1 that its payload has in Redis: they have another";
      throw new TundraError("UNAVAILABLE", `Cannot archive ${show(key)} as ${must}`, { keys: [key] });
    }
    yield await theirs(() => freezeSegment(head, part, dump, name, freezers));
  }
  checkLease(lease); // the upload may begin only now
  yield LARGE_END();
}

function checkLease(lease: Lease): void {
  if (isOver(lease)) throw new TundraError("UNAVAILABLE", "Cannot go on with an upload as its lease has ended");
}
