/**
 * A small part of the exploration (`deno task explore` is the whole): every order of requests, with every fault at every
 * place, in a few scopes; and seeded bugs that must be caught there.
 * @module
 */
import process from "node:process";
import { after, describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { stop } from "esbuild";
import { explore, type Explored, type Scope } from "./explorer.ts";
import { huntingScopes, reducedScopes } from "./explore_scopes.ts";
import { loadMutant, MUTANTS } from "./mutants.ts";
import { SHIPPED, type Subject } from "./simulation.ts";

const onDeno = process.versions.deno !== undefined;

function found({ scope, violations }: Explored): string[] {
  return violations.map(({ detail, path }) => `deno task explore --replay="${scope}:${path.join(".")}"\n${detail}`);
}

async function hunted(subject: Subject, scopes: readonly Scope[]): Promise<Explored | undefined> {
  for (const scope of scopes) {
    const explored = await explore(subject, { ...scope, first: true });
    if (explored.violations.length > 0) return explored;
  }
  return undefined;
}

/** Seeded bugs, and a scope that shows each. */
const SEEDED: [name: string, scope: string][] = [];

describe("the exploration", () => {
  after(() => stop());

  for (const scope of onDeno ? reducedScopes() : reducedScopes().slice(0, 3)) {
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
      const subject = await loadMutant(MUTANTS.find((mutant) => mutant.name === name)!);
      const scope = huntingScopes().find((scope) => scope.name === scopeName)!;
      const explored = await hunted(subject, [scope]);
      assert(explored, "it was not caught");
      const { path, check } = explored.violations[0]!;
      // and its path leads there again
      const replayed = await explore(subject, scope, path);
      assertEquals(replayed.violations.map((one) => one.check), [check]);
      console.log(`${check}, after ${path.length} steps and ${explored.states} states`);
    });
  }
});
