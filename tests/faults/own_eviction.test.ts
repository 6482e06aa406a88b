/** A Redis that removes keys by itself, as with Upstash's switch "Eviction": what it has taken is noticed. */
import { Buffer } from "node:buffer";
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { TundraError } from "../../mod.ts";
import { redisKeys } from "../../src/base/keys.ts";
import { names } from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";
import { withFaultWorld } from "./world.ts";

const INDEX = redisKeys("default");

for (const policy of ["allkeys-lru", "allkeys-random"]) {
  describe(`a Redis at maxmemory, ${policy}`, () => {
    const world = withFaultWorld({ redis: { args: ["--maxmemory", "8mb", "--maxmemory-policy", policy] } });
    const keys = names(300);

    beforeEach(async () => {
      await world.flush();
      await world.commands(["CONFIG", "RESETSTAT"], ["CONFIG", "SET", "maxmemory", "8mb"]);
      await world.commands(...keys.map((key) => ["SET", key, `value of ${key}`]));
      const store = world.store();
      await store.dirty(keys);
      while (!(await store.tick()).done);
      assertEquals((await store.evict(keys)).evicted.length, keys.length);
    });

    /**
     * Unmarked values, several times what there is room for; then there is room. As if Redis had spared id and seal, as
     * it mostly does: they are asked for all the time.
     */
    async function press(): Promise<void> {
      const [id] = await world.commands(["GET", INDEX.id]);
      for (let round = 0; round < 20; round++) {
        const some = names(100, `ballast:${round}`);
        await world.commands(...some.map((key) => ["SET", key, Buffer.alloc(10_000, "x")]));
      }
      await world.commands(["CONFIG", "SET", "maxmemory", "64mb"], ["MSET", INDEX.id, id as Buffer, INDEX.tick, "0"]);
    }

    it("is reported before it has taken anything, once an hour", async () => {
      await world.commands(["SET", INDEX.lostRecordsCursor, `${Math.floor(await world.nowMs()) - HOUR_MS} `]);
      const { errors } = await world.store().tick();
      assertEquals(errors.map(({ key, code }) => [key, code]), [["", "UNSUPPORTED"]]);
      assertMatch(errors[0]!.message, new RegExp(`its maxmemory-policy is ${policy}\\. .*Switch Eviction off`));
      assertEquals((await world.store().tick()).errors, []);
    });

    it("is LOST as a whole if it took the id, or its seal", async () => {
      for (const key of [INDEX.id, INDEX.tick]) {
        const [, value] = await world.commands(["GET", key], ["GET", key]);
        await world.commands(["UNLINK", key]);
        for (const act of [() => world.store().ensureKs("k:1"), () => world.store().tick()]) {
          const error = await act().then(() => undefined, (thrown) => thrown as TundraError);
          assertEquals(error?.code, "LOST");
        }
        await world.commands(["SET", key, value as Buffer]);
      }
    });

    it("has taken records: a tick reports it, and lookInArchive leaves no archived key silently absent", async () => {
      await press();
      const [, ...records] = await world.commands(["PING"], ...keys.map((key) => ["EXISTS", INDEX.record(key)]));
      const lost = keys.filter((_, i) => records[i] === 0);
      assert(lost.length > 100, `only ${lost.length} records are gone`);

      const silent: string[] = [];
      const looking = world.store({ lookInArchive: true });
      for (const [i, key] of keys.entries()) {
        const error = await looking.ensureKs(key).then(() => undefined, (thrown) => thrown as TundraError);
        if (error) assertEquals((error.causes[key] as TundraError).code, "LOST", error.message);
        else if (records[i] === 0) silent.push(key);
      }
      assertEquals(silent, []);
      for (const key of lost.slice(0, 20)) await world.store().ensureKs(key); // without lookInArchive: no word

      await world.commands(["UNLINK", INDEX.lostRecordsCursor]);
      const { errors } = await world.store().tick();
      const codes = errors.map(({ code }) => code);
      assert(codes.includes("UNSUPPORTED") && codes.includes("LOST"), JSON.stringify(errors));
      assertMatch(errors.find(({ code }) => code === "LOST")!.message, /keys of default\/ .* have none/);
    });
  });
}

describe("a Redis with a policy, and no limit", () => {
  const world = withFaultWorld({ redis: { args: ["--maxmemory", "0", "--maxmemory-policy", "allkeys-lru"] } });

  it("removes nothing, so nothing is reported; nor if a server has no INFO", async () => {
    await world.flush();
    await world.store().tick();
    for (const rename of [false, true]) {
      await world.commands(["SET", INDEX.lostRecordsCursor, "0 "]);
      const without: typeof fetch = async (input, init) =>
        rename && init?.body === '["INFO"]'
          ? new Response('{"error":"ERR unknown command \'INFO\'"}', { status: 400 })
          : await fetch(input, init);
      assertEquals((await world.store({ redis: { fetch: without } }).tick()).errors, []);
    }
  });
});
