/**
 * Erasures beside all that moves, under an adversary: 120 schedules in CI on Deno, 40 at a desk, 10 elsewhere.
 */
import process from "node:process";
import { describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { seededRandom } from "../../support/random.ts";
import { runErasures } from "./erasures.ts";
import { findingText, simulateMany } from "./runs.ts";
import { SHIPPED } from "./simulation.ts";

const SCHEDULES = process.versions.deno === undefined ? 10 : process.env.CI === undefined ? 40 : 120;

describe("the simulation of erasures", () => {
  it("finds that nothing of what was erased is left or comes back, and that nothing else goes", async () => {
    const { seed } = seededRandom("the first schedule: deno task simulate --play=erasures --replay");
    const { modes, violations } = await simulateMany(SHIPPED, seed, SCHEDULES, runErasures);
    assertEquals(violations.map((finding) => findingText(finding, "erasures")), []);
    console.log(JSON.stringify(modes));
    if (SCHEDULES > 10) assertEquals(Object.keys(modes).length, 5);
  });
});
