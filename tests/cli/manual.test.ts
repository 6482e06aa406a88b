/** docs/cli.md: its examples are run, and its tables are complete. */
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { COMMANDS } from "../../src/cli/commands.ts";
import { optionsOf } from "../../src/cli/help.ts";
import type { Host } from "../../src/cli/host.ts";
import { runCommandLine } from "../../src/cli/main.ts";
import { storeEnvironment } from "../../src/testing/environment.ts";
import { memoryStream } from "../support/cli.ts";
import { BUCKET, withArchive } from "../support/fixtures.ts";

const PAGE = readFileSync(new URL("../../docs/cli.md", import.meta.url), "utf8");

/** What differs from run to run. */
function plain(text: string): string {
  return text.replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ/g, "TIME").replace(/\d{16}-[0-9a-f]{8,9}/g, "VERSION")
    .replace(/\d+ (ms|s) ago/g, "just now").replace(/ in \d+ (ms|s)\b/g, " in no time")
    .replace(/archived \([^)]*\)/g, "archived (SIZE)").replace(/127\.0\.0\.1:\d+/g, "HOST")
    .replace(/\([^)]* of memory\)/g, "(SIZE)").replace(/port( +)\d+ is/g, "port$1N is").replace(
      /EVALSHA(_RO)?/g,
      "A SCRIPT",
    );
}

/** A line's words; quotes hold one together. */
function wordsOf(line: string): string[] {
  return [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, word]) => quoted ?? word!);
}

describe("the manual of the command line", () => {
  const stack = withArchive();

  it("shows what the commands write on a terminal of 80 columns", async () => {
    await stack.flush();
    const blocks = [...PAGE.matchAll(/```console\n([^]*?)```/g)].map(([, block]) => block!);
    assertEquals(blocks.length, 3);
    const env: Record<string, string> = { ...storeEnvironment(stack.connection, stack.s3, BUCKET), NO_COLOR: "1" };
    const items = Array.from({ length: 100 }, (_, i) => [`item ${i}`, `${i}`]).flat();
    await stack.raw("HSET", "cart:7", ...items.slice(0, 80));
    await stack.raw("HSET", "cart:8", ...items);
    for (const [i, block] of blocks.entries()) {
      if (i === 1) await emptyTheCart();
      if (i === 2) env.UPSTASH_REDIS_REST_TOKEN = "the-one-before";
      const shown = block.split(/^\$ tundra /m).slice(1);
      assert(shown.length > 0);
      for (const each of shown) {
        const [line = "", ...rest] = each.split("\n");
        const { stream, text } = memoryStream(80);
        const versions = (await stack.versions()).filter((name) => name.startsWith("cart:7 "))
          .map((name) => /\d{16}-[0-9a-f]{8,9}/.exec(name)![0]);
        const args = wordsOf(line.replace(/\d{16}-[0-9a-f]{8}/, versions.sort()[0] ?? ""));
        const host: Host = { env, folder: "/", stdout: stream, stderr: stream };
        const exitCode = await runCommandLine(args, host);
        // a line of progress is written over
        // deno-lint-ignore no-control-regex
        assertEquals(plain(text().replace(/[^\n]*\r\u001b\[K/g, "")), plain(rest.join("\n")), line);
        assertEquals(exitCode, i === 2 ? 2 : 0);
      }
    }
  });

  async function emptyTheCart(): Promise<void> {
    await stack.raw("DEL", "cart:7");
    await stack.raw("HSET", "cart:7", "a", "1");
    await stack.store().dirty("cart:7");
    await stack.store().tick();
  }

  it("names every command, and only options that there are", async () => {
    const table = PAGE.slice(PAGE.indexOf("## Commands"), PAGE.indexOf("## Configuration"));
    const commands = await Promise.all(Object.values(COMMANDS).map(({ load }) => load()));
    const options = new Set(commands.flatMap((command) => Object.keys(optionsOf(command))));
    for (const name of Object.keys(COMMANDS)) assertStringIncludes(table, `\n| \`${name}`);
    for (const [, option] of PAGE.matchAll(/--([a-z][a-z-]+)/g)) assert(options.has(option!), option);
  });
});
