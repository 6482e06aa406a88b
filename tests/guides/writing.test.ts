/** The code of docs/writing.md, as it stands there; its table is that of tests/store/redis_commands.test.ts. */
import { after, before, describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { stop } from "esbuild";
import { storeEnvironment } from "../../src/testing/environment.ts";
import { BUCKET, withArchive } from "../support/fixtures.ts";
import { runAll } from "./code.ts";
import { blocksOf } from "./page.ts";

describe("docs/writing.md", () => {
  const stack = withArchive();
  before(() => stack.flush());
  after(() => void stop());

  it("does what it says", async () => {
    assertEquals(await runAll(blocksOf("writing.md"), storeEnvironment(stack.connection, stack.s3, BUCKET)), 3);
  });
});
