/**
 * Bytes through the freezers, in order, and into a container; and back.
 * @module
 */
import { asTundraError, show, TundraError } from "../base/errors.ts";
import { openContainer, sealContainer } from "./container.ts";
import type { Freezer } from "./freezer.ts";

/** The groups that a key has for each freezer, as one word. */
export function groupOf(key: string, freezers: readonly Freezer[]): string {
  return freezers.map((freezer) => freezer.groupOf?.(key)).join("\0");
}

/** Puts together what belongs to one group, so that blocks hold as much as they can. */
export function byGroup<T extends { key: string }>(all: T[], freezers: readonly Freezer[]): T[] {
  const groups = new Map<string, T[]>();
  for (const each of all) {
    const group = groupOf(each.key, freezers);
    const some = groups.get(group) ?? [];
    some.push(each);
    groups.set(group, some);
  }
  return [...groups.values()].flat();
}

/**
 * Freezes and seals bytes; `name` is that of the object that will hold them. `what` is in the messages, and `keys` are
 * those that a failure concerns.
 *
 * @throws TundraError with the code and `retryable` of the TundraError that a freezer threw; `UNAVAILABLE` for anything
 * else that one threw; `UNSUPPORTED` if it returned no bytes
 */
export async function seal(
  bytes: Uint8Array,
  name: string,
  freezers: readonly Freezer[],
  what: string,
  keys: string[],
): Promise<Uint8Array> {
  let frozen = bytes;
  for (const freezer of freezers) {
    const freeze = () => {
      const group = keys.length > 0 ? freezer.groupOf?.(keys[0]!) : undefined;
      return freezer.freeze(frozen, group === undefined ? { name } : { name, group });
    };
    frozen = await passThrough(freeze, freezer.id, what, keys);
  }
  return await sealContainer(freezers.map((freezer) => freezer.id), frozen);
}

/**
 * Opens a container and thaws what it holds. Freezers are found by the ids in it, whatever order they are configured
 * in. `sealed` is left as it is.
 *
 * @throws TundraError `CORRUPT` for any damage; `UNSUPPORTED` for an unknown format, a freezer that is not configured,
 * or one that returned no bytes; with the code and `retryable` of the TundraError that a freezer threw; `UNAVAILABLE`
 * for anything else that one threw
 */
export async function unseal(
  sealed: Uint8Array,
  name: string,
  freezers: readonly Freezer[],
  what: string,
  keys: string[],
): Promise<Uint8Array> {
  const object = `Cannot ${what} as its archive object`;
  const failed = (code: "CORRUPT" | "UNSUPPORTED", message: string) => new TundraError(code, message, { keys });
  if (!(sealed instanceof Uint8Array)) {
    throw failed("CORRUPT", `${object} must be bytes: current value is ${typeof sealed}`);
  }
  const { ids, frozen } = await openContainer(sealed, object);
  // All are looked up before the first one runs: a missing freezer is a matter of options, not of bytes.
  const chain = ids.map((id) => {
    const freezer = freezers.find((each) => each.id === id);
    if (freezer) return freezer;
    throw failed("UNSUPPORTED", `${object} must be made by configured freezers: ${show(id)} is not among them`);
  });
  const missing = freezers.find(({ id, required }) => required && !ids.includes(id));
  if (missing) throw failed("UNSUPPORTED", `${object} must be made by freezer ${show(missing.id)}: it is not`);
  // A copy: another call may thaw the same bytes now, and a freezer may work in place.
  let thawed = chain.length > 0 ? new Uint8Array(frozen) : frozen;
  for (const freezer of chain.reverse()) {
    thawed = await passThrough(() => freezer.thaw(thawed, { name }), freezer.id, what, keys);
  }
  return thawed;
}

/**
 * The bytes that a freezer returns. Its failure is a TundraError: with its own code and `retryable`, else
 * `UNAVAILABLE`.
 */
async function passThrough(
  act: () => Uint8Array | Promise<Uint8Array>,
  id: string,
  what: string,
  keys: string[],
): Promise<Uint8Array> {
  const must = `Cannot ${what} as freezer ${show(id)} must`;
  let bytes: unknown;
  try {
    bytes = await act();
  } catch (cause) {
    const { code, retryable } = asTundraError(cause, `Cannot ${what}`);
    throw new TundraError(code, `${must} accept it: ${reason(cause)}`, { keys, retryable, cause });
  }
  if (bytes instanceof Uint8Array) return bytes;
  throw new TundraError("UNSUPPORTED", `${must} return a Uint8Array: current value is ${typeof bytes}`, { keys });
}

function reason(thrown: unknown): string {
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  return text.length > 200 ? text.slice(0, 200) + "..." : text;
}
