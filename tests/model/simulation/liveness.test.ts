/**
 * Progress under an adversary: 100 schedules in CI on Deno, 60 at a desk, 20 elsewhere; and one of hundreds of
 * keys.
 * @module
 */
import process from "node:process";
import { describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { seededRandom } from "../../support/random.ts";
import { seededChoices } from "./choices.ts";
import { pickPlay, runLiveness } from "./liveness.ts";
import { type Findings, findingText, simulateMany } from "./runs.ts";
import { SHIPPED } from "./simulation.ts";

const CI = process.env.CI !== undefined && process.versions.deno !== undefined;
const SCHEDULES = process.versions.deno === undefined ? 20 : CI ? 100 : 60;
const HUNDREDS = 1;

/** Plays schedules; fails with the text of each broken promise. */
async function play(seed: number, schedules: number, tries?: number): Promise<Findings> {
  const findings = await simulateMany(SHIPPED, seed, schedules, runLiveness, tries);
  assertEquals(findings.violations.map((finding) => findingText(finding, "liveness")), []);
  return findings;
}

describe("the simulation of what must go on", () => {
  it("finds that it does, in every schedule", async () => {
    const { seed } = seededRandom("the first schedule: deno task simulate --play=liveness --replay");
    const { modes } = await play(seed, SCHEDULES);
    console.log(JSON.stringify(modes));
    if (SCHEDULES > 20) assertEquals(Object.keys(modes).length, 7);
  });

  it("finds that it does with hundreds of keys and few requests a tick", async () => {
    let { seed } = seededRandom("the first schedule of hundreds in liveness.test.ts");
    for (let played = 0; played < HUNDREDS; seed++) {
      if (pickPlay(seededChoices(seed)).keys.length < 200) continue;
      await play(seed, 1, 20); // each run of such a schedule takes seconds
      played++;
    }
  });
});
