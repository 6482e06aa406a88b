/** Commands of the command line that pages name: they are there, and have the options that pages give them. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { COMMANDS } from "../../src/cli/commands.ts";
import { COMMON_OPTIONS, optionsOf } from "../../src/cli/help.ts";
import { ROOT } from "./page.ts";

const PAGES = [
  "README.md",
  ...readdirSync(join(ROOT, "docs")).filter((name) => /^[a-z-]+\.md$/.test(name)).map((name) => `docs/${name}`),
];

/** What is wrong with a command line; undefined: nothing. */
async function problem(line: string): Promise<string | undefined> {
  const [name = "", ...words] = line.split(/\s+/);
  if (name === "COMMAND" || name.startsWith("--") || name.endsWith(":")) return undefined; // what it prints
  if (!(name in COMMANDS)) return `${line}: there is no command ${name}`;
  const options = { ...optionsOf(await COMMANDS[name]!.load()), ...COMMON_OPTIONS };
  const unknown = words.filter((word) => /^--[a-z]/.test(word) && !(word.slice(2).split("=")[0]! in options));
  return unknown.length > 0 ? `${line}: there is no ${unknown.join()}` : undefined;
}

describe("pages", () => {
  it("name commands and options that exist", async () => {
    const problems: string[] = [];
    let commands = 0;
    for (const page of PAGES) {
      const text = readFileSync(join(ROOT, page), "utf8");
      const typed = [
        ...text.matchAll(/^(?:\$ )?(?:npx |bunx )?tundra (.*)$/gm),
        ...text.matchAll(/`(?:npx )?tundra ([^`]+)`/g),
      ];
      for (const [, line] of typed) {
        commands++;
        const found = await problem(line!.replace(/ (\|\||#|\\\||[0-9]?>) .*$/, ""));
        if (found) problems.push(`${page}: ${found}`);
      }
    }
    assertEquals(problems, []);
    assert(commands > 30, String(commands));
  });

  it("are checked by a rule that can fail", async () => {
    assertEquals(await problem("stats --check"), "stats --check: there is no command stats");
    assertEquals(await problem("status --chek"), "status --chek: there is no --chek");
    assertEquals(await problem("status --max-age 1h"), undefined);
  });
});
