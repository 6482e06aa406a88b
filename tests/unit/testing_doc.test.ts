/** docs/TESTING.md says which tests hold which promise: all of them must be there. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const page = readFileSync(join(ROOT, "docs", "TESTING.md"), "utf8");

/** Each path in backquotes; `{a,b}` stands for both. */
function paths(text: string): string[] {
  return [...text.matchAll(/`((?:tests|dev|docs|src)\/[^`\s]*)`/g)].flatMap(([, path]) => {
    const [, head, names, tail] = /^(.*)\{([^}]+)\}(.*)$/.exec(path!) ?? [];
    return names === undefined ? [path!] : names.split(",").map((name) => `${head}${name}${tail}`);
  });
}

describe("docs/TESTING.md", () => {
  it("names files that exist, and no others", () => {
    const named = paths(page);
    assert(named.length > 20, `only ${named.length} paths found`);
    assertEquals(named.filter((path) => !existsSync(join(ROOT, path))), []);
    assertEquals(paths("`tests/{a,b}.ts`, `dev/c.ts` and `deno task test`"), ["tests/a.ts", "tests/b.ts", "dev/c.ts"]);
  });

  it("has tests for each of the ten invariants", () => {
    for (let invariant = 1; invariant <= 10; invariant++) {
      const row = page.split("\n").find((line) => line.startsWith(`| ${invariant}. `));
      assert(row !== undefined && paths(row).length > 0, `invariant ${invariant}: ${row}`);
    }
  });

  it("shows the last full chaos run: its seed, and that nothing was lost", () => {
    const table = page.split("## ").find((section) => section.startsWith("Real chaos")) ?? "";
    const lost = /^lost +(\d+)$/m.exec(table)?.[1];
    const seconds = /^seed \d+, (\d+) s +number$/m.exec(table)?.[1];
    assertEquals([lost, seconds], ["0", "600"]);
  });
});
