/**
 * Random programs end alike on a transparent client and on a plain one.
 *
 * TUNDRA_SEED=... replays a run; TUNDRA_PROGRAMS=100000 plays more.
 */
import process from "node:process";
import { describe, it } from "node:test";
import { withArchive } from "../support/fixtures.ts";
import { withStack } from "../support/stack.ts";
import { runPrograms, SHIPPED } from "./programs.ts";

const PROGRAMS = Number(process.env.TUNDRA_PROGRAMS ?? (process.versions.deno ? 30 : 10));
const SEED = Number(process.env.TUNDRA_SEED ?? Date.now() % 2 ** 31);

describe("a transparent client and a plain one", () => {
  const cold = withArchive();
  const plain = withStack();

  it("give the same answers to random programs, and hold the same in the end", async () => {
    console.log(`TUNDRA_SEED=${SEED}`);
    await runPrograms(SHIPPED, cold, plain, SEED, PROGRAMS);
  });
});
