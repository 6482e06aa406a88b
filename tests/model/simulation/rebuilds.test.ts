/**
 * Rebuilds of an index that was lost, under an adversary: 150 schedules in CI on Deno, 40 at a desk, 10 elsewhere.
 */
import process from "node:process";
import { describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { seededRandom } from "../../support/random.ts";
import { runRebuilds } from "./rebuilds.ts";
import { findingText, simulateMany } from "./runs.ts";
import { SHIPPED } from "./simulation.ts";

const SCHEDULES = process.versions.deno === undefined ? 10 : process.env.CI === undefined ? 40 : 150;

describe("the simulation of rebuilds", () => {
  it("finds that all archived keys come back, each by its newest version, and nothing else", async () => {
    const { seed } = seededRandom("the first schedule: deno task simulate --play=rebuilds --replay");
    const { modes, violations } = await simulateMany(SHIPPED, seed, SCHEDULES, runRebuilds);
    assertEquals(violations.map((finding) => findingText(finding, "rebuilds")), []);
    console.log(JSON.stringify(modes));
    if (SCHEDULES > 10) assertEquals(Object.keys(modes).length, 6);
  });
});
