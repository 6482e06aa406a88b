/** A Redis at its memory limit is emptied, whatever the server says to a claim. */
import { Buffer } from "node:buffer";
import { afterEach, beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { faultyFetch } from "../../dev/servers/faults.ts";
import { names, tundraError } from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";
import { type Allowed, withFaultWorld } from "./world.ts";

const TTL = { redisTtlMs: 10 * HOUR_MS };
const OOM = {
  type: "status",
  status: 400,
  body: JSON.stringify({ error: "OOM command not allowed when used memory > 'maxmemory'." }),
} as const;

/** By their keys: nothing else in a request names a script. */
const CLAIM = /,6,"tundra:default:dirty","tundra:default:idle","tundra:default:id"/;
const EVICTION = /"tundra:default:dirty","tundra:default:idle","tundra:default:dead","tundra:default:id"/;

describe("a Redis at maxmemory, noeviction", () => {
  const world = withFaultWorld({ redis: { args: ["--maxmemory", "8mb", "--maxmemory-policy", "noeviction"] } });
  const idle = names(20, "idle");
  const dirty = names(20, "dirty");
  let allowed: Allowed;

  beforeEach(async () => {
    await world.flush();
    const value = (key: string) => key.padEnd(20_000, "abcdefgh");
    await world.commands(...[...idle, ...dirty].map((key) => ["SET", key, value(key)]));
    const store = world.store();
    await store.dirty(idle);
    assertEquals((await store.tick()).frozen, idle.length);
    await world.leaveAlone(11 * HOUR_MS, ...idle);
    await store.dirty(dirty);
    allowed = new Map([...await world.values(...idle, ...dirty)].map(([key, value]) => [key, [value]]));
    await fill();
  });
  afterEach(() => world.commands(["CONFIG", "SET", "maxmemory", "8mb"]));

  /** Ballast that nobody marked, until Redis refuses it and the smallest write too. */
  async function fill(): Promise<void> {
    for (const size of [64 * 1024, 16 * 1024, 1024]) {
      for (let n = 0;; n++) {
        const key = `ballast:${size}:${n}`;
        try {
          await world.commands(["SET", key, Buffer.alloc(size, "x")]);
        } catch (error) {
          assertMatch(String(error), /OOM/);
          break;
        }
        assert(n < 10_000);
      }
    }
    for (const key of (await world.commands(["KEYS", "ballast:*"]))[0] as Buffer[]) {
      allowed.set(String(key), [(await world.values(String(key))).get(String(key))!]);
    }
    const [used] = await world.commands(["INFO", "memory"]);
    const memory = Number(/used_memory:(\d+)/.exec(String(used))![1]);
    // a little over the limit, so that what a request's buffers take or free does not matter
    await world.commands(["CONFIG", "SET", "maxmemory", String(memory - 200_000)]);
  }

  it("gives dirty() a typed error and changes nothing", async () => {
    const store = world.store({ redis: { retry: false } });
    const before = await world.everything("tundra:*");
    const error = await tundraError("UNAVAILABLE", () => store.dirty("ballast:1024:0"));
    assertMatch(error.message, /OOM/);
    assertEquals([error.keys, error.retryable], [["ballast:1024:0"], true]);
    assertEquals(await world.everything("tundra:*"), before);
    assertEquals(await world.audit(allowed), []);
  });

  it("gives a write with its mark a typed error, and the value stays what it was", async () => {
    const store = world.store();
    const transaction = store.redis.multi();
    transaction.set("idle:0", "new");
    store.dirtyIn(transaction, "idle:0");
    const error = await tundraError("UNAVAILABLE", () => transaction.exec());
    assertMatch(error.message, /OOM/);
    assertEquals(error.keys, ["idle:0"]);
    assertEquals(await world.audit(allowed), []);
  });

  it("is emptied by tick(): idle keys leave, dirty ones are archived, and there is room again", async () => {
    const store = world.store(TTL);
    const report = await store.tick();
    assertEquals([report.evicted, report.frozen, report.failed, report.dead], [idle.length, dirty.length, 0, 0]);
    assertEquals(report.errors, []);
    assertEquals(await world.exists(...idle), 0);
    assertEquals(await world.members("dirty"), []);
    await world.commands(["SET", "room", "for more"], ["DEL", "room"]);
    assertEquals(await world.audit(allowed), []);
    await world.commands(["CONFIG", "SET", "maxmemory", "0"]);
    await store.ensureKs(idle);
    assertEquals(await world.exists(...idle), idle.length);
    assertEquals(await world.audit(allowed), []);
  });

  it("has no room for ensureKs(): a typed error for each key, which stays in the archive", async () => {
    const store = world.store();
    assertEquals((await store.evict("idle:0", "idle:1")).evicted.length, 2);
    await world.commands(["CONFIG", "SET", "maxmemory", "1mb"]);
    const error = await tundraError("ENSURE_FAILED", () => store.ensureKs("idle:0", "idle:1", "idle:2"));
    assertEquals([error.keys, error.retryable], [["idle:0", "idle:1"], true]);
    for (const cause of Object.values(error.causes)) assertMatch(cause.message, /OOM/);
    assertEquals(await world.audit(allowed), []);
    await world.commands(["CONFIG", "SET", "maxmemory", "0"]);
    await store.ensureKs("idle:0", "idle:1");
    assertEquals(await world.exists("idle:0", "idle:1"), 2);
    assertEquals(await world.audit(allowed), []);
  });

  it("lets del() and evict() free memory", async () => {
    const store = world.store();
    assertEquals((await store.evict(idle)).evicted.length, idle.length);
    assertEquals(await store.del("dirty:0", "idle:0"), 2);
    for (const key of ["dirty:0", "idle:0"]) allowed.set(key, ["absent"]);
    assertEquals(await world.audit(allowed), []);
    assertEquals((await store.tick()).missing, 2);
    assertEquals(await world.audit(allowed), []);
  });

  it("is emptied of idle keys though the server refuses claims, as one without allow-oom would", async () => {
    let full = true;
    const layer = faultyFetch(fetch, ({ body }) => full && CLAIM.test(body) ? OOM : undefined);
    const store = world.store({ ...TTL, redis: { fetch: layer, retry: false } });
    const error = await tundraError("UNAVAILABLE", () => store.tick());
    assertMatch(error.message, /OOM/);
    assertEquals(await world.exists(...idle), 0);
    assertEquals(await world.exists(...dirty), dirty.length);
    assertEquals(await world.audit(allowed), []);
    full = false;
    const report = await store.tick();
    assertEquals([report.frozen, report.failed], [dirty.length, 0]);
    assertEquals(await world.audit(allowed), []);
  });

  it("goes on with the claim in the same tick if eviction made room for it", async () => {
    let full = true;
    const layer = faultyFetch(fetch, ({ body }) => {
      if (EVICTION.test(body)) full = false;
      return full && CLAIM.test(body) ? OOM : undefined;
    });
    const store = world.store({ ...TTL, redis: { fetch: layer, retry: false } });
    const report = await store.tick();
    assertEquals([report.evicted, report.frozen, report.failed], [idle.length, dirty.length, 0]);
    assertEquals(await world.members("dirty"), []);
    assertEquals(await world.audit(allowed), []);
  });

  it("evicts nothing past the archive: an eviction after a refused claim proves each key all the same", async () => {
    await world.commands(["CONFIG", "SET", "maxmemory", "0"], ["SET", "idle:0", "changed, and nobody marked it"]);
    allowed.set("idle:0", [(await world.values("idle:0")).get("idle:0")!]);
    const layer = faultyFetch(fetch, [{ match: CLAIM, times: Infinity, fault: OOM }]);
    await tundraError("UNAVAILABLE", () => world.store({ ...TTL, redis: { fetch: layer, retry: false } }).tick());
    assertEquals(await world.exists(...idle), 1);
    assertEquals(await world.audit(allowed), []);
    assert((await world.members("dirty")).includes("idle:0"));
  });
});
