/** What operations have in common: a call that was aborted before it began does nothing; each tells its progress. */
import { before, describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import type { TundraStore } from "../../mod.ts";
import { rotate, status } from "../../src/encryption/mod.ts";
import {
  activity,
  adopt,
  advise,
  erase,
  list,
  type OperationOptions,
  type OperationReport,
  peek,
  probe,
  type Progress,
  rebuild,
  restoreVersion,
  sweep,
  verify,
  versions,
  warm,
} from "../../src/operations/mod.ts";
import { encrypted, masterKey } from "../support/encryption.ts";
import { names, tundraError, withArchive } from "../support/fixtures.ts";
import { changesNothing } from "../support/operations.ts";

const REASON = new Error("enough");
const OPTIONS = { signal: AbortSignal.abort(REASON) };

describe("an operation that was aborted before it began", () => {
  const stack = withArchive();
  let sent = 0;
  let store: TundraStore;
  let encrypting: TundraStore;
  before(async () => {
    await stack.flush();
    const datastore = Object.entries(stack.datastore()).map(([name, value]) => [
      name,
      typeof value === "function"
        ? (...args: unknown[]) => {
          sent++;
          return (value as (...args: unknown[]) => unknown)(...args);
        }
        : value,
    ]);
    store = stack.store({ datastore: Object.fromEntries(datastore) });
    encrypting = stack.store({
      datastore: Object.fromEntries(datastore),
      freezer: encrypted({ keys: { a: masterKey(1) } }),
    });
    await stack.raw("MSET", ...names(10).flatMap((key) => [key, "v"]));
    await store.dirty(names(10));
    await store.tick();
    await store.evict("k:1");
  });

  /** Runs a call that must send nothing. */
  async function silent<T>(act: () => Promise<T>): Promise<T> {
    return await changesNothing(stack, async () => {
      await stack.server.resetCounters();
      sent = 0;
      const result = await act();
      assertEquals([stack.server.requests, sent], [0, 0]);
      return result;
    });
  }

  const resumed: Record<string, () => Promise<OperationReport>> = {
    adopt: () => adopt(store, OPTIONS),
    erase: () => erase(store, names(10), OPTIONS),
    sweep: () => sweep(store, OPTIONS),
    advise: () => advise(store, OPTIONS),
    probe: () => probe(store, OPTIONS),
    rebuild: () => rebuild(store, OPTIONS),
    rotate: () => rotate(encrypting, OPTIONS),
    "status of encryption": () => status(encrypting, OPTIONS),
    "rebuild, dryRun": () => rebuild(store, { ...OPTIONS, dryRun: true }),
    verify: () => verify(store, OPTIONS),
    "verify, dryRun": () => verify(store, { ...OPTIONS, dryRun: true }),
    warm: () => warm(store, OPTIONS),
    "warm, a list": () => warm(store, names(10), OPTIONS),
  };
  for (const [name, act] of Object.entries(resumed)) {
    it(`reports done: false and sends nothing, if it may be called again for the rest: ${name}`, async () => {
      const { done, subrequests, commands } = await silent(act);
      assertEquals([done, subrequests, commands], [false, 0, 0]);
    });
  }

  const answering: Record<string, () => Promise<unknown>> = {
    activity: () => activity(store, OPTIONS),
    list: async () => {
      for await (const _ of list(store, OPTIONS));
    },
    peek: () => peek(store, "k:1", () => 1, OPTIONS),
    restoreVersion: () => restoreVersion(store, "k:1", new Date(), OPTIONS),
    versions: () => versions(store, "k:1", OPTIONS),
  };
  for (const [name, act] of Object.entries(answering)) {
    it(`is UNAVAILABLE and sends nothing, if it gives one answer: ${name}`, async () => {
      const error = await silent(() => tundraError("UNAVAILABLE", act));
      assertEquals([error.retryable, error.cause], [true, REASON]);
    });
  }
});

describe("onProgress", () => {
  const stack = withArchive();
  let store: TundraStore;
  let version: string;
  before(async () => {
    await stack.flush();
    store = stack.store();
    await stack.raw("MSET", ...names(10).flatMap((key) => [key, "v"]));
    await store.dirty(names(10));
    await store.tick();
    await store.evict("k:1", "k:2", "k:3");
    version = (await versions(store, "k:4"))[0]!.version;
    await stack.raw("SET", "unknown", "v");
  });

  type Call = (options: OperationOptions) => Promise<unknown>;
  /** Calls, and the total that each tells in the end. */
  const calls: Record<string, [Call, total?: number]> = {
    adopt: [(options) => adopt(store, options)],
    advise: [(options) => advise(store, options)],
    list: [async (options) => {
      for await (const _ of list(store, options));
    }],
    "list, maxKeys": [async (options) => {
      for await (const _ of list(store, { ...options, maxKeys: 2 }));
    }],
    peek: [(options) => peek(store, "k:1", () => 1, options), 1],
    "peek, a key that is absent": [(options) => peek(store, "absent", () => 1, options), 1],
    probe: [(options) => probe(store, { ...options, maxSubrequests: 60 })],
    restoreVersion: [(options) => restoreVersion(store, "k:4", version, { ...options, to: "copy" }), 1],
    "restoreVersion, a Date": [(options) => restoreVersion(store, "k:4", new Date(), { ...options, to: "other" }), 1],
    verify: [(options) => verify(store, options)],
    versions: [(options) => versions(store, "k:4", options), 1],
    "versions, of an unknown key": [(options) => versions(store, "absent", options), 1],
    sweep: [(options) => sweep(store, options)],
    "warm, a list": [(options) => warm(store, ["k:1", "k:4"], options), 2],
    "warm, match": [(options) => warm(store, { ...options, match: "k:2" })],
    "warm, nothing is evicted": [(options) => warm(store, { ...options, match: "k:4" })],
    "erase, a list": [(options) => erase(store, ["k:5", "k:6"], options)],
    "erase, match": [(options) => erase(store, { match: "k:7" }, options)],
    "erase, without packs": [async (options) => {
      const alone = stack.store({ tqname: "alone", packBytes: 0 });
      await alone.dirty("k:8");
      await alone.tick();
      await erase(alone, ["k:8"], options);
    }],
    "rebuild, dryRun": [async (options) => {
      await stack.raw("FLUSHDB");
      await rebuild(store, { ...options, dryRun: true });
    }],
    rebuild: [(options) => rebuild(store, options)],
  };
  for (const [name, [call, total]] of Object.entries(calls)) {
    it(`is called by each operation, with numbers that only grow, and the total where it is known: ${name}`, async () => {
      const seen: Progress[] = [];
      await call({ onProgress: (progress) => seen.push(progress) });
      assert(seen.length > 0);
      const last = seen.at(-1)!;
      assert(last.done > 0 && last.perSecond > 0 && Number.isFinite(last.perSecond), JSON.stringify(last));
      assertEquals(seen.map(({ done }) => done), seen.map(({ done }) => done).toSorted((a, b) => a - b));
      if (total !== undefined) assertEquals([last.total, last.done], [total, total]);
    });
  }
});
