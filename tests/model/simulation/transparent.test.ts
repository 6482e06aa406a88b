/**
 * The simulation of transparent clients: 150 schedules in CI on Deno, 60 at a desk, 15 elsewhere.
 * @module
 */
import process from "node:process";
import { describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { seededRandom } from "../../support/random.ts";
import { findingText, simulateMany } from "./runs.ts";
import { SHIPPED } from "./simulation.ts";
import { runTransparent } from "./transparent.ts";

const SCHEDULES = process.versions.deno === undefined ? 15 : process.env.CI ? 150 : 60;

describe("the simulation of transparent clients", () => {
  it("finds that reads are right, and that each change is marked, in every schedule", async () => {
    const { seed } = seededRandom("the first schedule: deno task simulate --play=transparent --replay");
    const { violations } = await simulateMany(SHIPPED, seed, SCHEDULES, runTransparent);
    assertEquals(violations.map((finding) => findingText(finding, "transparent")), []);
  });
});
