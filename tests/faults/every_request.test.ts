/**
 * A fault at every single request of every public call, on the real stack: nothing acknowledged is lost, ever.
 *
 * Deno tries all single faults, in CI a random third; the other runtimes a random twelfth, since what differs there is
 * fetch and no rule of the protocol. With TUNDRA_FAULTS=all each request meets each kind of fault, also if that can make
 * no difference, and all pairs of faults are tried instead of a random sample.
 */
import process from "node:process";
import { describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { ON_UNSTORAGE } from "../support/fixtures.ts";
import { seededRandom } from "../support/random.ts";
import { CALLS } from "./calls.ts";
import { KINDS, kindsFor, live, type Plan, prepare, type Prepared, type Tries } from "./life.ts";
import { withFaultWorld } from "./world.ts";

const ALL = process.env.TUNDRA_FAULTS === "all";
/** An unstorage driver repeats what it wants to, or nothing. */
const TRIES: readonly Tries[] = ON_UNSTORAGE ? ["no retries"] : ["no retries", "default retries"];
const SHARE = ALL ? 1 : process.versions["deno"] === undefined ? 1 / 12 : process.env.CI === undefined ? 1 : 1 / 3;
/** Of each call, if not all are tried. */
const PAIRS = 6;

interface Scenario {
  plan: Plan;
  tries: Tries;
}

function singles({ requests }: Prepared): Scenario[] {
  return TRIES.flatMap((tries) =>
    requests.flatMap((request) =>
      (ALL ? KINDS : kindsFor(request, tries)).map((kind) => ({ plan: new Map([[request.n, kind]]), tries }))
    )
  );
}

/** Two faults; the second one may also meet a retry, or what the call does instead. */
function pairs({ requests }: Prepared): Scenario[] {
  const kinds = KINDS.filter(({ hangs, damages, name }) => !hangs && !damages && !/500|cut/.test(name));
  const found: Scenario[] = [];
  for (const tries of TRIES) {
    for (let first = 1; first <= requests.length; first++) {
      for (let second = first + 1; second <= requests.length + 1; second++) {
        for (const one of kinds) {
          for (const other of kinds) found.push({ plan: new Map([[first, one], [second, other]]), tries });
        }
      }
    }
  }
  return found;
}

describe("faults at any request lose nothing, and the queue drains", () => {
  const world = withFaultWorld();

  /** Lives through all of them; how many did not meet all their faults. */
  const liveAll = async (prepared: Prepared, scenarios: Scenario[]): Promise<number> => {
    const failures: string[] = [];
    let unmet = 0;
    for (const { plan, tries } of scenarios) {
      try {
        // a client that soon gives up may do so before the request that was to hang, if the machine is busy
        const impatient = [...plan.values()].some(({ hangs }) => hangs);
        if (!await live(world, prepared, plan, tries) && !impatient) unmet++;
      } catch (error) {
        failures.push((error as Error).message);
      }
    }
    assertEquals(failures, []);
    return unmet;
  };

  for (const call of CALLS) {
    it(`${call.name}: one fault`, async () => {
      const prepared = await prepare(world, call);
      const random = seededRandom(`one fault of ${call.name}`);
      const all = singles(prepared);
      assert(all.length >= 5);
      const scenarios = all.filter(() => random.next() < SHARE);
      assertEquals(await liveAll(prepared, scenarios), 0);
    });
  }

  for (const call of CALLS) {
    it(`${call.name}: two faults`, async () => {
      const random = seededRandom(`two faults of ${call.name}`);
      const prepared = await prepare(world, call);
      const all = pairs(prepared);
      const scenarios = ALL ? all : Array.from({ length: PAIRS }, () => random.pick(all));
      await liveAll(prepared, scenarios);
    });
  }
});
