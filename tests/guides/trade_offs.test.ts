/** docs/trade-offs.md: the requests of a read are those of its table. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { transparentRedis } from "../../src/transparent/mod.ts";
import { withArchive } from "../support/fixtures.ts";
import { ROOT } from "./page.ts";

describe("docs/trade-offs.md", () => {
  const stack = withArchive();
  before(() => stack.flush());

  it("says how many requests a cold read takes", async () => {
    const store = stack.store();
    const redis = transparentRedis(store);
    const keys = ["cart:1", "cart:2"];
    for (const key of keys) await store.redis.set(key, "apples");
    await store.dirty(keys);
    await store.tick();
    const both = async (key: string) => (await store.ensureKs(key), await store.redis.get(key));
    const ways = [(key: string) => store.redis.get(key), both, both, (key: string) => redis.get(key)];
    const count = async (way: typeof both, evicted: boolean) => {
      for (const key of keys) {
        if (evicted) assertEquals((await store.evict(key)).evicted, [key]);
        await stack.server.resetCounters();
        assertEquals(await way(key), "apples"); // at the first time scripts are loaded
      }
      return stack.server.requests;
    };
    const counted = [];
    for (const [i, way] of ways.entries()) counted.push(await count(way, i > 1));
    const rows = readFileSync(join(ROOT, "docs/trade-offs.md"), "utf8").matchAll(
      /^\|.*\bkey, .*GET.*\|$|^\| \.\.\. .*\|$/gm,
    );
    const said = [...rows].map(([row]) => Number(/^\|[^|]*\| +(\d+)/.exec(row)![1]));
    assertEquals(said, [...counted, ...counted]);
    assertEquals(counted, [1, 2, 3, 4]);
  });
});
