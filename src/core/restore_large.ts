/**
 * Large values on their way back into Redis: their pieces are in a temporary key, from which a script takes them.
 * @module
 */
import type { LargeRecord } from "../archive/large.ts";
import { isNotFound } from "../base/errors.ts";
import { uuid } from "../base/platform.ts";
import { dropTemporary } from "../scripts/put_temporary.ts";
import type { RestoreOutcome } from "../scripts/restore.ts";
import { restoreStaged } from "../scripts/restore_staged.ts";
import { sameStaged } from "../scripts/same_staged.ts";
import type { Context, RequestOptions } from "./context.ts";
import { putPieces } from "./large.ts";

/** A large value in the archive, and the name of its object. */
export interface LargeObject {
  head: LargeRecord;
  name: string;
}

/**
 * Acts while the payload of a large value is in a temporary key, which goes at once; `"again"` if the object of the
 * value went meanwhile. Memory: a few segments. Cost: that
 * of `putPieces`, and a command.
 *
 * @throws TundraError if the archive does not answer or is damaged, or Redis does not take a piece
 */
export async function withPieces<T>(
  context: Context,
  { head, name }: LargeObject,
  act: (temporary: string) => Promise<T>,
  call?: RequestOptions,
  isGone: (result: T) => boolean = () => false,
): Promise<T | "again"> {
  const temporary = context.index.keys.temporary(uuid());
  let gone = false;
  try {
    await putPieces(context, head, name, temporary, call);
    const result = await act(temporary);
    gone = isGone(result);
    return result;
  } catch (thrown) {
    if (isNotFound(thrown)) return "again"; // its object went between two pieces
    throw thrown;
  } finally {
    if (!gone) await dropTemporary(context.connection, temporary, call).catch(() => {}); // it goes by its TTL
  }
}

/** Brings a large value back by compare-and-set on its record. */
export async function restoreLarge(
  context: Context,
  { head, name, expected }: LargeObject & { expected: string },
): Promise<RestoreOutcome> {
  const { key, ver, exp, sha1 } = head;
  const restore = (temporary: string) =>
    restoreStaged(context.index, { key, expected, ver, exp, name: temporary, sha1 });
  return await withPieces(context, { head, name }, restore, undefined, (outcome) => outcome !== "again");
}

/** Compares a large value with what is in Redis, as `same` does. */
export async function compareLarge(
  context: Context,
  { head, name, expected }: LargeObject & { expected: string },
  call?: RequestOptions,
): Promise<"healed" | "conflict" | "again"> {
  const { key, sha1 } = head;
  const compare = (temporary: string) => sameStaged(context.index, key, expected, { name: temporary, sha1 }, call);
  return await withPieces(context, { head, name }, compare, call);
}
