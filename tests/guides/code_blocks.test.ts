/** The code of pages that need no more than a store: it runs, and prints what they say. */
import { after, before, describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { stop } from "esbuild";
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
});
