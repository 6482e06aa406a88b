/** docs/existing-database.md, step by step, on a database that knows nothing of Tundra. */
import { randomBytes } from "node:crypto";
import { after, beforeEach, describe, it } from "node:test";
import { assertEquals, assertMatch } from "@std/assert";
import { stop } from "esbuild";
import { storeEnvironment } from "../../src/testing/environment.ts";
import { BUCKET, withArchive } from "../support/fixtures.ts";
import { DAY_MS } from "../support/times.ts";
import { runAll, runCode } from "./code.ts";
import { tundraCommand } from "./command.ts";
import { type Block, blocksOf, only } from "./page.ts";

describe("docs/existing-database.md", () => {
  const stack = withArchive();
  const values = new Map(
    Array.from({ length: 300 }, (_, i) => [`cart:${i}`, randomBytes(1_000).toString("hex")] as const),
  );
  const page = blocksOf("existing-database.md");
  const section = (n: number) => page.filter((block) => block.section.startsWith(`${n}.`));
  const command = tundraCommand();
  const environment = () => ({ ...storeEnvironment(stack.connection, stack.s3, BUCKET), ...command.env });

  beforeEach(async () => {
    await stack.flush();
    for (const [key, value] of values) await stack.raw("SET", key, value);
    await stack.raw("SET", "cart:7", values.get("cart:7")!, "PX", 30 * DAY_MS);
  });
  after(() => {
    command.remove();
    void stop();
  });

  for (const info of ["sh", "ts"] as const) {
    it(`takes it in and goes back, by its ${info === "sh" ? "commands" : "code"}`, async () => {
      const follow = (blocks: Block[]) => runAll(only(info, blocks), environment());
      assertEquals(await follow(section(1)) + await follow(section(2)), 2);
      assertEquals(await stack.everything("tundra:*"), {});
      assertEquals(stack.objectNames(), []);

      const before = await stack.everything("cart:*");
      assertEquals(Object.keys(before).length, 300);
      assertEquals(await follow([...section(4), ...section(5)]), 2);
      await stack.leaveAlone(8 * DAY_MS, ...values.keys());
      assertEquals((await stack.store({ redisTtlMs: 7 * DAY_MS }).tick()).evicted, 300);
      assertEquals(await stack.everything("cart:*"), {});
      assertEquals(await follow(page.filter((block) => block.section === "To go back")), 1);
      assertEquals(await stack.everything("cart:*"), before);
    });
  }

  it("says after how many days a prefix pays back", async () => {
    assertMatch(await runCode(only("ts", section(1))[0]!, environment()), /^cart: 300 [\d.]+$/m);
  });
});
