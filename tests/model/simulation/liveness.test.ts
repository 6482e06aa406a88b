/**
 * Progress under an adversary: 300 schedules in CI on Deno, 60 at a desk, 20 elsewhere.
 * @module
 */
import process from "node:process";
import { describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { seededRandom } from "../../support/random.ts";
import { seededChoices } from "./choices.ts";
import { runLiveness } from "./liveness.ts";
import { SHIPPED } from "./simulation.ts";

const SCHEDULES = process.versions.deno === undefined ? 20 : process.env.CI ? 300 : 60;

describe("the simulation of what must go on", () => {
  it("finds that it does, in every schedule", async () => {
    const { seed } = seededRandom("the first schedule of liveness.test.ts");
    const modes: Record<string, number> = {};
    for (let i = 0; i < SCHEDULES; i++) {
      const { violation, mode } = await runLiveness(SHIPPED, seededChoices(seed + i));
      modes[mode] = (modes[mode] ?? 0) + 1;
      if (violation === undefined) continue;
      const log: string[] = [];
      await runLiveness(SHIPPED, seededChoices(seed + i), log);
      console.log(log.join("\n"));
      assertEquals(violation, undefined, `TUNDRA_SEED=${seed + i}`);
    }
    console.log(JSON.stringify(modes));
    if (SCHEDULES > 20) assertEquals(Object.keys(modes).length, 6);
  });
});
