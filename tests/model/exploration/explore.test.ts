/**
 * A small part of the exploration (`deno task explore` is the whole): every order of requests, with every fault at
 * every place, in a few scopes; and seeded bugs that must be caught there.
 * @module
 */
import process from "node:process";
import { after, describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { stop } from "esbuild";
import { loadBug, SEEDED_BUGS } from "../simulation/seeded_bugs.ts";
import { SHIPPED } from "../simulation/simulation.ts";
import { huntingScopes, reducedScopes } from "./explore_scopes.ts";
import { explore, type Explored } from "./explorer.ts";

const onDeno = process.versions.deno !== undefined;

function found({ scope, violations }: Explored): string[] {
  return violations.map(({ detail, path }) => `deno task explore --replay="${scope}:${path.join(".")}"\n${detail}`);
}

/** Seeded bugs, and a scope that shows each. */
const SEEDED: [name: string, scope: string][] = [
  ["objects are overwritten: every version of a key has one name", "new/set/no fault waits=0"],
  ["evict does not compare bytes", "unmarked/evict/no fault waits=0"],
  ["restore does not compare the record", "dirty/take/no fault waits=0"],
  ["remove does not compare the record", "new/set/any fault waits=0 ticks=1 without=tick0,ensurer"],
  ["commit does not look whether the key exists", "dirty/take/no fault waits=0"],
  ["begin goes by no token", "suspect/change/any fault waits=0 ticks=1 without=deleter"],
  [
    "a removal without a record leaves none: a late copy removes what came after it",
    "new/set again/any fault waits=0 ticks=1 without=tick0,ensurer",
  ],
  [
    "an overriding mark does not compare the record",
    "evicted/whole life/any fault waits=0 ticks=0 without=deleter",
  ],
];

describe("the exploration", () => {
  after(() => stop());

  for (const scope of onDeno ? reducedScopes() : reducedScopes().slice(0, 1)) {
    it(`finds every promise kept in ${scope.name}`, async () => {
      const explored = await explore(SHIPPED, scope);
      assertEquals(found(explored), []);
      assert(explored.complete, `it gave up after ${explored.states} states`);
      console.log(`${explored.states} states, ${explored.steps} steps, depth ${explored.depth}`);
    });
  }

  it("finds the same states again", async () => {
    const [scope] = reducedScopes();
    const [first, again] = [await explore(SHIPPED, scope!), await explore(SHIPPED, scope!)];
    assertEquals({ ...again, seconds: 0 }, { ...first, seconds: 0 });
  });

  for (const [name, scopeName] of SEEDED) {
    it(`catches: ${name}`, async () => {
      const subject = await loadBug(SEEDED_BUGS.find((bug) => bug.name === name)!);
      const scope = huntingScopes().find((scope) => scope.name === scopeName)!;
      const explored = await explore(subject, { ...scope, first: true });
      assert(explored.violations[0], "it was not caught");
      const { path, check } = explored.violations[0];
      // and its path leads there again
      const replayed = await explore(subject, scope, { path });
      assertEquals(replayed.violations.map((one) => one.check), [check]);
      console.log(`${check}, after ${path.length} steps and ${explored.states} states`);
    });
  }
});
