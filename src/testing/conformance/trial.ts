/**
 * Cases of the conformance suite, and what each is given.
 * @module
 */
import { nameTaken } from "../../base/errors.ts";
import type { Datastore } from "../../datastores/datastore.ts";
import { codeOf, must } from "./assertions.ts";

/** The functions that a datastore may lack. */
export type OptionalFunction = "putParts" | "fetchRanges" | "deleteKeys" | "hasKeys" | "listKeys";

/** The datastore and the tools of a case. */
export interface Trial {
  /** The datastore; a case calls an optional function only after it has asked `can`, or if it `needs` it. */
  readonly store: Required<Datastore>;
  /** Tells if the datastore has this function and the suite may use it. */
  can(name: OptionalFunction): boolean;
  /** The names of ODD_NAMES that it must take. */
  readonly oddNames: readonly string[];
  /** The number of names of a long listing. */
  readonly longListing: number;
  /** Random bytes, the same for one seed and salt. */
  randomBytes(length: number, salt?: number): Uint8Array;
  /** `true`: it must replace objects; `false`: it must refuse to; `undefined`: either. */
  readonly replaces: boolean | undefined;
  /** `true`: it must call `onRequest`; `undefined`: it may. */
  readonly onRequest: boolean | undefined;
  /** A datastore of the same kind whose place is not there. */
  unreachable(): Promise<Datastore>;
}

/** A case: its title is what a datastore promises. */
export interface Case {
  readonly title: string;
  /** The optional functions without which there is nothing to try. */
  readonly needs?: readonly OptionalFunction[];
  act(trial: Trial): Promise<void>;
}

/** All names under a prefix, page by page. */
export async function listAll(
  store: Pick<Required<Datastore>, "listKeys">,
  prefix: string,
): Promise<{ names: string[]; pages: number }> {
  const names: string[] = [];
  let cursor: string | undefined;
  for (let pages = 1;; pages++) {
    const page = await store.listKeys(prefix, cursor);
    names.push(...page.names);
    cursor = page.cursor;
    if (cursor === undefined) return { names, pages };
    must(pages < 100, "the listing must end: it has had 100 pages");
  }
}

/** Puts other bytes under a name that is taken; `false`: they were refused, as the datastore never replaces an object. */
export async function putAgain({ store, replaces }: Trial, name: string, value: Uint8Array): Promise<boolean> {
  try {
    await store.putKey(name, value);
  } catch (thrown) {
    if (replaces === true || codeOf(thrown) !== nameTaken("").code) throw thrown;
    return false;
  }
  must(replaces !== false, `putKey of other bytes under the taken name ${name} must be CONFLICT`);
  return true;
}

/** Calls `act` on every item, at most `size` at once. */
export async function inPool<T>(items: readonly T[], size: number, act: (item: T) => Promise<unknown>): Promise<void> {
  const queue = [...items];
  await Promise.all(Array.from({ length: size }, async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await act(item);
  }));
}
