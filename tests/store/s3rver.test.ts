/** One life of a store on an S3 server that others wrote, with its objects on a disk. */
import { after, before, describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { type S3rver, startS3rver } from "../../dev/servers/s3rver.ts";
import { type Datastore, s3Datastore, tundraStore } from "../../mod.ts";
import { installTools } from "../runtimes/tools.ts";
import { withStack } from "../support/stack.ts";

describe("on s3rver", () => {
  const stack = withStack();
  let server: S3rver;
  let archive: Required<Datastore>;
  before(async () => {
    installTools();
    server = await startS3rver();
    await server.createBucket("cold");
    const { url: endpoint, accessKeyId, secretAccessKey } = server;
    const options = { endpoint, region: "us-east-1", bucket: "cold", accessKeyId, secretAccessKey };
    archive = s3Datastore({ ...options, prefix: "tundra/", checksum: "md5" });
  });
  after(() => server?.stop());

  it("keys of any name are archived, evicted, brought back, and deleted, in Redis and on the disk", async () => {
    const keys = [
      "",
      "..",
      "a/b/../c",
      "100% + 1 = ?",
      "日本語".repeat(100),
      "new\nline",
      "k".repeat(32_768),
      "~owner",
      "aBc",
    ];
    const store = tundraStore(archive, { redis: stack.connection });
    const value = (key: string) => `value of ${key.slice(0, 20)}`;
    await stack.raw("MSET", ...keys.flatMap((key) => [key, value(key)]));
    await store.dirty(keys);
    const report = await store.tick();
    assertEquals([report.frozen, report.failed, report.done, report.errors], [keys.length, 0, true, []]);
    assertEquals((await store.evict(keys)).evicted, keys);
    await store.ensureKs(keys);
    assertEquals((await stack.raw("MGET", ...keys) as unknown[]).map(String), keys.map(value));

    assertEquals(await store.del(keys), keys.length);
    await store.tick();
    assertEquals(await stack.raw("EXISTS", ...keys), 0);
    await store.ensureKs(keys);
    assertEquals(await stack.raw("EXISTS", ...keys), 0);
    const { names } = await archive.listKeys("default/");
    // of each key its tombstone, at most
    assertEquals(names.filter((name) => !name.includes("/~owner")).length <= keys.length, true);
  });
});
