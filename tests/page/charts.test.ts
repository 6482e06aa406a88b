/** Charts: the picture and the numbers that need no script, and uPlot, which is served as npm has it. */
import { describe, it } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { uplotFiles } from "../../dev/tools/uplot.ts";
import { memoryDatastore, tundraStore } from "../../mod.ts";
import type { Activity } from "../../src/operations/activity.ts";
import { UPLOT_VERSION } from "../../src/page/assets.ts";
import { chartOf } from "../../src/page/charts.ts";
import { pageHandler } from "../../src/page/mod.ts";
import { UPLOT_LICENCE, UPLOT_SCRIPT, UPLOT_STYLE } from "../../src/page/uplot.ts";
import { verdictOf } from "../../src/page/verdict.ts";
import { HOUR_MS } from "../support/times.ts";
import { ask, assertOnlyOwnMarkup, readable, SECRET } from "./page.ts";

const START_MS = Date.UTC(2026, 10, 26);

/** An hour with some counts. */
function hour(n: number, counts: Partial<Activity["hours"][number]> = {}, frozen = 100 * n): Activity["hours"][number] {
  const totals = { frozen, evicted: 0, restored: 0, rescued: 0, removed: 0, bytes: 0 };
  const none = { dirty: 0, due: 0, resident: 0, evicted: 0, dead: 0, purge: 0, oldestDueMs: 0 };
  return { atMs: START_MS + n * HOUR_MS, ...none, totals, ...counts };
}

const dataOf = (html: string) => JSON.parse(/data-chart="([^"]*)"/.exec(html)![1]!.replaceAll("&quot;", '"'));

describe("a chart", () => {
  it("shows a picture and all numbers, the youngest first, without a script", () => {
    const { html } = chartOf("keys", [hour(0, { evicted: 5 }), hour(1, { evicted: 50, resident: 1234 })]);
    assertOnlyOwnMarkup(html);
    assertMatch(html, /<path class="s0" d="M0\.0 \d+\.\d+h0\.01L1000\.0 \d+\.\d+"/);
    const text = readable(html);
    assertMatch(
      text,
      /The numbers Keys in the archive Hour Evicted Also in Redis 2026-11-26 01:00 UTC 50 1,234 2026-11-26 00:00 UTC 5 0/,
    );
  });

  it("has a gap where no tick has run, and after totals that began anew", () => {
    const { html } = chartOf("work", [hour(0), hour(1), hour(4, {}, 700), hour(5, {}, 10), hour(6, {}, 30)]);
    const { times, values } = dataOf(html);
    assertEquals(times.map((seconds: number) => (1000 * seconds - START_MS) / HOUR_MS), [0, 1, 2, 4, 5, 6]);
    assertEquals(values[0], [null, 100, null, null, null, 20]);
    assertMatch(readable(html), /03|no tick/);
    const path = /<path class="s0" d="(M[^"]*h0\.01[^"]*)"/.exec(html)![1]!;
    assertEquals(path.match(/M/g)!.length, 2); // two pieces, no line between them
  });

  it("needs two hours, and says so", () => {
    for (const hours of [[], [hour(0)]]) {
      const { html } = chartOf("waiting", hours);
      assert(!html.includes("data-chart"));
      assertMatch(readable(html), /Charts appear once ticks have run in two different hours/);
    }
  });
});

describe("uPlot", () => {
  it("is the package's own files, with its licence, and no newer or older version", () => {
    const { version, licence, notice, script, style } = uplotFiles();
    assertEquals([UPLOT_VERSION, licence], [version, "MIT"]);
    assertEquals(UPLOT_SCRIPT === script, true, "run: deno run -A dev/tools/uplot.ts");
    assertEquals([UPLOT_STYLE, UPLOT_LICENCE], [style, notice]);
  });

  it("is served from the page's own address, to be kept, with its licence; what is not there is not found", async () => {
    const store = tundraStore(memoryDatastore(), { redis: { url: "http://127.0.0.1:9", token: "t" } });
    const handle = pageHandler(store, { secret: SECRET });
    for (
      const [name, type] of [["uplot.js", "text/javascript"], ["charts.js", "text/javascript"], [
        "uplot.css",
        "text/css",
      ], ["page.css", "text/css"]]
    ) {
      const { status, headers, text } = await ask(handle, `?asset=${name}`);
      assertEquals([status, headers.get("content-type")], [200, `${type}; charset=utf-8`]);
      assertMatch(headers.get("cache-control")!, /immutable/);
      assertEquals(headers.get("x-content-type-options"), "nosniff");
      assert(text.length > 100 && (name !== "uplot.js" || text.includes("Copyright (c) 2022 Leon Sorokin")));
      assert(!/https?:\/\/(?!github\.com\/leeoniya|www\.w3\.org)/.test(text), "it loads something from elsewhere");
    }
    for (const name of ["", "nothing", "constructor", "../mod.ts"]) {
      assertEquals((await ask(handle, `?asset=${encodeURIComponent(name)}`)).status, 401, name);
    }
  });
});

describe("the verdict", () => {
  const counts = { dirty: 0, due: 0, idle: 1, dead: 0, purge: 0, resident: 1, evicted: 1, oldestDueMs: 0 };
  const totals = { frozen: 2, evicted: 1, restored: 0, rescued: 0, removed: 0, bytes: 9 };
  const status = (changes: Partial<typeof counts> & { lastTickMs?: number } = {}) => ({
    ...counts,
    totals,
    lastTickMs: START_MS - 60_000,
    ...changes,
  });
  const level = (changes: Parameters<typeof status>[0], runs: Activity["runs"] = []) => {
    const { level, todo } = verdictOf(status(changes), { runs }, START_MS, HOUR_MS);
    return [level, ...todo.map(({ html }) => readable(html))];
  };
  const run = (counts: Record<string, number>, done = true): Activity["runs"][number] => ({
    ...{ atMs: START_MS, operation: "verify", done, counts },
  });

  it("needs a person if a change is late, or no tick comes", () => {
    assertEquals(level({}), ["safe"]);
    assertEquals(level({ dirty: 3, due: 3, oldestDueMs: HOUR_MS }), ["waiting"]);
    assertMatch(level({ dirty: 3, due: 3, oldestDueMs: HOUR_MS + 1 })[1]!, /^The oldest change has waited for 1 hour/);
    assertMatch(
      level({ lastTickMs: START_MS - 3 * HOUR_MS })[1]!,
      /^No tick has begun for 3 hours\. Look at the cron trigger/,
    );
    assertMatch(level({ dirty: 1, due: 1, oldestDueMs: 2 * HOUR_MS, lastTickMs: 0 })[1]!, /^No tick has run yet/);
  });

  it("needs a person if the last verify has found damage, until one has found none", () => {
    assertMatch(level({}, [run({ checked: 9, damaged: 2, missing: 0 })])[1]!, /2 damaged versions: CORRUPT/);
    assertMatch(level({}, [run({ checked: 9, damaged: 0, missing: 1 })])[1]!, /1 missing object: LOST/);
    // the pass that is under way has found none yet: what the one before has found still counts
    assertEquals(level({}, [run({ checked: 9 }, false), run({ damaged: 1 }), run({})])[0], "needs you");
    assertEquals(level({}, [run({ checked: 9 }), run({ damaged: 1 })]), ["safe"]);
    // a pass of several calls
    assertEquals(level({}, [run({ checked: 9 }), run({ damaged: 1 }, false), run({})])[0], "needs you");
  });
});
