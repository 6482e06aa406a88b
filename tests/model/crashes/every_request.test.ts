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
import { SHIPPED, type Subject } from "../simulation/simulation.ts";
import {
  type Client,
  CLIENTS,
  type DeliveryTime,
  live,
  parseScenario,
  playAll,
  replayLine,
  situationNamed,
  type Tally,
} from "./every_request.ts";
import { SITUATIONS } from "./situations.ts";

const onDeno = process.versions.deno !== undefined;
const PROGRAM = fileURLToPath(new URL("./main.ts", import.meta.url));
const JOBS = 2;
/** Of so many parts, two are played. */
const PARTS = process.env.CI === undefined ? JOBS : 5 * JOBS;
/** Elsewhere: every so many requests, and so many bugs. */
const PART = 24;
const BUGS = 2;

/**
 * A seeded bug, and the call that meets it when one request of it fails: with these faults and this time of delivery
 * when it was last searched for.
 */
const CAUGHT: { bug: string; call: string; client?: Client; faults: string; delivery: DeliveryTime }[] = [
  {
    bug: "objects are overwritten: every version of a key has one name",
    call: "tick, and another one after its lease",
    faults: "",
    delivery: "after the call",
  },
  {
    bug: "restore does not compare the record",
    call: "ensureKs of evicted keys",
    faults: "3 twice",
    delivery: "after a new write",
  },
  { bug: "remove does not compare the record", call: "del", faults: "2 twice", delivery: "after the call" },
  { bug: "a repeated commit acts again", call: "tick over dirty keys", faults: "5 twice", delivery: "after del" },
  {
    bug: "a repeated fail acts again",
    call: "tick over a refused object",
    faults: "7 twice",
    delivery: "after the call",
  },
  {
    bug: "a repeated release acts again",
    call: "tick that is aborted",
    faults: "5 twice",
    delivery: "after the lease",
  },
  {
    bug: "begin goes by no token",
    call: "tick over a suspect and a key",
    faults: "8 twice",
    delivery: "with the next request",
  },
  {
    bug: "a removal without a record leaves none: a late copy removes what came after it",
    call: "del of a key without a record",
    faults: "2 twice",
    delivery: "over an unmarked change",
  },
  {
    bug: "an overriding mark does not compare the record",
    call: "dirty, overwrite",
    faults: "2 twice",
    delivery: "over a blind write",
  },
  {
    bug: "reconcile does not compare bytes",
    call: "ensureKs of an eviction half undone",
    faults: "2 dies, and it comes late",
    delivery: "over an unmarked change",
  },
  {
    bug: "commit does not wait for the pack",
    call: "tick over dirty keys",
    faults: "4 reset before",
    delivery: "after the call",
  },
  {
    bug: "a pack's failure is ignored",
    call: "tick over dirty keys",
    faults: "4 reset before",
    delivery: "after the call",
  },
  {
    bug: "retry-safety: a restoration does not compare records",
    call: "restoreVersion over an evicted key, by time",
    faults: "8 twice",
    delivery: "after recovery",
  },
  {
    bug: "a repeated restoration does not know its own effect",
    call: "restoreVersion over a clean key",
    client: "tries twice",
    faults: "8 reset after",
    delivery: "after the call",
  },
  {
    bug: "ensureKs() keeps quiet about what could not be fetched",
    call: "ensureKs of evicted keys",
    faults: "2 reset before",
    delivery: "after the call",
  },
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

  for (const { bug: name, call, client = CLIENTS[0], faults, delivery } of onDeno ? CAUGHT : CAUGHT.slice(0, BUGS)) {
    it(`catches a seeded bug: ${name}`, async () => {
      const bug = await loadBug(SEEDED_BUGS.find((each) => each.name === name)!);
      const met = await live(bug, parseScenario(call, client, faults, delivery));
      const broken = met.violation ?? await search(bug, call);
      assert(!broken.check.startsWith("nothing else"), broken.detail);
      console.log(`caught by "${broken.check}"`);
    });
  }

  /** Tries all single faults, if what met a bug before no longer does so. */
  async function search(bug: Subject, call: string): Promise<{ check: string; detail: string }> {
    const { singles, findings: [broken] } = await playAll(bug, situationNamed(call), { most: 1 });
    assert(broken, `it survived ${singles} single faults of "${call}"`);
    console.log(`met after ${singles} single faults: ${replayLine(broken.scenario)}`);
    return broken;
  }
});
