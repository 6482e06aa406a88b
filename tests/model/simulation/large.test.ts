/**
 * The simulation of large values: 15 schedules on Deno, 3 elsewhere.
 * @module
 */
import process from "node:process";
import { describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { seededRandom } from "../../support/random.ts";
import { runLarge } from "./large.ts";
import { findingText, simulateMany } from "./runs.ts";
import { SHIPPED } from "./simulation.ts";

const SCHEDULES = process.versions.deno === undefined ? 3 : 15;

describe("the simulation of large values", () => {
  it("finds that each comes back as it was, and that no temporary key is left, in every schedule", async () => {
    const { seed } = seededRandom("the first schedule: deno task simulate --play=large --replay");
    const { violations } = await simulateMany(SHIPPED, seed, SCHEDULES, runLarge);
    assertEquals(violations.map((finding) => findingText(finding, "large")), []);
  });
});
