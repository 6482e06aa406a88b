/** Failures that are not specific to a suspect never count against it, however often they happen. */
import { beforeEach, describe, it } from "node:test";
import { assertEquals, assertGreater } from "@std/assert";
import { faultyFetch } from "../../dev/servers/faults.ts";
import type { TundraStore } from "../../mod.ts";
import { redisKeys } from "../../src/base/keys.ts";
import { withArchive } from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";

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
