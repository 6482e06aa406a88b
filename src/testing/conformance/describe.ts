/**
 * The conformance suite: what Tundra relies on in a datastore, as cases of the test framework that an application has.
 * @module
 */
import { badArgument } from "../../base/errors.ts";
import type { Datastore } from "../../datastores/datastore.ts";
import { must } from "./assertions.ts";
import { ANNOUNCES, callCases, UNREACHABLE, WHOLE } from "./call_cases.ts";
import { listCases } from "./list_cases.ts";
import { newObjectCase, objectCases, replacementCase } from "./object_cases.ts";
import { partCases } from "./part_cases.ts";
import { rangeCases } from "./range_cases.ts";
import type { Case, OptionalFunction, Trial } from "./trial.ts";

/** Every character that a name may hold, parts that look odd, and the greatest length: what a datastore must take. */
export const ODD_NAMES: readonly string[] = [
  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.~/x",
  "default/user.3A1.2F.C3.A9/1764000000000001-0a1b2c3d",
  "default/~owner/first",
  "a..b/.c/d./.../~/-/_",
  "0",
  "-",
  "..a",
  "x".repeat(900),
  Array.from({ length: 225 }, (_, i) => "a.~_"[i % 4] + "-0/").join("").slice(0, 899) + "z",
];

/**
 * The test framework, and what the datastore under test can do. A function that is not named here is tried if the
 * datastore has it; `true` makes its absence a failure, `false` leaves its cases out.
 */
export interface DatastoreCapabilities {
  /**
   * The framework's `describe`.
   *
   * @default {the global one: Jest, Mocha, Vitest with `globals`}
   */
  describe?(title: string, act: () => void): unknown;
  /**
   * The framework's `it`. Its cases are asynchronous and take no arguments.
   *
   * @default {the global one}
   */
  it?(title: string, act: () => Promise<void>): unknown;
  /**
   * The framework's `after` or `afterAll`, for the function `stop` of what `make` gave.
   *
   * @default {the global one}
   */
  after?(act: () => Promise<void>): unknown;
  /** `true`: it must have `putParts`; `false`: its cases are left out. */
  putParts?: boolean;
  /** `true`: it must have `fetchRanges`; `false`: its cases are left out. */
  fetchRanges?: boolean;
  /** `true`: it must have `deleteKeys`; `false`: its cases are left out. */
  deleteKeys?: boolean;
  /** `true`: it must have `hasKeys`; `false`: its cases are left out. */
  hasKeys?: boolean;
  /** `true`: it must have `listKeys`; `false`: its cases are left out. */
  listKeys?: boolean;
  /**
   * `true`: `putKey` with `ifAbsent` must refuse a name that is taken; `false`: it must store the object.
   *
   * @default {either, as long as it says what it does}
   */
  ifAbsent?: boolean;
  /**
   * `true`: `putKey` without `ifAbsent` must replace an object; `false`: it must refuse other bytes under a name that is
   * taken with `CONFLICT`, and keep what is there. Tundra never puts two objects under one name.
   *
   * @default {either, as long as it says what it does}
   */
  replaces?: boolean;
  /**
   * `true`: it must call `onRequest`, as every datastore over HTTP should; `false`: this is left out.
   *
   * @default {either, but if it does, as it must}
   */
  onRequest?: boolean;
  /**
   * `false`: a call that reads what another is putting may see a part of it. Tundra finds that by its checksums.
   *
   * @default {true}
   */
  wholePuts?: boolean;
  /**
   * A datastore of the same kind whose place is not there: a wrong bucket, a closed port, an unmounted disk. It must not
   * answer that objects are absent. Without it this is not tried.
   */
  unreachable?(): Datastore | Promise<Datastore>;
  /**
   * Those of {@linkcode ODD_NAMES} that it can take, if it cannot take all. Tundra's own names have 250 characters
   * between two slashes at most.
   */
  oddNames?: readonly string[];
  /**
   * The number of objects that the case about long listings puts. With fewer than 1,001 it sees one page only.
   *
   * @default {1050}
   */
  longListing?: number;
  /** Cases that a server is known to fail, by title: the case must fail, and its message must include this text. */
  deviations?: Readonly<Record<string, string>>;
  /**
   * The seed of the random bytes.
   *
   * @default {1}
   */
  seed?: number;
}

/** A datastore for one suite; if something must be stopped after it, with the function that stops it. */
export type DatastoreUnderTest = Datastore | {
  /** The datastore. */
  store: Datastore;
  /** Ends it, after the last case. */
  stop?(): Promise<void>;
};

/**
 * Describes a datastore by the cases that every one must pass: bytes, names, order, absence, ranges, deletions, listings,
 * aborts. It runs under node:test, Deno's bdd, bun:test, Vitest, Jest and Mocha, and needs no library of assertions.
 *
 * @param name the name of the datastore, for the title
 * @param make makes the datastore, once, when the first case runs; it must be empty, and objects are left in it
 * @param capabilities the framework, and what the datastore can do
 * @throws {TundraError} `BAD_ARGUMENT`: there is no `describe` or `it`
 * @example
 * ```ts
 * import { describeDatastore, memoryDatastore } from "@tundra/store/testing";
 *
 * // describe and it of node:test, bun:test, Vitest; here the least that will do
 * const cases: (() => Promise<void>)[] = [];
 * const describe = (_title: string, act: () => void) => act();
 * const it = (_title: string, act: () => Promise<void>) => cases.push(act);
 *
 * describeDatastore("memory", () => memoryDatastore(), { describe, it, fetchRanges: true, listKeys: true });
 * for (const act of cases) await act();
 * ```
 */
export function describeDatastore(
  name: string,
  make: () => DatastoreUnderTest | Promise<DatastoreUnderTest>,
  capabilities: DatastoreCapabilities = {},
): void {
  const globals = globalThis as unknown as DatastoreCapabilities & { afterAll?: DatastoreCapabilities["after"] };
  const describe = capabilities.describe ?? globals.describe;
  const it = capabilities.it ?? globals.it;
  const after = capabilities.after ?? globals.afterAll ?? globals.after;
  for (const [what, value] of Object.entries({ describe, it })) {
    if (typeof value !== "function") throw badArgument("describe a datastore", what, "a function", value);
  }
  const { deviations = {} } = capabilities;
  let made: Promise<Made> | undefined;
  const running = () => made ??= start(make, after !== undefined);
  describe!(`the datastore ${name}`, () => {
    after?.(async () => await (await made?.catch(() => undefined))?.stop?.());
    for (const each of casesFor(capabilities)) {
      const act = async () => await tryCase(each, (await running()).store, capabilities);
      const says = deviations[each.title];
      if (says === undefined) it!(each.title, act);
      else it!(`${each.title}: this datastore does not (${says})`, () => deviates(act, says));
    }
  });
}

interface Made {
  store: Datastore;
  stop?(): Promise<void>;
}

async function start(make: () => DatastoreUnderTest | Promise<DatastoreUnderTest>, canStop: boolean): Promise<Made> {
  const made = await make();
  const { store, stop }: Made = "putKey" in made ? { store: made } : made;
  if (stop && !canStop) {
    await stop();
    throw badArgument("stop a datastore", "after", "the framework's after or afterAll", undefined);
  }
  return { store, stop };
}

function casesFor(capabilities: DatastoreCapabilities): Case[] {
  const all = [
    ...objectCases,
    replacementCase(capabilities.replaces),
    newObjectCase(capabilities.ifAbsent),
    ...partCases,
    ...rangeCases,
    ...listCases,
    ...callCases,
  ];
  return all.filter(({ title, needs = [] }) =>
    needs.every((name) => capabilities[name] !== false) &&
    (title !== WHOLE || capabilities.wholePuts !== false) &&
    (title !== ANNOUNCES || capabilities.onRequest !== false) &&
    (title !== UNREACHABLE || capabilities.unreachable !== undefined)
  );
}

async function tryCase(each: Case, store: Datastore, capabilities: DatastoreCapabilities): Promise<void> {
  const can = (name: OptionalFunction): boolean => {
    if (capabilities[name] === false) return false;
    must(store[name] !== undefined || !capabilities[name], `the datastore must have ${name}`);
    return store[name] !== undefined;
  };
  if (!(each.needs ?? []).every(can)) return; // nobody has claimed it
  const { seed = 1, replaces, onRequest, oddNames = ODD_NAMES, longListing = 1050 } = capabilities;
  const trial: Trial = {
    store: store as Required<Datastore>,
    can,
    oddNames,
    replaces,
    longListing,
    onRequest,
    randomBytes: (length, salt = 0) => randomBytes(seed, length, salt),
    unreachable: async () => await capabilities.unreachable!(),
  };
  await each.act(trial);
}

/** A known failure is a promise too: if the server has learnt it, the case says so. */
async function deviates(act: () => Promise<void>, says: string): Promise<void> {
  const failure = await act().then(() => undefined, (reason: unknown) => reason);
  must(failure !== undefined, "the datastore must fail this case, as its deviations say: it passes now");
  const message = failure instanceof Error ? failure.message : String(failure);
  must(message.includes(says), `the failure must say ${JSON.stringify(says)}: it says ${message}`);
}

/** Random bytes, the same for one seed and salt. */
export function randomBytes(seed: number, length: number, salt = 0): Uint8Array {
  let state = (seed + salt * 7919) | 0;
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = (state = (Math.imul(state, 1664525) + 1013904223) | 0) >>> 24;
  return bytes;
}
