/** Failures that are not specific to a suspect never count against it, however often they happen. */
import { beforeEach, describe, it } from "node:test";
import { assertEquals, assertGreater } from "@std/assert";
import { faultyFetch } from "../../dev/servers/faults.ts";
import type { TundraStore } from "../../mod.ts";
import { redisKeys } from "../../src/base/keys.ts";
import { withArchive } from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";
import { sleep } from "../support/waiting.ts";

describe("a suspect", () => {
  const stack = withArchive();
  const keys = redisKeys("default");
  beforeEach(() => stack.flush());

  /** `k` as a tick leaves it that died over it; Redis knows all scripts. */
  async function suspect(): Promise<void> {
    const store = stack.store();
    await stack.raw("SET", "k", "value");
    for (const warm of [true, false]) {
      await store.dirty("k");
      await stack.raw("ZADD", keys.dirty, `${Math.floor(await stack.nowMs()) - 1000}.5`, "k");
      if (warm) assertEquals((await store.tick()).frozen, 1);
    }
  }

  /** True for the request of a script with `count` KEYS, these first. */
  const isScript = (body: string, first: string[], count: number): boolean => {
    const [name, , n, ...rest] = JSON.parse(body) as unknown[];
    return /^EVAL/.test(String(name)) && n === count && first.every((key, i) => rest[i] === key);
  };
  const isBegin = (body: string) => isScript(body, [keys.dirty, keys.dead, keys.record("k")], 3);
  const isCommit = (body: string) => isScript(body, [keys.dirty, keys.idle, keys.stats, keys.purge], 6);

  async function isHealthy(store: TundraStore, ticks: number): Promise<void> {
    assertEquals([ticks, (await stack.record("k"))!.attempts], [ticks, 0]);
    await stack.endLeases();
    const report = await store.tick();
    assertEquals([report.frozen, report.dead, report.errors], [1, 0, []]);
  }

  it("is not blamed for ticks that are aborted while it begins", async () => {
    let stopping = new AbortController();
    const store = stack.store({
      redis: {
        retry: false,
        fetch: async (input, init) => {
          const response = await fetch(input, { ...init, signal: undefined });
          if (isBegin(String(init?.body))) stopping.abort();
          return response;
        },
      },
    });
    await suspect();
    for (let n = 0; n < 5; n++) {
      stopping = new AbortController();
      const report = await store.tick({ signal: stopping.signal });
      assertEquals([stopping.signal.aborted, report.claimed, report.frozen, report.dead], [true, 1, 0, 0]);
      await stack.endLeases();
    }
    await isHealthy(stack.store(), 5);
  });

  it("is left to the next tick by one that was suspended for more than 12 hours before it began: nothing is put", async () => {
    await suspect();
    const before = await stack.versions();
    const store = stack.store({
      redis: {
        fetch: async (input, init) => {
          if (isBegin(String(init?.body))) { // as if time had passed
            const token = `${Math.floor(await stack.nowMs()) - 13 * HOUR_MS}.5`;
            const [, sha, n, dirty, dead, record, key, , ...rest] = JSON.parse(String(init?.body));
            await stack.raw("ZADD", keys.dirty, token, "k");
            const body = JSON.stringify(["EVALSHA", sha, n, dirty, dead, record, key, token, ...rest]);
            return await fetch(input, { ...init, body });
          }
          return await fetch(input, init);
        },
      },
    });
    const report = await store.tick();
    assertEquals([report.claimed, report.frozen, report.done, report.errors], [1, 0, false, []]);
    assertEquals(await stack.versions(), before);
    await isHealthy(stack.store(), 0);
  });

  it("is archived under a version that is as old as its begin, and no older", async () => {
    await suspect();
    const PAUSE_MS = 300;
    const store = stack.store({
      redis: {
        fetch: async (input, init) => {
          if (isBegin(String(init?.body))) await sleep(PAUSE_MS);
          return await fetch(input, init);
        },
      },
    });
    const from = await stack.nowMs();
    assertEquals((await store.tick()).frozen, 1);
    const micros = Number((await stack.record("k"))!.ver.slice(0, 16));
    assertGreater(micros, 1000 * (from + PAUSE_MS - 1));
    assertGreater(1000 * await stack.nowMs(), micros);
  });

  it("is not blamed for commits that Redis refuses", async () => {
    const faulty = faultyFetch(
      globalThis.fetch,
      ({ body }) => isCommit(body) ? { type: "status", status: 503 } : undefined,
    );
    const store = stack.store({ redis: { retry: false, fetch: faulty } });
    await suspect();
    for (let n = 0; n < 5; n++) {
      const report = await store.tick();
      assertEquals([report.claimed, report.frozen, report.dead, report.done], [1, 0, 0, false]);
      assertGreater(report.errors.length, 0);
      await stack.endLeases();
    }
    await isHealthy(stack.store(), 5);
  });

  it("is committed if only the reply to its commit was lost: giving it back then changes nothing", async () => {
    const faulty = faultyFetch(
      globalThis.fetch,
      ({ body }) => isCommit(body) ? { type: "reset", served: true } : undefined,
    );
    const store = stack.store({ redis: { retry: false, fetch: faulty }, redisTtlMs: 10 * HOUR_MS });
    await suspect();
    await store.tick();
    const { rev, attempts, flag } = (await stack.record("k"))!;
    assertEquals([rev, attempts, flag, await stack.members("dirty")], [0, 0, "r", []]);
    assertEquals((await stack.store().evict("k")).evicted, ["k"]);
  });
});
