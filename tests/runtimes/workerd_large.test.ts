/** A value that no request can carry, in a Worker: to R2 in parts and back, and the memory that it takes. */
import type { Buffer } from "node:buffer";
import { after, before, describe, it } from "node:test";
import { assert, assertEquals, assertLess } from "@std/assert";
import type { R2BucketLike } from "../../src/adapters/cloudflare.ts";
import { BUCKET, withArchive } from "../support/fixtures.ts";
import { makeValue } from "../support/large.ts";
import { bundle } from "./bundle.ts";
import { largeMemory } from "./live_memory.ts";
import { installTools, type Miniflare, miniflare } from "./tools.ts";

describe("a large value in workerd", () => {
  const stack = withArchive();
  let mf: Miniflare;
  before(async () => {
    installTools();
    const script = await bundle(`
      import { tundraStore } from "./mod.ts";
      import { r2Datastore } from "./src/adapters/cloudflare.ts";
      export default {
        async fetch(request, env) {
          const store = tundraStore(r2Datastore(env.ARCHIVE), { redis: ${JSON.stringify(stack.connection)} });
          await store.dirty("large");
          const { frozen, errors } = await store.tick({ leaseMs: 600_000 });
          const { evicted } = await store.evict("large");
          await store.ensureKs("large");
          return Response.json({ frozen, errors, evicted });
        },
      };`);
    mf = miniflare({ script, r2Buckets: ["ARCHIVE"] });
    await mf.ready;
  });
  after(() => mf?.dispose());

  it("goes to R2 in parts, and comes back", async () => {
    await makeValue(stack, "large", "string", 12_000_000, true);
    const value = await stack.raw("GET", "large") as Buffer;
    const response = await mf.dispatchFetch("http://worker/");
    assertEquals([response.status, await response.json()], [200, { frozen: 1, errors: [], evicted: ["large"] }]);
    assert(value.equals(await stack.raw("GET", "large") as Buffer));
    const bucket = await mf.getR2Bucket<R2BucketLike>("ARCHIVE");
    const { objects } = await bucket.list({ prefix: "default/large/" });
    assertEquals(objects.map(({ key }) => /-[0-9a-f]{8}a$/.test(key)), [true]);
    assertEquals((await stack.raw("KEYS", "tundra:*:tmp:*") as Buffer[]).length, 0);
  });

  it("holds less than 100 MB on its way, whatever its size", async () => {
    await stack.flush();
    await makeValue(stack, "large", "string", 16_000_000, true);
    const { url: endpoint, region, accessKeyId, secretAccessKey } = stack.s3;
    const s3 = { endpoint, region, bucket: BUCKET, accessKeyId, secretAccessKey };
    const { archive, back, samples } = await largeMemory({ s3, redis: stack.connection }, "large");
    const [mb, mbBack] = [archive, back].map((bytes) => (bytes / 1e6).toFixed(0));
    console.log(
      `16 MB: at most ${mb} MB live while it is archived, ${mbBack} MB while it comes back; ${samples} samples`,
    );
    assertLess(Math.max(archive, back), 100e6);
  });
});
