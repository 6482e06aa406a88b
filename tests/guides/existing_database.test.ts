/** docs/existing-database.md, step by step, on a database that knows nothing of Tundra. */
import { randomBytes } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { assertEquals, assertMatch } from "@std/assert";
import { stop } from "esbuild";
import { storeEnvironment } from "../../src/testing/environment.ts";
import { BUCKET, withArchive } from "../support/fixtures.ts";
import { DAY_MS } from "../support/times.ts";
import { runAll, runCode } from "./code.ts";
import { blocksOf } from "./page.ts";

describe("docs/existing-database.md", () => {
  const stack = withArchive();
  const values = new Map(
    Array.from({ length: 300 }, (_, i) => [`cart:${i}`, randomBytes(1_000).toString("hex")] as const),
  );
  const page = blocksOf("existing-database.md");
  const section = (n: number) => page.filter((block) => block.section.startsWith(`${n}.`));
  const environment = () => storeEnvironment(stack.connection, stack.s3, BUCKET);

  before(async () => {
    await stack.flush();
    for (const [key, value] of values) await stack.raw("SET", key, value);
    await stack.raw("SET", "cart:7", values.get("cart:7")!, "PX", 30 * DAY_MS);
  });
  after(() => void stop());

  it("says what it would save, and that it will work", async () => {
    assertMatch(await runCode(section(1)[0]!, environment()), /^cart: 300 [\d.]+$/m);
    assertEquals(await runAll(section(2), environment()), 1);
    assertEquals(await stack.everything("tundra:*"), {});
    assertEquals(stack.objectNames(), []);
  });

  it("marks and archives what is there, lets it leave, and brings all of it back", async () => {
    const before = await stack.everything("cart:*");
    assertEquals(Object.keys(before).length, 300);
    assertEquals(await runAll([...section(4), ...section(5)], environment()), 2);
    await stack.leaveAlone(8 * DAY_MS, ...values.keys());
    assertEquals((await stack.store({ redisTtlMs: 7 * DAY_MS }).tick()).evicted, 300);
    assertEquals(await stack.everything("cart:*"), {});
    assertEquals(await runAll(page.filter((block) => block.section === "To go back"), environment()), 1);
    assertEquals(await stack.everything("cart:*"), before);
  });
});
