/**
 * A crash at every request of every call: each single fault once, at a moment drawn for its late copies, and some
 * pairs; `deno task crash` plays all of both. CI plays a fifth of that, by the seed. Bun and Node play a part: what differs
 * there is no rule of the protocol.
 * @module
 */
import process from "node:process";
import { after, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";
import { stop } from "esbuild";
import { seededRandom } from "../../support/random.ts";
import { inProcess } from "../simulation/runs.ts";
import { loadBug, SEEDED_BUGS } from "../simulation/seeded_bugs.ts";
import { SHIPPED } from "../simulation/simulation.ts";
import { CLIENTS, live, parseScenario, playAll, replayLine, situationNamed, type Tally } from "./every_request.ts";
import { SITUATIONS } from "./situations.ts";

const onDeno = process.versions.deno !== undefined;
const PROGRAM = fileURLToPath(new URL("./main.ts", import.meta.url));
const JOBS = 2;
/** Of so many parts, two are played. */
const PARTS = process.env.CI === undefined ? JOBS : 5 * JOBS;
/** Elsewhere: every so many requests, and so many bugs. */
const PART = 24;
const BUGS = 2;

/** A seeded bug, and the call that meets it when one request of it fails. */
const CAUGHT: [bug: string, call: string][] = [
  ["objects are overwritten: every version of a key has one name", "tick, and another one after its lease"],
  ["restore does not compare the record", "ensureKs of evicted keys"],
  ["remove does not compare the record", "del"],
  ["a repeated commit acts again", "tick over dirty keys"],
  ["a repeated fail acts again", "tick over a refused object"],
  ["a repeated release acts again", "tick that is aborted"],
  ["begin goes by no token", "tick over a suspect and a key"],
  ["a removal without a record leaves none: a late copy removes what came after it", "del of a key without a record"],
  ["an overriding mark does not compare the record", "dirty, overwrite"],
  ["reconcile does not compare bytes", "ensureKs of an eviction half undone"],
  ["commit does not wait for the pack", "tick over dirty keys"],
  ["a pack's failure is ignored", "tick over dirty keys"],
  ["retry-safety: a restoration does not compare records", "restoreVersion over an evicted key, by time"],
  ["a repeated restoration does not know its own effect", "restoreVersion over a clean key"],
  ["ensureKs() keeps quiet about what could not be fetched", "ensureKs of evicted keys"],
];

describe("a crash at every request", () => {
  after(() => stop());

  it("breaks no promise: single faults, and some pairs", async () => {
    const { seed } = seededRandom("when copies arrive, and which pairs are played");
    const tallies = onDeno
      ? (await Promise.all(
        Array.from({ length: JOBS }, (_, i) =>
          inProcess<Tally[]>(PROGRAM, [`--part=${(seed + i) % PARTS}`, `--jobs=${PARTS}`, `--seed=${seed}`])),
      )).flat()
      : await someOf(seed);
    assertEquals(
      tallies.flatMap(({ findings }) => findings.map((broken) => `${broken.detail}\n${replayLine(broken.scenario)}`)),
      [],
    );
    const sum = (of: (tally: Tally) => number) => tallies.reduce((total, tally) => total + of(tally), 0);
    const [singles, pairs] = [sum((tally) => tally.singles), sum((tally) => tally.pairs)];
    console.log(`${singles} single faults and ${pairs} pairs, ${sum((tally) => tally.steps)} steps`);
    const enough = onDeno ? singles > 3_000 / PARTS && pairs > 200 / PARTS : singles > 60;
    assert(enough, "most requests met no fault");
  });

  async function someOf(seed: number): Promise<Tally[]> {
    const tallies: Tally[] = [];
    for (const [i, situation] of SITUATIONS.filter(({ smallRequests }) => !smallRequests).entries()) {
      const share = { part: (seed + i) % PART, of: PART };
      tallies.push(await playAll(SHIPPED, situation, { pairs: true, seed, share }));
    }
    return tallies;
  }

  it("is played again from its line, step by step", async () => {
    const scenario = parseScenario(
      "tick over dirty keys",
      CLIENTS[1],
      "3 hangs; 5 dies, and it comes late",
      "in another's lease",
    );
    assert(replayLine(scenario).includes(`--faults="3 hangs; 5 dies, and it comes late"`));
    const [first, again]: [string[], string[]] = [[], []];
    const { requests, violation } = await live(SHIPPED, scenario, first);
    await live(SHIPPED, scenario, again);
    assertEquals(again, first);
    assertEquals([requests.length, violation], [5, undefined]);
    assert(first.some((line) => line.includes("late copies arrive in another's lease")));
  });

  for (const [name, call] of onDeno ? CAUGHT : CAUGHT.slice(0, BUGS)) {
    it(`catches a seeded bug: ${name}`, async () => {
      const bug = await loadBug(SEEDED_BUGS.find((each) => each.name === name)!);
      const { singles, findings: [broken] } = await playAll(bug, situationNamed(call), { most: 1 });
      assert(broken, `it survived ${singles} single faults of "${call}"`);
      assert(!broken.check.startsWith("nothing else"), broken.detail);
      console.log(`caught after ${singles} by "${broken.check}"`);
    });
  }
});
