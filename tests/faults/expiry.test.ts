/** A key's own expiry passes at the worst moment: it stays away, and what was created anew stays. */
import { beforeEach, describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import type { Datastore } from "../../mod.ts";
import { hooked } from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";
import { until } from "../support/waiting.ts";
import { type Allowed, withFaultWorld } from "./world.ts";

describe("a key whose own expiry passes", () => {
  const world = withFaultWorld();
  const absent: Allowed = new Map([["x", ["absent"]]]);

  beforeEach(() => world.flush());

  /** Sets x to expire. */
  const expiring = async (ms = HOUR_MS): Promise<number> => {
    const exp = Math.floor(await world.nowMs()) + ms;
    await world.commands(["SET", "x", "1", "PXAT", exp]);
    return exp;
  };
  /** Sets x to expire soon, but not before it is evicted, however busy the machine is. */
  const evictedSoon = async (least = 150): Promise<number> => {
    for (let ms = least;; ms *= 2) {
      await world.flush();
      const exp = await expiring(ms);
      const store = world.store();
      await store.dirty("x").catch(() => {});
      await store.tick();
      if ((await store.evict("x")).evicted.length === 1 && await world.nowMs() < exp - ms / 2) return exp;
    }
  };
  const passed = (exp: number) => until("the expiry passes", async () => await world.nowMs() > exp + 2);

  /** Nothing of it is left to do, and it does not come back. */
  const staysAway = async () => {
    const store = world.store();
    for (let i = 0; i < 2; i++) await store.tick();
    assertEquals(await world.members("dirty"), []);
    await store.ensureKs("x");
    assertEquals(await world.exists("x"), 0);
    assertEquals(await world.audit(absent), []);
  };

  /** And a new key of that name is a key like any other. */
  const comesAnew = async () => {
    const store = world.store();
    await world.commands(["SET", "x", "anew"]);
    await store.dirty("x");
    const anew: Allowed = new Map([["x", [(await world.values("x")).get("x")!]]]);
    assertEquals((await store.tick()).frozen, 1);
    assertEquals((await store.evict("x")).evicted, ["x"]);
    assertEquals(await world.audit(anew), []);
    await store.ensureKs("x");
    assertEquals(await world.get("x"), "anew");
    assertEquals(await world.audit(anew), []);
  };

  it("while it is dirty", async () => {
    await expiring();
    await world.store().dirty("x");
    await world.commands(["PEXPIREAT", "x", 1]);
    assertEquals(await world.exists("x"), 0);
    assertEquals((await world.store().tick()).missing, 1);
    await staysAway();
    await comesAnew();
  });

  it("while it is uploaded", async () => {
    await expiring();
    await world.store().dirty("x");
    const datastore = world.datastore();
    const slow: Datastore = hooked(datastore, {
      async putKey(name, value, options) {
        if (name.startsWith("default/x/")) await world.commands(["PEXPIREAT", "x", 1]);
        return await datastore.putKey(name, value, options);
      },
    });
    const report = await world.store({ datastore: slow }).tick();
    assertEquals([report.claimed >= 1, report.failed], [true, 0]);
    await staysAway();
    await comesAnew();
  });

  it("while it is evicted", async () => {
    const exp = await evictedSoon();
    await passed(exp);
    await staysAway();
    await comesAnew();
  });

  it("while it is fetched", async () => {
    const datastore = world.datastore();
    let exp = 0;
    let fetched = false;
    const slow: Datastore = hooked(datastore, {
      async fetchKeys(names, options) {
        fetched ||= names.some((name) => name.startsWith("default/x/"));
        const objects = await datastore.fetchKeys(names, options);
        if (fetched) await passed(exp);
        return objects;
      },
    });
    for (let ms = 150; !fetched; ms *= 2) { // on a busy machine it may have passed before the fetch
      exp = await evictedSoon(ms);
      await world.store({ datastore: slow }).ensureKs("x");
    }
    await staysAway();
    await comesAnew();
  });

  it("and its record stays, until its objects are deleted two days later", async () => {
    const exp = await expiring();
    const store = world.store();
    await store.dirty("x");
    await store.tick();
    await store.evict("x");
    const [ends, due] = await world.commands(["PEXPIRETIME", "tundra:default:rec:x"], [
      "ZSCORE",
      "tundra:default:purge",
      "x",
    ]);
    assertEquals([ends, Number(String(due))], [-1, exp + 48 * HOUR_MS]);
  });

  for (const [what, command] of [["taken off", ["PERSIST", "x"]], ["moved", ["PEXPIRE", "x", 2 * HOUR_MS]]] as const) {
    it(`is ${what} without a mark: the key is archived again before it leaves, and comes back so`, async () => {
      await expiring();
      const store = world.store();
      await store.dirty("x");
      await store.tick();
      await world.commands([...command]);
      const now: Allowed = new Map([["x", [(await world.values("x")).get("x")!]]]);
      assertEquals((await store.evict("x")).kept, { x: "rescued" });
      assertEquals((await store.tick()).frozen, 1);
      assertEquals((await store.evict("x")).evicted, ["x"]);
      assertEquals(await world.audit(now), []);
      await store.ensureKs("x");
      assertEquals(await world.audit(now), []);
      assertEquals(await world.exists("x"), 1);
    });
  }
});
