/** Arguments in each other's place: the message must not show what they hold. */
import { describe, it } from "node:test";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  type Datastore,
  type EvalQueue,
  memoryDatastore,
  TundraError,
  type TundraOptions,
  tundraStore,
} from "../../mod.ts";

describe("a BAD_ARGUMENT shows no secret", () => {
  const SECRET = "hush-hush-hush";
  const redis = { url: "http://127.0.0.1:1", token: "t" };
  const store = tundraStore(memoryDatastore(), { redis });
  const s3 = { region: "x", bucket: "b", accessKeyId: "a", secretAccessKey: SECRET };
  const calls: Record<string, () => unknown> = {
    "if S3's options are given as the datastore": () => tundraStore(s3 as unknown as Datastore, { redis }),
    "if a client is given as a key": () =>
      store.dirtyIn(store.redis.pipeline(), [{ client: { token: SECRET } }] as never),
    "if options are an array": () => tundraStore(memoryDatastore(), [{ token: SECRET }] as unknown as TundraOptions),
    "if Redis' options are given as a pipeline": () => store.dirtyIn({ token: SECRET } as unknown as EvalQueue, "k"),
    "if options are given as a key": () => store.dirtyIn(store.redis.pipeline(), "k", s3 as unknown as string),
  };
  for (const [where, act] of Object.entries(calls)) {
    it(where, () => {
      let error: unknown;
      try {
        act();
      } catch (thrown) {
        error = thrown;
      }
      assert(error instanceof TundraError);
      assertEquals(error.code, "BAD_ARGUMENT");
      assert(!error.message.includes(SECRET.slice(0, 6)), error.message);
      assertStringIncludes(error.message, '"..."');
    });
  }
});
