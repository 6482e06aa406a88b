/**
 * The simulation of versions that are listed, restored and peeked at: 300 schedules in CI on Deno, 60 at a desk, 20
 * elsewhere.
 * @module
 */
import process from "node:process";
import { describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { seededRandom } from "../../support/random.ts";
import { runHistories } from "./histories.ts";
import { runPeeks } from "./peeks.ts";
import { findingText, simulateMany } from "./runs.ts";
import { SHIPPED } from "./simulation.ts";

const SCHEDULES = process.versions.deno === undefined ? 20 : process.env.CI ? 150 : 60;

describe("the simulation of histories", () => {
  it("finds nothing lost by a restoration, and no wrong value shown, in every schedule", async () => {
    const { seed } = seededRandom("the first schedule: deno task simulate --play=histories --replay");
    const { violations } = await simulateMany(SHIPPED, seed, SCHEDULES, runHistories);
    assertEquals(violations.map((finding) => findingText(finding, "histories")), []);
  });

  it("finds no wrong value shown while a key is evicted and written anew, in every schedule", async () => {
    const { seed } = seededRandom("the first schedule: deno task simulate --play=peeks --replay");
    const { violations } = await simulateMany(SHIPPED, seed, Math.ceil(SCHEDULES / 3), runPeeks);
    assertEquals(violations.map((finding) => findingText(finding, "peeks")), []);
  });
});
