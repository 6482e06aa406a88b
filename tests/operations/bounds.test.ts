/** Bounds that operations have in common: what becomes of a call that was aborted before it began. */
import { before, describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import type { TundraStore } from "../../mod.ts";
import {
  activity,
  adopt,
  advise,
  erase,
  list,
  type OperationReport,
  peek,
  probe,
  rebuild,
  restoreVersion,
  sweep,
  verify,
  versions,
  warm,
} from "../../src/operations/mod.ts";
import { names, tundraError, withArchive } from "../support/fixtures.ts";
import { changesNothing } from "../support/operations.ts";

const REASON = new Error("enough");
const OPTIONS = { signal: AbortSignal.abort(REASON) };

describe("an operation that was aborted before it began", () => {
  const stack = withArchive();
  let sent = 0;
  let store: TundraStore;
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
