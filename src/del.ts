/**
 * del: keys are deleted, from Redis now and from the archive by the next tick.
 * @module
 */
import type { TundraError } from "./base/errors.ts";
import { failed, forBatches, inRounds } from "./core/batches.ts";
import type { Context } from "./core/context.ts";
import { checkIdentity } from "./core/identity.ts";
import { unsupportedRecord } from "./core/key_errors.ts";
import { type KeyState, readState } from "./scripts/read_state.ts";
import { parseRecord } from "./scripts/prelude.ts";
import { remove } from "./scripts/remove.ts";

/** Deletes keys; see {@linkcode TundraStore.del}. */
export async function del(context: Context, keys: string[]): Promise<number> {
  const failures = new Map<string, TundraError>();
  let deleted = 0;
  await forBatches(context, keys, failures, "delete keys", async (batch) => {
    await inRounds("delete", batch, failures, async (keys) => {
      const { id, states } = await readState(context.index, keys);
      if (await checkIdentity(context, id)) return keys;
      const there = states.filter((sight) => {
        const something = holdsSomething(sight, context.lookInArchive);
        if (something === undefined) failures.set(sight.key, unsupportedRecord("delete", sight.key));
        return something;
      });
      if (there.length === 0) return [];
      const outcomes = await remove(context.index, there, context.lookInArchive);
      const again: string[] = [];
      there.forEach((sight, i) => {
        const { key } = sight;
        if (outcomes[i] === "deleted" && isThere(sight)) deleted++;
        if (outcomes[i] === "again") again.push(key);
        if (outcomes[i] === "unsupported") failures.set(key, unsupportedRecord("delete", key));
      });
      return again;
    });
  });
  if (failures.size > 0) throw failed("delete", failures, ["UNAVAILABLE", "LOST", "UNSUPPORTED"], "UNAVAILABLE");
  return deleted;
}

/** Is there anything to delete, in Redis, in the archive or in a queue? `undefined`: the record is of another version. */
function holdsSomething(sight: KeyState, mayBeLost: boolean): boolean | undefined {
  const read = parseRecord(sight.record === "" ? null : sight.record);
  // what expired or went missing has left its versions in the archive
  return read &&
    ((mayBeLost && sight.record === "") || isThere(sight) ||
      (read.flag !== "g" && (read.rev !== 0 || read.ver !== "")));
}

/** Would the application find it? Not what expired, and not what was removed while dirty. */
function isThere({ exists, evictable }: KeyState): boolean {
  return exists || evictable;
}
