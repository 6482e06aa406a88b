/** The code of pages that need no more than a store: it runs, and prints what they say. */
import { after, before, describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { stop } from "esbuild";
import * as operations from "../../src/operations/mod.ts";
import { storeEnvironment } from "../../src/testing/environment.ts";
import { BUCKET, withArchive } from "../support/fixtures.ts";
import { runAll } from "./code.ts";
import { blocksOf } from "./page.ts";

describe("the code of", () => {
  const stack = withArchive();
  before(() => stack.flush());
  after(() => void stop());

  for (const [page, blocks] of [["writing.md", 3], ["errors.md", 1], ["guide.md", 2]] as const) {
    it(`docs/${page} does what it says`, async () => {
      const environment = storeEnvironment(stack.connection, stack.s3, BUCKET);
      assertEquals(await runAll(blocksOf(page), environment), blocks);
    });
  }

  it("docs/operations.md runs, block by block, on a key that is archived and evicted", async () => {
    await stack.flush();
    const store = stack.store();
    const blocks = blocksOf("operations.md").filter(({ info }) => info === "js");
    assert(blocks.length >= 12, String(blocks.length));
    // each restoration begins anew; its date is that of today
    const parts = blocks.flatMap(({ section, text }) =>
      (section.includes("restoreVersion") ? text.trim().split("\n") : [text])
        .map((part) => ({ section, text: part.replace(/new Date\(".*?"\)/, "new Date()") }))
    );
    for (const { section, text } of parts) {
      await store.redis.hset("cart:7", { apples: 1 });
      await store.dirty({ overwrite: true }, "cart:7");
      await store.tick();
      await store.evict("cart:7");
      await store.redis.del("cart:7:before");
      const version = (await operations.versions(store, "cart:7"))[0]!.version;
      const scope = { ...operations, ...stack.connection, store, version, console: { log() {} } };
      const run = new Function(...Object.keys(scope), `return (async () => {${text}\n})()`);
      await run(...Object.values(scope)).catch((error: unknown) => {
        throw new Error(`${section}: ${error}`, { cause: error });
      });
    }
  });
});
