/** The main path on an S3 gateway that others wrote. */
import { after, before, describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { type Radosgw, startRadosgw } from "../../dev/servers/radosgw.ts";
import { type Datastore, s3Datastore, tundraStore } from "../../mod.ts";
import { PACKINGS } from "../support/fixtures.ts";
import { withStack } from "../support/stack.ts";

describe("on radosgw", () => {
  const stack = withStack();
  let gateway: Radosgw;
  let archive: Required<Datastore>;
  before(async () => {
    gateway = await startRadosgw();
    await gateway.createBucket("cold");
    const { url: endpoint, region, accessKeyId, secretAccessKey } = gateway;
    archive = s3Datastore({ endpoint, region, bucket: "cold", accessKeyId, secretAccessKey, prefix: "tundra/" });
  });
  after(() => gateway?.stop());

  for (const [packBytes, how] of PACKINGS) {
    it(`keys are archived, evicted, brought back, changed, deleted: from the first tick to the last tombstone, ${how}`, async () => {
      await stack.flush();
      const tqname = `with-packs-of-${packBytes}`;
      const keys = ["", "..", "a/b/../c", "100% + 1 = ?", "日本語 👩‍👩‍👧", "new\nline", "k".repeat(32_768), "~owner"];
      const store = tundraStore(archive, { redis: stack.connection, tqname, packBytes });
      const value = (key: string) => `value of ${key.slice(0, 20)}`;
      await stack.raw("MSET", ...keys.flatMap((key) => [key, value(key)]));
      await store.dirty(keys);
      const report = await store.tick();
      assertEquals([report.frozen, report.failed, report.done], [keys.length, 0, true]);
      assertEquals((await store.evict(keys)).evicted, keys);
      assertEquals(await stack.raw("EXISTS", ...keys), 0);
      await store.ensureKs(keys);
      assertEquals((await stack.raw("MGET", ...keys) as unknown[]).map(String), keys.map(value));

      await store.redis.set("..", "changed");
      await store.dirty("..");
      await store.tick();
      await store.evict("..");
      await store.ensureKs("..");
      assertEquals(String(await stack.raw("GET", "..")), "changed");
      const listed = async (prefix = "") => (await archive.listKeys(`${tqname}/${prefix}`)).names.length;
      assertEquals([await listed(".2E.2E/"), await listed("~packs/")], packBytes > 0 ? [1, 1] : [2, 0]);

      assertEquals(await store.del("..", ""), 2);
      assertEquals((await store.tick()).missing, 2);
      await store.ensureKs(keys);
      assertEquals(await stack.raw("EXISTS", ...keys), keys.length - 2);
      // two tombstones, which may share a pack; and the owner objects
      assertEquals([await listed(), await listed(".2E.2E/")], packBytes > 0 ? [2 + 2, 0] : [keys.length + 2, 1]);
    });
  }
});
