/**
 * The simulation of several databases and archives: 500 schedules in CI on Deno, 200 at a desk, 40 elsewhere.
 * @module
 */
import process from "node:process";
import { describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { seededRandom } from "../../support/random.ts";
import { findingText, simulateMany } from "./runs.ts";
import { runSeveral } from "./several.ts";
import { SHIPPED } from "./simulation.ts";

const SCHEDULES = process.versions.deno === undefined ? 40 : process.env.CI ? 250 : 200;

describe("the simulation of several databases and archives", () => {
  it("finds one index at most that works on an archive, and nothing lost, in every schedule", async () => {
    const { seed } = seededRandom("the first schedule: deno task simulate --play=several --replay");
    const { violations } = await simulateMany(SHIPPED, seed, SCHEDULES, runSeveral);
    assertEquals(violations.map((finding) => findingText(finding, "several")), []);
  });
});
