/**
 * The simulation of values that stay in Redis: 60 schedules in CI on Deno, 40 at a desk, 15 elsewhere.
 * @module
 */
import process from "node:process";
import { describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { seededRandom } from "../../support/random.ts";
import { runPolicy } from "./policy.ts";
import { findingText, simulateMany } from "./runs.ts";
import { SHIPPED } from "./simulation.ts";

const SCHEDULES = process.versions.deno === undefined ? 15 : process.env.CI ? 60 : 40;

describe("the simulation of values that stay in Redis", () => {
  it("finds that they stay and are not looked at, and that others leave, in every schedule", async () => {
    const { seed } = seededRandom("the first schedule: deno task simulate --play=policy --replay");
    const { violations } = await simulateMany(SHIPPED, seed, SCHEDULES, runPolicy);
    assertEquals(violations.map((finding) => findingText(finding, "policy")), []);
  });
});
