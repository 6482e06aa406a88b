/**
 * Pages of docs/ as what they are to a reader: files to write and commands to type.
 *
 * - A block of code that follows a paragraph with a file's name (`main.js`) is that file.
 * - A `sh` block is typed; after "in a terminal of its own" it keeps running. `sh deployment` needs an account.
 * - A `text` block is what the `sh` block before it prints; `...` stands for anything.
 * @module
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { assert } from "@std/assert";
import { type Program, run, start } from "../runtimes/run.ts";

/** The root of the repository. */
export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** A block of a page. */
export interface Block {
  /** The heading over it. */
  readonly section: string;
  /** The words behind the fence: `js`, `sh deployment`. */
  readonly info: string;
  readonly text: string;
  /** The paragraph before it, in one line. */
  readonly before: string;
}

/** All blocks of a page of docs/. */
export function blocksOf(name: string): Block[] {
  const page = readFileSync(join(ROOT, "docs", name), "utf8");
  const blocks: Block[] = [];
  let section = "";
  let before = "";
  for (
    const [part, heading, info, text] of page.matchAll(/^#+ (.*)$|^```(.+)\n([^]*?)^```$|^(?!```).+(?:\n(?!```).+)*/gm)
  ) {
    if (heading !== undefined) section = heading;
    else if (info === undefined) before = part.replace(/\s+/g, " ");
    else {
      blocks.push({ section, info, text: text!, before });
      before = "";
    }
  }
  assert(blocks.length > 0, `${name} must have blocks`);
  return blocks;
}

/** Only the blocks of one kind, each with the `text` after it: pages tell many things twice, as commands and as code. */
export function only(info: "sh" | "ts", blocks: readonly Block[]): Block[] {
  let kept = false;
  return blocks.filter((block) => kept = block.info === "text" ? kept : block.info === info);
}

/** The file that a block is, by the last name in the paragraph before it. */
export function fileOf({ info, before }: Block): string | undefined {
  if (!/^(js|ts|json)\b/.test(info)) return undefined;
  return [...before.matchAll(/`([\w/.-]+\.(?:js|ts|jsonc?))`/g)].at(-1)?.[1];
}

/** What to do with the blocks, beside typing them. */
export interface Reader {
  folder: string;
  /** The environment to begin with; what commands export is added. */
  env: Record<string, string>;
  /** Changes texts before they are written or typed: ports that must be free. */
  adapt?: (text: string) => string;
}

/** A reader who follows blocks in order. */
export class Terminal {
  #reader: Reader;
  #programs: Program[] = [];
  /** What the last command printed. */
  output = "";

  constructor(reader: Reader) {
    this.#reader = reader;
  }

  /** Follows blocks; `ready` waits for a program that keeps running. */
  async follow(blocks: readonly Block[], ready: (program: Program) => Promise<unknown> = never): Promise<number> {
    let typed = 0;
    for (const block of blocks) {
      const file = fileOf(block);
      const text = this.#reader.adapt?.(block.text) ?? block.text;
      if (file) this.#write(file, text);
      else if (block.info === "text") assertPrinted(this.output, block);
      else if (block.info === "sh") {
        typed++;
        if (/in a terminal of its own/.test(block.before)) {
          await ready(this.#start(text));
        } else this.output = await this.#type(text);
      } else assert(block.info === "sh deployment", `${block.section}: what is a reader to do with ${block.info}?`);
    }
    return typed;
  }

  /** Types commands; what they export stays. */
  async #type(text: string): Promise<string> {
    const state = join(this.#reader.folder, ".exported");
    const script = `set -euo pipefail\n${text}\nexport -p > "${state}"\n`;
    const output = await run("bash", ["-c", script], this.#reader.folder, this.#reader.env, 300_000);
    for (const [, name, value] of readFileSync(state, "utf8").matchAll(/^declare -x (\w+)="(.*)"$/gm)) {
      if (name !== "PWD" && name !== "OLDPWD" && name !== "SHLVL") this.#reader.env[name!] = value!;
    }
    return output;
  }

  #start(text: string): Program {
    const program = start("bash", ["-c", `exec ${text.trim()}`], this.#reader.folder, this.#reader.env);
    this.#programs.push(program);
    return program;
  }

  #write(file: string, text: string): void {
    const path = join(this.#reader.folder, file);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }

  /** Ctrl-C in all terminals. */
  async stop(): Promise<void> {
    for (const program of this.#programs.splice(0).reverse()) await program.stop();
  }
}

/** Each line of the block stands in the output, in order; `...` is anything. */
export function assertPrinted(output: string, { section, text }: Pick<Block, "section" | "text">): void {
  const pattern = text.trim().split("\n").map((line) =>
    line.split("...").map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("[^\\n]*")
  ).join("\\n");
  assert(
    new RegExp(`^${pattern}$`, "m").test(output),
    `${section} promises\n${text}\nbut this was printed:\n${output}`,
  );
}

function never(): Promise<void> {
  return Promise.reject(new Error("nothing must keep running here"));
}
