/**
 * Random programs catch each guard of a transparent client that is broken.
 */
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { assert } from "@std/assert";
import { stop } from "esbuild";
import { withArchive } from "../support/fixtures.ts";
import { importPatched } from "../support/patched.ts";
import { withStack } from "../support/stack.ts";
import { runPrograms, type Subject } from "./programs.ts";

/** Programs in which each must be caught. */
const WITHIN = 1_500;
const SEED = Number(process.env.TUNDRA_SEED ?? Date.now() % 2 ** 31);
/** Deno plays all, in CI every sixth one; what differs between runtimes is no rule. */
const SHARE = process.versions.deno === undefined ? 10 : process.env.CI === undefined ? 1 : 6;

/** Name, file of src, text, broken text. */
const BUGS: [name: string, file: string, from: string, to: string][] = [
  ["writes beside an evicted value", "scripts/command.ts", "if #needed > 2 then return needed end", ""],
  ["does not mark a change", "scripts/command.ts", "if marks[i] ~= '-' then mark(i, r, marks[i]) end", ""],
  ["does not mark a removal", "scripts/command.ts", "marks[i] = 'g'", "marks[i] = '-'"],
  ["keeps what was replaced by nothing", "scripts/command.ts", "(there[i] or use == 'o' and reply)", "there[i]"],
  ["takes every empty reply for no change", "scripts/command.ts", "ARGV[6] == '1' and nothing", "nothing"],
  ["takes a condition of SET for none", "transparent/plan.ts", `return areKnown ? "o1" : "w1"`, `return "o1"`],
  ["takes COPY for a replacement", "transparent/plan.ts", `hasOption("replace") ? always : "r1,w2"`, "always"],
  [
    "forgets that a key is used twice",
    "transparent/plan.ts",
    `before === undefined || before === use ? use : "w"`,
    "use",
  ],
  ["forgets what RENAME takes away", "transparent/table.ts", `"w1,o2": "rename"`, `"r1,o2": "rename"`],
  ["reads MGET's missing values as absent", "transparent/reads.ts", ".every((each) => each !== null)", ".length > 0"],
  ["takes 0 for a value", "transparent/reads.ts", "result > 0 || result < -2", "true"],
  [
    "never looks for evicted values",
    "transparent/reads.ts",
    "plan.ours.length === 0 || proves(plan, answers[i]!)",
    "true",
  ],
  [
    "does not bring back what a batch changes",
    "transparent/batch.ts",
    `use === "r" || use === "w" ||`,
    `use === "r" ||`,
  ],
  [
    "does not bring back what a batch may empty",
    "transparent/batch.ts",
    `(use === "o" && !leavesOne)`,
    "false",
  ],
  ["does not mark in batches", "transparent/batch.ts", "(transparent.mark || deletes)", "false"],
  ["marks no removal in batches", "transparent/batch.ts", `missing: "del"`, `missing: "throw"`],
  ["lets batches replace nothing", "transparent/batch.ts", `overwrite: wanted === "o"`, `overwrite: false`],
  ["counts resident keys only", "transparent/keyspace.ts", "exists || evictable", "exists"],
  [
    "deletes from Redis alone",
    "transparent/one.ts",
    "if (plan.deletes) return",
    "if (plan.deletes) return await inner.request(request); else if (plan.deletes) return",
  ],
];

const CODE = `export { tundraStore } from "./mod.ts"; export { transparentRedis } from "./src/transparent/mod.ts";`;

describe("random programs catch a transparent client that", () => {
  const cold = withArchive();
  const plain = withStack();
  before(() => console.log(`TUNDRA_SEED=${SEED}`));
  after(() => stop());

  for (const [name, file, from, to] of BUGS.filter((_, i) => i % SHARE === SEED % SHARE)) {
    it(name, async () => {
      const subject = await importPatched<Subject>(CODE, `src/${file}`, [[from, to]]);
      const failure = await runPrograms(subject, cold, plain, SEED, WITHIN).then(() => undefined, (error) => error);
      assert(failure, `it survived ${WITHIN} programs`);
      const [, tried] = /Property failed after (\d+) tests/.exec(String(failure)) ?? [];
      assert(tried, String(failure));
      console.log(`caught after ${tried} programs`);
    });
  }
});
