/**
 * The promises of docs/PROTOCOL.md under an adversary: 1,000 schedules in CI (on Deno; 40 elsewhere), 2,000 at a desk;
 * TUNDRA_SCHEDULES says another number.
 * @module
 */
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";
import { seededRandom } from "../../support/random.ts";
import { choicesText, parseChoices, replayedChoices, seededChoices } from "./choices.ts";
import { minimise } from "./minimise.ts";
import { findingText, simulateInProcesses, simulateMany } from "./runs.ts";
import { loadBug, SEEDED_BUGS } from "./seeded_bugs.ts";
import { runSchedule, SHIPPED } from "./simulation.ts";

const onDeno = process.versions.deno !== undefined;
const SCHEDULES = Number(process.env.TUNDRA_SCHEDULES ?? (!onDeno ? 40 : process.env.CI ? 500 : 2_000));
const PROGRAM = fileURLToPath(new URL("./main.ts", import.meta.url));

describe("the simulation", () => {
  it("keeps every promise in every schedule, and every queue drains", async () => {
    const { seed } = seededRandom("the first schedule: deno task simulate --replay");
    const findings = onDeno
      ? await simulateInProcesses(PROGRAM, seed, SCHEDULES, 2)
      : await simulateMany(SHIPPED, seed, SCHEDULES);
    const { schedules, steps, commands, seconds, violations } = findings;
    console.log(`${schedules} schedules, ${steps} steps, ${commands} commands in ${seconds.toFixed(1)} s`);
    assertEquals(violations.map((finding) => findingText(finding)), []);
    assertEquals(schedules, SCHEDULES);
    assert(steps > 40 * schedules && commands > 30 * schedules, "most schedules end before anything happens");
  });

  it("plays the same schedule from the same seed, and from its recorded decisions, step by step", async () => {
    const { seed } = seededRandom("the schedules played twice");
    for (let i = 0; i < 10; i++) {
      const [first, again, recorded]: [string[], string[], string[]] = [[], [], []];
      const choices = seededChoices(seed + i);
      await runSchedule(SHIPPED, choices, first);
      await runSchedule(SHIPPED, seededChoices(seed + i), again);
      await runSchedule(SHIPPED, replayedChoices(parseChoices(choicesText(choices.taken))), recorded);
      assertEquals(again, first);
      assertEquals(recorded, first);
    }
  });

  it("plays the same schedules in a process of its own", async () => {
    const { steps, commands, modes } = await simulateMany(SHIPPED, 1, 20);
    const elsewhere = await simulateInProcesses(PROGRAM, 1, 20, 2);
    assertEquals([elsewhere.steps, elsewhere.commands, elsewhere.modes], [steps, commands, modes]);
  });

  it("shortens a failing schedule to one that breaks the same promise", async () => {
    const bug = await loadBug(SEEDED_BUGS.find(({ name }) => name === "evict does not compare bytes")!);
    const lengths: string[] = [];
    for (let seed = 1; lengths.length < 5; seed++) {
      const choices = seededChoices(seed);
      const { violation } = await runSchedule(bug, choices);
      if (!violation) continue;
      const short = await minimise(bug, choices.taken, violation.check, 400);
      const replayed = await runSchedule(bug, replayedChoices(parseChoices(choicesText(short))));
      assertEquals(replayed.violation?.check, violation.check);
      if (short.length < choices.taken.length / 2) return;
      lengths.push(`${short.length} of ${choices.taken.length}`);
    }
    assert(false, `decisions that are left: ${lengths}`);
  });
});
