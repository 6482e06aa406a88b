/**
 * putLarge: puts an object whose bytes come piece by piece, in one upload or in parts.
 * @module
 */
import { join } from "../archive/block.ts";
import type { Datastore, DatastoreCallOptions } from "../datastores/datastore.ts";

/** Bytes of a part of an upload: S3 takes no fewer than 5 MiB, and R2 wants all but the last to be alike. */
export const PART_BYTES = 8 * 1024 * 1024;

/** Makes one call of the datastore. */
type Counted = <T>(act: (call: DatastoreCallOptions) => Promise<T>) => Promise<T>;

/**
 * Puts one object. Memory: two parts if the datastore takes parts, else all of it. Cost: a request if it has at most
 * 8 MiB; else one for each 8 MiB and two more.
 */
export async function putLarge(
  { putKey, putParts }: Pick<Datastore, "putKey" | "putParts">,
  name: string,
  chunks: AsyncIterable<Uint8Array>,
  counted: Counted,
): Promise<void> {
  const parts = inParts(chunks);
  const first = await parts.next();
  const second = await parts.next();
  const begun = [first, second].map(({ value }) => value as Uint8Array);
  if (second.done) await counted((call) => putKey(name, begun[0]!, call));
  else if (putParts) {
    const all = async function* () {
      while (begun.length > 0) yield begun.shift()!;
      yield* parts;
    };
    await counted((call) => putParts(name, all(), call));
  } else {
    for await (const part of parts) begun.push(part);
    const object = join(begun);
    begun.length = 0;
    await counted((call) => putKey(name, object, call));
  }
}

/** The same bytes in parts of one size, but for the last. */
async function* inParts(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, void> {
  let part = new Uint8Array(PART_BYTES);
  let size = 0;
  for await (const chunk of chunks) {
    for (let from = 0; from < chunk.length;) {
      const some = chunk.subarray(from, from + PART_BYTES - size);
      part.set(some, size);
      size += some.length;
      from += some.length;
      if (size < PART_BYTES) continue;
      yield part;
      part = new Uint8Array(PART_BYTES);
      size = 0;
    }
  }
  if (size > 0) yield part.subarray(0, size);
}
