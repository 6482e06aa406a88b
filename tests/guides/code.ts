/**
 * Code of pages, run as it stands there: `ts` blocks in this process, `sh` blocks as processes, and what they print
 * compared with the `text` block after them.
 * @module
 */
import process from "node:process";
import { inspect } from "node:util";
import { assert } from "@std/assert";
import { transform } from "esbuild";
import * as mod from "../../mod.ts";
import * as operations from "../../src/operations/mod.ts";
import * as testing from "../../src/testing/mod.ts";
import * as transparent from "../../src/transparent/mod.ts";
import { run } from "../runtimes/run.ts";
import { assertPrinted, type Block, ROOT } from "./page.ts";

/** What pages import. */
const MODULES: Record<string, object> = {
  "@tundra/store": mod,
  "@tundra/store/operations": operations,
  "@tundra/store/testing": testing,
  "@tundra/store/transparent": transparent,
};

/** Runs a `ts` block under an environment; what it printed. */
export async function runCode(block: Block, env: Record<string, string>): Promise<string> {
  const { code } = await transform(block.text, { loader: "ts", target: "es2022" });
  const body = code.replace(/^import \{([^}]*)\} from "(.*?)";$/gm, (_, names, from) => {
    assert(from in MODULES, `${block.section} imports ${from}`);
    return `const {${names.replaceAll(" as ", ": ")}} = modules["${from}"];`;
  }).replace(/^export (?!\{)/gm, "").replace(/^export \{[^}]*\};$/gm, "");
  const lines: string[] = [];
  const log = (...words: unknown[]) =>
    void lines.push(words.map((each) => typeof each === "string" ? each : inspect(each)).join(" "));
  const before = { ...process.env };
  Object.assign(process.env, env);
  try {
    await new Function("modules", "console", `return (async () => {${body}})()`)(MODULES, { log, error: log });
  } finally {
    for (const name of Object.keys(env)) {
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
    }
  }
  return lines.join("\n") + "\n";
}

/** Runs blocks in order and compares what they print with the `text` blocks; the number of blocks that ran. */
export async function runAll(blocks: readonly Block[], env: Record<string, string>): Promise<number> {
  let ran = 0;
  let output = "";
  for (const block of blocks) {
    if (block.info === "text") assertPrinted(output, block);
    else if (block.info === "sh") {
      output = await run("bash", ["-euo", "pipefail", "-c", block.text], ROOT, env);
      ran++;
    } else {
      assert(block.info === "ts", `${block.section}: what is a reader to do with ${block.info}?`);
      output = await runCode(block, env);
      ran++;
    }
  }
  return ran;
}
