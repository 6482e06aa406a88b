/**
 * Sweeps over weeks, under an adversary: 120 schedules in CI on Deno, 40 at a desk, 10 elsewhere.
 */
import process from "node:process";
import { describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { seededRandom } from "../../support/random.ts";
import { findingText, simulateMany } from "./runs.ts";
import { SHIPPED } from "./simulation.ts";
import { runSweeps } from "./sweeps.ts";

const SCHEDULES = process.versions.deno === undefined ? 10 : process.env.CI === undefined ? 40 : 120;

describe("the simulation of sweeps", () => {
  it("finds that they delete only what nothing needs, and all of that", async () => {
    const { seed } = seededRandom("the first schedule: deno task simulate --play=sweeps --replay");
    const { modes, violations } = await simulateMany(SHIPPED, seed, SCHEDULES, runSweeps);
    assertEquals(violations.map((finding) => findingText(finding, "sweeps")), []);
    console.log(JSON.stringify(modes));
    if (SCHEDULES > 10) assertEquals(Object.keys(modes).length, 5);
  });
});
