/**
 * A simulation that finds nothing proves something only if it would find what is broken: each seeded bug, each guard
 * that docs/PROTOCOL.md rests on among them, must be caught within 10,000 schedules.
 * @module
 */
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { assert } from "@std/assert";
import { stop } from "esbuild";
import { huntBug, meetBug, SEEDED_BUGS } from "./seeded_bugs.ts";

const WITHIN = 10_000;
const GUARDS = [
  "immutable objects",
  "proof before eviction",
  "version check on restore",
  "guarded del",
  "absence is not intent",
  "purging deletes nothing newer",
  "a dirty key that is missing is absent",
  "commit looks whether the key exists",
  "retry-safety: commit",
  "retry-safety: fail",
  "retry-safety: release",
  "retry-safety: begin",
  "retry-safety: remove",
  "retry-safety: mark",
  "retry-safety: reconcile",
  "an index knows its database",
  "a tick asks whose its archive is",
  "one index begins",
];
/** Deno plays all, Bun and Node every twelfth one; what differs between runtimes is no rule of the protocol. */
const SHARE = process.versions.deno === undefined ? 12 : 1;
const SEED = Number(process.env.TUNDRA_SEED ?? Date.now() % 2 ** 31);

describe("the simulation catches", () => {
  before(() => console.log(`TUNDRA_SEED=${SEED}`));
  after(() => stop());

  for (const bug of SEEDED_BUGS.filter((_, i) => i % SHARE === SEED % SHARE)) {
    it(bug.name, async () => {
      // the schedule that met it before, if that is known; `deno task simulate --bugs` searches from the first schedule
      const caught = await meetBug(bug) ?? await huntBug(bug, 1, WITHIN);
      assert(caught, `it survived ${WITHIN} schedules`);
      console.log(`caught after ${caught.schedules} schedules by "${caught.check}"`);
    });
  }

  it("every guard that the design names, and at least 25 bugs in all", () => {
    assert(SEEDED_BUGS.length >= 25, `only ${SEEDED_BUGS.length}`);
    for (const guard of GUARDS) assert(SEEDED_BUGS.some((bug) => bug.guard === guard), guard);
  });
});
