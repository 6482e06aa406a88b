/** The simulation with stores that encrypt: every promise holds, and the oracle can read nothing that it must not. */
import process from "node:process";
import { describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { seededRandom } from "../../support/random.ts";
import { seededChoices } from "./choices.ts";
import { findingText, simulateMany } from "./runs.ts";
import { ENCRYPTED, runSchedule } from "./simulation.ts";
import { runSweeps } from "./sweeps.ts";

const SCHEDULES = process.versions.deno ? 20 : 5;

describe("the simulation of stores that encrypt", () => {
  it("keeps every promise", async () => {
    const { seed } = seededRandom("the first schedule: deno task simulate --encrypted --replay");
    const { violations } = await simulateMany(ENCRYPTED, seed, SCHEDULES);
    assertEquals(violations.map((finding) => findingText(finding)), []);
  });

  it("keeps every promise of sweeps", async () => {
    const { seed } = seededRandom("the first schedule: deno task simulate --encrypted --play=sweeps --replay");
    const { violations } = await simulateMany(ENCRYPTED, seed, SCHEDULES / 5, runSweeps);
    assertEquals(violations.map((finding) => findingText(finding, "sweeps")), []);
  });

  it("plays the same schedule from the same seed", async () => {
    for (const seed of [1, 2, 3]) {
      const [first, again]: [string[], string[]] = [[], []];
      await runSchedule(ENCRYPTED, seededChoices(seed), first);
      await runSchedule(ENCRYPTED, seededChoices(seed), again);
      assertEquals(again, first);
    }
  });
});
