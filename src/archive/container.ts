/**
 * The envelope of every archive object:
 *
 * | offset | bytes | what |
 * | --- | --- | --- |
 * | 0 | 4 | magic `TNDR` |
 * | 4 | 32 | SHA-256 of everything that follows |
 * | 36 | 1 | format number, 1 |
 * | 37 | 1 | number of freezers |
 * | 38 | n | their ids in the order of freezing, each a length byte and ASCII |
 * | 38 + n | | the bytes that the last freezer returned |
 *
 * The checksum covers the format number: a flipped bit in it is damage (`CORRUPT`), and only a number that was written
 * is an unknown format (`UNSUPPORTED`).
 * @module
 */
import { TundraError } from "../base/errors.ts";
import { digest } from "../base/platform.ts";

const MAGIC = [0x54, 0x4e, 0x44, 0x52];
const HEAD = 36;
const FORMAT = 1;
/** More than any application chains, and few enough for one byte. */
export const MAX_FREEZERS = 16;
/** The form of a freezer's id. */
export const FREEZER_ID = /^[A-Za-z0-9._-]{1,32}$/;

/** Seals frozen bytes into a container. The freezers' ids must have been checked. */
export async function sealContainer(ids: readonly string[], frozen: Uint8Array): Promise<Uint8Array> {
  const idBytes = ids.reduce((sum, id) => sum + 1 + id.length, 0);
  const sealed = new Uint8Array(HEAD + 2 + idBytes + frozen.length);
  sealed.set(MAGIC);
  let at = HEAD;
  sealed[at++] = FORMAT;
  sealed[at++] = ids.length;
  for (const id of ids) {
    sealed[at++] = id.length;
    for (let i = 0; i < id.length; i++) sealed[at++] = id.charCodeAt(i);
  }
  sealed.set(frozen, at);
  sealed.set(await digest("SHA-256", sealed.subarray(HEAD)), MAGIC.length);
  return sealed;
}

/**
 * Opens a container; `frozen` is a view of `sealed`. `what` begins the messages.
 *
 * @throws {TundraError} `CORRUPT` for any damage, `UNSUPPORTED` for an intact container of an unknown format
 */
export async function openContainer(
  sealed: Uint8Array,
  what: string,
): Promise<{ ids: string[]; frozen: Uint8Array }> {
  const corrupt = (must: string, is: string) => new TundraError("CORRUPT", `${what} must ${must}: ${is}`);
  if (sealed.length < HEAD + 2) throw corrupt(`be at least ${HEAD + 2} bytes`, `it has ${sealed.length}`);
  if (MAGIC.some((byte, i) => sealed[i] !== byte)) throw corrupt("begin with Tundra's mark", "it begins otherwise");
  const actual = await digest("SHA-256", sealed.subarray(HEAD));
  if (actual.some((byte, i) => sealed[MAGIC.length + i] !== byte)) {
    throw corrupt("have its checksum", "its bytes have changed");
  }
  const format = sealed[HEAD]!;
  if (format !== FORMAT) {
    throw new TundraError("UNSUPPORTED", `${what} must have archive format ${FORMAT}: current value is ${format}`);
  }
  const count = sealed[HEAD + 1]!;
  if (count > MAX_FREEZERS) throw corrupt(`name at most ${MAX_FREEZERS} freezers`, `it names ${count}`);
  const ids: string[] = [];
  let at = HEAD + 2;
  for (let i = 0; i < count; i++) {
    const end = at + 1 + (sealed[at] ?? 0);
    const id = String.fromCharCode(...sealed.subarray(at + 1, end));
    // No store applies a freezer twice, and with many layers a few bytes could inflate to any size.
    if (end > sealed.length || !FREEZER_ID.test(id) || ids.includes(id)) {
      throw corrupt("name its freezers", "their list is malformed");
    }
    ids.push(id);
    at = end;
  }
  return { ids, frozen: sealed.subarray(at) };
}
