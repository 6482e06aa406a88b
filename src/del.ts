/**
 * del: keys are deleted, from Redis now and from the archive by the next tick.
 * @module
 */
import type { TundraError } from "./base/errors.ts";
import { failed, forBatches, inRounds } from "./core/batches.ts";
import type { Context } from "./core/context.ts";
import { checkIdentity } from "./core/identity.ts";
import { unsupportedRecord } from "./core/key_errors.ts";
import { parseRecord } from "./scripts/prelude.ts";
import { type KeyState, readState } from "./scripts/read_state.ts";
import { remove } from "./scripts/remove.ts";

/** Deletes keys; see {@linkcode TundraStore.del}. */
export async function del(context: Context, keys: string[]): Promise<number> {
  const failures = new Map<string, TundraError>();
  let deleted = 0;
  await forBatches(context, keys, failures, "delete keys", async (batch) => {
    await inRounds("delete", batch, failures, async (keys) => {
      const { id, states } = await readState(context.index, keys);
      if (await checkIdentity(context, id)) return keys;
      const there = states.filter((state) => {
        const something = holdsSomething(state, context.lookInArchive);
        if (something === undefined) failures.set(state.key, unsupportedRecord("delete", state.key));
        return something;
      });
      if (there.length === 0) return [];
      const outcomes = await remove(context.index, there, context.lookInArchive);
      const again: string[] = [];
      there.forEach((state, i) => {
        const { key } = state;
        if (outcomes[i] === "deleted" && isThere(state)) deleted++;
        if (outcomes[i] === "again") again.push(key);
        if (outcomes[i] === "unsupported") failures.set(key, unsupportedRecord("delete", key));
      });
      return again;
    });
  });
  if (failures.size > 0) throw failed("delete", failures, ["UNAVAILABLE", "LOST", "UNSUPPORTED"], "UNAVAILABLE");
  return deleted;
}

/** Tells if Redis, the archive or a queue holds anything of a key; `undefined` if its record is of another version. */
function holdsSomething(state: KeyState, mayBeLost: boolean): boolean | undefined {
  const read = parseRecord(state.record === "" ? null : state.record);
  // the versions of a key that expired or went missing are in the archive still
  return read &&
    ((mayBeLost && state.record === "") || isThere(state) ||
      (read.flag !== "g" && (read.rev !== 0 || read.ver !== "")));
}

/** Tells if the application would find the key: not if it has expired, and not if it was removed while dirty. */
function isThere({ exists, evictable }: KeyState): boolean {
  return exists || evictable;
}
