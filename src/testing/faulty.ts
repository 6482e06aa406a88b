/**
 * A datastore with faults, drawn from a seed, on either side of each effect.
 * @module
 */
import { badArgument, TundraError } from "../base/errors.ts";
import type { Datastore, DatastoreCallOptions } from "../datastores/datastore.ts";

/**
 * The fault of one call:
 *
 * | fault | the effect | the caller |
 * | --- | --- | --- |
 * | `refused` | none | is told `UNAVAILABLE` |
 * | `lost` | has happened | is told `UNAVAILABLE` |
 * | `late` | happens after the call has ended, and after later calls | is told `UNAVAILABLE` |
 * | `partial` | none of a read; of a deletion some | some slots are `UNAVAILABLE`; a deletion is told it |
 * | `delay` | happens after a pause | has the answer after another |
 */
export type DatastoreFault = "refused" | "lost" | "late" | "partial" | "delay";

/** Options of {@linkcode faultyDatastore}. */
export interface FaultyDatastoreOptions {
  /**
   * The seed: the same calls in the same order meet the same faults.
   *
   * @default {1}
   */
  seed?: number;
  /**
   * The share of calls that meet a fault, from 0 to 1.
   *
   * @default {0.2}
   */
  rate?: number;
  /**
   * The faults to draw from.
   *
   * @default {all}
   */
  faults?: readonly DatastoreFault[];
  /**
   * The longest pause, in ms, of `delay` and `late`.
   *
   * @default {20}
   */
  maxDelayMs?: number;
}

/** A fault that a call has met. */
export interface MetFault {
  /** The function of the datastore. */
  readonly call: string;
  /** Its fault. */
  readonly fault: DatastoreFault;
}

/** The result of {@linkcode faultyDatastore}: the functions of the datastore in it, and what became of their calls. */
export interface FaultyDatastore extends Datastore {
  /** The faults so far, in the order of the calls. */
  readonly met: readonly MetFault[];
  /** Ends the faults: later calls meet none. */
  heal(): void;
  /** Resolves once all late effects have happened. */
  settled(): Promise<void>;
}

const ALL: readonly DatastoreFault[] = ["refused", "lost", "late", "partial", "delay"];
const OF_READS: readonly DatastoreFault[] = ["refused", "lost", "partial", "delay"];

/**
 * A datastore that fails as networks do: before an effect, after it, or so that it cannot be known. It has the
 * functions that the datastore in it has. An application's tests run on it to see what they do about failures.
 *
 * @throws {TundraError} `BAD_ARGUMENT`
 * @example
 * ```ts
 * import { faultyDatastore, memoryDatastore } from "@tundra/store/testing";
 *
 * const archive = faultyDatastore(memoryDatastore(), { seed: 7, rate: 0.5 });
 * const outcomes = await Promise.allSettled([1, 2, 3, 4].map((n) => archive.putKey(`a/${n}`, new Uint8Array([n]))));
 * console.log(outcomes.map(({ status }) => status), archive.met);
 * archive.heal();
 * await archive.settled();
 * ```
 */
export function faultyDatastore(store: Datastore, options: FaultyDatastoreOptions = {}): FaultyDatastore {
  const faults = faultsOf(options);
  const { deleteKeys, fetchRanges, hasKeys, listKeys, putParts } = store;
  return {
    ...(store.place !== undefined && { place: store.place }),
    ...(store.timeoutMs !== undefined && { timeoutMs: store.timeoutMs }),
    met: faults.met,
    heal: faults.heal,
    settled: faults.settled,
    putKey(name, value, options) {
      const bytes = new Uint8Array(value); // a late put stores what was given, even if the caller has changed it since
      return faults.around(
        "putKey",
        ["refused", "lost", "late", "delay"],
        options,
        () => store.putKey(name, bytes, options),
      );
    },
    ...(putParts && {
      putParts: (name, parts, options) =>
        faults.around(
          "putParts",
          ["refused", "lost", "delay"],
          options,
          () => putParts.call(store, name, parts, options),
        ),
    }),
    fetchKeys: faults.slots("fetchKeys", store.fetchKeys.bind(store)),
    ...(fetchRanges && { fetchRanges: faults.slots("fetchRanges", fetchRanges.bind(store)) }),
    ...(hasKeys && { hasKeys: faults.slots("hasKeys", hasKeys.bind(store)) }),
    ...(deleteKeys && {
      deleteKeys(names, options) {
        const some = names.filter(() => faults.half());
        return faults.around(
          "deleteKeys",
          ALL,
          options,
          (partial) => deleteKeys.call(store, partial ? some : names, options),
        );
      },
    }),
    ...(listKeys && {
      listKeys: (prefix, cursor, options) =>
        faults.around(
          "listKeys",
          ["refused", "lost", "delay"],
          options,
          () => listKeys.call(store, prefix, cursor, options),
        ),
    }),
  };
}

type Read<I, R> = (items: I[], options?: DatastoreCallOptions) => Promise<(R | Error)[]>;

interface Faults {
  readonly met: MetFault[];
  heal(): void;
  settled(): Promise<void>;
  /** One of two, by chance. */
  half(): boolean;
  /** Calls `act`, told if its fault is `partial`, with the next fault around it. */
  around<T>(
    call: string,
    can: readonly DatastoreFault[],
    options: DatastoreCallOptions | undefined,
    act: (partial: boolean) => Promise<T>,
  ): Promise<T>;
  /** A function that answers in slots, with faults. */
  slots<I, R>(call: string, read: Read<I, R>): Read<I, R>;
}

function faultsOf({ seed = 1, rate = 0.2, faults = ALL, maxDelayMs = 20 }: FaultyDatastoreOptions): Faults {
  if (!(rate >= 0 && rate <= 1)) throw badArgument("make a faulty datastore", "rate", "a number from 0 to 1", rate);
  const next = randomNumbers(seed);
  const met: MetFault[] = [];
  const late = new Set<Promise<unknown>>();
  let healed = false;
  const pause = () => new Promise<void>((resolve) => setTimeout(resolve, next() * maxDelayMs));
  const failure = (call: string) => new TundraError("UNAVAILABLE", `Cannot do ${call}: a fault of faultyDatastore`);
  const draw = (call: string, can: readonly DatastoreFault[]): DatastoreFault | undefined => {
    const possible = faults.filter((fault) => can.includes(fault));
    const [hit, which] = [next(), next()]; // two numbers a call, whatever comes of them
    if (healed || hit >= rate || possible.length === 0) return undefined;
    const fault = possible[Math.floor(which * possible.length)]!;
    met.push({ call, fault });
    return fault;
  };
  const around: Faults["around"] = async (call, can, options, act) => {
    options?.signal?.throwIfAborted();
    const fault = draw(call, can);
    if (fault === "refused") throw failure(call);
    if (fault === "late") {
      const effect = pause().then(() => act(false)).catch(() => {}).finally(() => late.delete(effect));
      late.add(effect);
      throw failure(call);
    }
    if (fault === "delay") await pause();
    options?.signal?.throwIfAborted();
    const answer = await act(fault === "partial");
    if (fault === "lost" || (fault === "partial" && !Array.isArray(answer))) throw failure(call);
    if (fault === "delay") await pause();
    return answer;
  };
  return {
    met,
    heal: () => void (healed = true),
    half: () => next() < 0.5,
    async settled() {
      while (late.size > 0) await Promise.all(late);
    },
    around,
    slots: (call, read) => (items, options) =>
      around(call, OF_READS, options, async (partial) => {
        const slots = await read(items, options);
        return partial ? slots.map((slot) => next() < 0.5 ? failure(call) : slot) : slots;
      }),
  };
}

/** Numbers in [0, 1), the same for one seed: a counter, each value mixed by two multiplications. */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32;
  };
}
