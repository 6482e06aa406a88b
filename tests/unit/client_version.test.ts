/** Which `@upstash/redis` these tests run with: `deno task test` runs them with both ends of its range. */
import { readFileSync } from "node:fs";
import process from "node:process";
import { describe, it } from "node:test";
import { assertEquals, assertNotEquals } from "@std/assert";

const ROOT = new URL("../../", import.meta.url);
const json = (url: URL) => JSON.parse(readFileSync(url, "utf8"));

describe("@upstash/redis", () => {
  it("is the newest that deno.lock has for the range, or, on Bun in `deno task test`, the lowest of it", () => {
    const { dependencies } = json(new URL("package.json", ROOT));
    const range: string = dependencies["@upstash/redis"];
    const newest: string = json(new URL("deno.lock", ROOT)).specifiers[`npm:@upstash/redis@${range}`];
    const oldest = range.slice(1);
    assertNotEquals(newest, oldest);
    const { version } = json(new URL("package.json", import.meta.resolve("@upstash/redis")));
    assertEquals(version.replace("v", ""), process.env.TUNDRA_OLDEST_CLIENT ? oldest : newest);
  });
});
