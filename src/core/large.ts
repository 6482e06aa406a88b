/**
 * Large values in the archive: their heads, and their payloads segment by segment.
 * @module
 */
import { sha1 } from "@noble/hashes/legacy";
import {
  headLength,
  LARGE_HEAD,
  type LargeRecord,
  LENGTH_BYTES,
  segmentLength,
  thawSegment,
} from "../archive/large.ts";
import { asTundraError, show, TundraError } from "../base/errors.ts";
import { hex } from "../base/platform.ts";
import type { DatastoreCallOptions, RangeRead } from "../datastores/datastore.ts";
import { inParallel } from "../datastores/parallel.ts";
import { putPiece } from "../scripts/put_piece.ts";
import { encodePayload } from "../upstash/payload.ts";
import { asMany, roomIn } from "../upstash/requests.ts";
import type { Context, RequestOptions } from "./context.ts";
import { readRanges } from "./read_ranges.ts";

/** Heads that are fetched at once. */
const HEADS = 6;
/** The temporary key of a value that comes back stays so long after each of its pieces. */
const PIECE_TTL_MS = 120_000;

/**
 * The heads of objects, from their first byte up to the length of the first segment. Cost: two requests each, or one if
 * the datastore reads no ranges.
 */
export async function fetchHeads(
  context: Context,
  names: string[],
  call?: DatastoreCallOptions,
): Promise<(Uint8Array | Error)[]> {
  // of a datastore that gives objects as a whole, one is in memory at a time
  return await inParallel(names, context.datastore.fetchRanges ? HEADS : 1, async (name) => {
    try {
      const read = await readerOf(context, name, call);
      const start = await read({ name, offset: 0, length: LARGE_HEAD });
      const length = LARGE_HEAD + headLength(start, name) + LENGTH_BYTES;
      return (await read({ name, offset: 0, length })).slice(); // a view would keep the whole
    } catch (thrown) {
      return asTundraError(thrown, `fetch ${show(name)}`);
    }
  });
}

/**
 * The payload of a large value, segment by segment. It is whole if the last one has come. Cost: a request for each
 * segment, or one for all if the datastore reads no ranges.
 *
 * @throws TundraError `CORRUPT`, `UNSUPPORTED`, or what the archive or a freezer said
 */
export async function* segmentsOf(
  context: Context,
  head: LargeRecord,
  name: string,
  call?: DatastoreCallOptions,
): AsyncGenerator<Uint8Array, void, void> {
  const { key, parts, first } = head;
  const read = await readerOf(context, name, call);
  let { offset, length } = first;
  let size = 0;
  const digest = sha1.create();
  for (let part = 0; part < parts; part++) {
    const bytes = await read({ name, offset, length: length + LENGTH_BYTES });
    const dump = await thawSegment(bytes.subarray(0, length), head, part, name, context.freezers);
    offset += bytes.length;
    length = segmentLength(bytes, length, name);
    size += dump.length;
    digest.update(dump);
    yield dump;
  }
  if (length === 0 && size === head.bytes && hex(digest.digest()) === head.sha1) return;
  throw new TundraError("CORRUPT", `Cannot thaw ${show(key)} as its segments must be its whole payload: they are not`, {
    keys: [key],
  });
}

/**
 * The bytes of the object of a large value, as they are, a head or a segment at a time; `counted` makes each request.
 *
 * @throws TundraError `NOT_FOUND` if it is absent
 */
export async function* largeBytes(
  context: Context,
  name: string,
  counted: <T>(act: (call: DatastoreCallOptions) => Promise<T>) => Promise<T>,
): AsyncGenerator<Uint8Array, void, void> {
  const [head] = await counted((call) => fetchHeads(context, [name], call));
  if (head instanceof Error) throw asTundraError(head, `copy ${show(name)}`);
  let bytes = head!;
  let end = 0;
  for (;;) {
    yield bytes;
    end += bytes.length;
    const length = segmentLength(bytes, bytes.length - LENGTH_BYTES, name);
    if (length === 0) return;
    const range = { name, offset: end, length: length + LENGTH_BYTES };
    const [next] = await counted((call) => readRanges(context, [range], call));
    if (next instanceof Error) throw asTundraError(next, `copy ${show(name)}`);
    bytes = next!;
  }
}

/** Reads ranges of one object; if the datastore cannot, of the whole. */
async function readerOf(
  context: Context,
  name: string,
  call: DatastoreCallOptions | undefined,
): Promise<(range: RangeRead) => Promise<Uint8Array>> {
  const fetched = context.datastore.fetchRanges ? undefined : (await context.datastore.fetchKeys([name], call))[0]!;
  return async (range) => {
    const { offset, length } = range;
    const [bytes] = fetched === undefined
      ? await readRanges(context, [range], call)
      : [fetched instanceof Error ? fetched : fetched.subarray(offset, offset + length)];
    if (bytes instanceof Error) throw asTundraError(bytes, `fetch ${show(name)}`);
    if (bytes!.length === length) return bytes!;
    throw new TundraError("CORRUPT", `Cannot read ${show(name)} as it must hold all its segments: it is cut off`);
  };
}

/**
 * Puts the payload of a large value into a temporary key, piece by piece. Cost: a request and 3 billable commands for
 * each segment, more if requests must be smaller; and those of {@linkcode segmentsOf}.
 *
 * @throws TundraError as {@linkcode segmentsOf}; `UNAVAILABLE` if the temporary key went
 */
export async function putPieces(
  context: Context,
  head: LargeRecord,
  name: string,
  temporary: string,
  call?: RequestOptions,
): Promise<void> {
  const { connection, index } = context;
  // a byte takes two at most, see encodePayload
  const fits = () => Math.max(1, Math.floor((roomIn(connection.requestLimit()) - 1000) / 2));
  let offset = 0;
  for await (const dump of segmentsOf(context, head, name, call)) {
    for (let from = 0; from < dump.length;) {
      const put = await asMany(Math.min(dump.length - from, fits()), async (most) => {
        const payload = encodePayload(dump.subarray(from, from + most));
        const piece = { ttlMs: PIECE_TTL_MS, offset: offset + from, payload };
        if (await putPiece(index, temporary, piece, call)) return most;
        const must = "its temporary key must stay until all its pieces are in it: it went before";
        throw new TundraError("UNAVAILABLE", `Cannot bring ${show(head.key)} back as ${must}`, { keys: [head.key] });
      });
      from += put;
    }
    offset += dump.length;
  }
}
