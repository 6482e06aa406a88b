/** The tables that say when archiving pays: recomputed, so that README and docs/costs.md cannot go stale. */
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { BILLS, daysToPayBack, daysToPayReturn, SIZES, spell, table } from "../../dev/tools/pays_back.ts";
import { PRICES } from "../../src/operations/prices.ts";

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");

/** The rows of all tables of a page, cells trimmed. */
function rowsOf(page: string): string[][] {
  return page.split("\n").filter((line) => /^\|.*\|$/.test(line))
    .map((line) => line.slice(1, -1).split("|").map((cell) => cell.trim()));
}

describe("when archiving pays", () => {
  const { payAsYouGo, fixed, s3 } = PRICES;

  it("is cost by what is saved: 10 KB on pay as you go, by hand", () => {
    // 4.33 commands, a PUT and a GET; what 10 KB cost in Redis less the record, less the archive's own price
    const cost = 4.33 * 0.000002 + 0.000005 + 0.0000004;
    const savedAMonth = (10_000 - 240) * 0.25e-9 - 10_000 * 0.023e-9;
    const days = daysToPayBack(10_000, { redis: payAsYouGo, archive: s3 });
    assert(Math.abs(days - 30 * cost / savedAMonth) < 1e-6, String(days));
    // 14 commands alone, 2.12 to leave again, two GETs
    const back = daysToPayReturn(10_000, { redis: payAsYouGo, archive: s3 });
    assert(Math.abs(back - 30 * (16.12 * 0.000002 + 2 * 0.0000004) / savedAMonth) < 1e-6, String(back));
  });

  it("comes sooner for larger values and on dearer plans, later with read regions, never for what saves nothing", () => {
    for (const [name, bill] of BILLS) {
      for (const each of [daysToPayBack, daysToPayReturn]) {
        const days = SIZES.map(([, bytes]) => each(bytes, bill));
        assertEquals(days, [...days].sort((a, b) => b - a), name);
      }
    }
    const bill = { redis: payAsYouGo, archive: s3 };
    assert(daysToPayBack(1000, { redis: fixed, archive: s3 }) < daysToPayBack(1000, bill));
    assert(daysToPayBack(1000, { ...bill, readRegions: 2 }) > daysToPayBack(1000, bill));
    assertEquals([240, 200, 0].map((bytes) => spell(daysToPayBack(bytes, bill))), ["never", "never", "never"]);
  });

  it("is spelt in the unit that fits", () => {
    const spelt = [0.0001, 0.05, 1, 1.9, 19.4, 61, 364, 800, Infinity].map(spell);
    assertEquals(spelt, [
      ...["1 minute", "72 minutes", "24 hours", "46 hours", "19 days", "2 months", "12 months", "2 years", "never"],
    ]);
  });

  it("stands on docs/costs.md as it is computed, and in README in part", () => {
    const costs = rowsOf(read("docs/costs.md")).map((row) => row.join("|"));
    for (const row of [...table(daysToPayBack), ...table(daysToPayReturn)]) {
      assert(costs.includes(row.join("|")), `docs/costs.md lacks the row ${row.join(" | ")}`);
    }
    const readme = rowsOf(read("README.md")).map((row) => row.join("|"));
    const [head, s3Row, , , fixedRow] = table(daysToPayBack);
    for (const row of [head!, s3Row!, fixedRow!]) {
      assert(readme.includes(row.join("|")), `README.md lacks the row ${row.join(" | ")}`);
    }
  });
});
