/** docs/guarantees.md: the proofs that it names are there. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { SEEDED_BUGS } from "../model/simulation/seeded_bugs.ts";
import { ROOT } from "./page.ts";

describe("docs/guarantees.md", () => {
  const page = readFileSync(join(ROOT, "docs/guarantees.md"), "utf8");
  const rows = page.split("## What it takes for granted")[0]!.split("\n").filter((line) => /^\| \*\*/.test(line));

  it("names for each promise tests that exist, and a seeded bug that is hunted", () => {
    assert(rows.length >= 13, String(rows.length));
    const names = new Set(SEEDED_BUGS.map(({ name }) => name));
    for (const row of rows) {
      const [, , tests, bug] = row.split("|");
      const files = [...tests!.matchAll(/`([^`]+)`/g)].map(([, file]) => file!);
      assert(files.length > 0, row);
      assertEquals(files.filter((file) => !existsSync(join(ROOT, file))), []);
      const [, name] = /"(.+)"/.exec(bug!) ?? [];
      assert(name !== undefined && names.has(name), `no seeded bug is called ${name}`);
    }
  });
});
