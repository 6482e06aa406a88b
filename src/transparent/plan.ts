/**
 * A command is read: its keys, what it does with each, and whether it can be carried out.
 * @module
 */
import { badArgument, show, TundraError } from "../base/errors.ts";
import { checkKeys } from "../base/keys.ts";
import type { Use } from "../scripts/command.ts";
import { optionsOf } from "./options.ts";
import { runsWhenFull, specOf, tells } from "./table.ts";

/** A command that can be carried out. */
export interface Plan {
  /** Its name, in lower case. */
  name: string;
  /** Its name and its arguments, as text. */
  words: string[];
  /** Each of its keys once. */
  keys: string[];
  /** The use of each key; `-` for those that the client leaves alone. */
  uses: Use[];
  /** The keys that the client looks after, and those that it leaves alone. */
  ours: string[];
  others: string[];
  /** `true`: a reply of 0 or nothing says that it has changed nothing. */
  tells: boolean;
  /** `true`: Redis carries it out at its memory limit too. */
  runsWhenFull: boolean;
  /** `true`: it deletes its keys, whatever they hold. */
  deletes: boolean;
  /** `true`: it cannot run in a script: it is one, a server may not see where its keys are, or it is too long. */
  isAlone: boolean;
}

const ALONE = new Set(
  ("eval evalsha fcall eval_ro evalsha_ro fcall_ro sort sort_ro georadius georadiusbymember xread xreadgroup").split(
    " ",
  ),
);

/** Lua hands a command so many words at most: it ends near 8,000. */
const MOST_WORDS = 7_000;

/** The advice to who moves a key to another database. */
const ELSEWHERE = "read the value, write it there, and delete it here";

/** The advice to who sends a command that is refused. */
const INSTEAD: Readonly<Record<string, string>> = {
  flushdb: "delete the keys with del(), or see store.redis and docs/limits.md for what an empty database means",
  flushall: "delete the keys with del(), or see store.redis and docs/limits.md for what an empty database means",
  swapdb: "an index and its keys must stay together",
  move: `an index belongs to one database: ${ELSEWHERE}`,
  migrate: `an index belongs to one database: ${ELSEWHERE}`,
};

/**
 * Reads a command.
 *
 * @param isOurs tells which keys the client looks after
 * @throws {TundraError} `UNSUPPORTED` for a command that is refused or not known, `BAD_ARGUMENT` for a key or another
 * word that is none
 */
export function planOf(raw: readonly unknown[], isOurs: (key: string) => boolean): Plan {
  const words = wordsOf(raw);
  const name = (words[0] ?? "").toLowerCase();
  const spec = specFor(name, words);
  const uses = new Map<string, Use | "d">();
  for (const [at, use] of placesIn(spec, words)) {
    const key = words[at]!;
    const before = uses.get(key);
    uses.set(key, before === undefined || before === use ? use : "w");
  }
  const keys = checkKeys(`run ${shown(name)}`, [...uses.keys()]);
  const deletes = spec.startsWith("d");
  return {
    name,
    words,
    keys,
    uses: keys.map((key): Use => {
      const use = uses.get(key)!;
      return !isOurs(key) ? "-" : use === "d" ? "w" : use;
    }),
    ours: keys.filter(isOurs),
    others: keys.filter((key) => !isOurs(key)),
    tells: tells(name) || (name === "set" && has(words, 3, "NX", "XX") && !has(words, 3, "GET")),
    runsWhenFull: runsWhenFull(name) || [...uses.values()].every((use) => use === "r"),
    deletes,
    isAlone: ALONE.has(name) || (!deletes && name !== "exists" && words.length > MOST_WORDS),
  };
}

/** The words of a command as text. What JSON cannot carry is none: a server would take `undefined` and `NaN` for null. */
function wordsOf(raw: readonly unknown[]): string[] {
  return raw.map((word) => {
    if (["string", "boolean", "bigint"].includes(typeof word) || Number.isFinite(word)) return String(word);
    const name = shown(String(raw[0]).toLowerCase());
    throw badArgument(`run ${name}`, "an argument", "text, a boolean or a finite number", word);
  });
}

/** The error for a command that is not carried out. */
function refused(name: string, why: string): TundraError {
  return new TundraError("UNSUPPORTED", `Cannot run ${shown(name)} on a transparent client as ${why}`);
}

function shown(name: string): string {
  return /^[a-z][a-z0-9._-]{0,31}$/.test(name) ? name.toUpperCase() : show(name);
}

/** The command's specification, as its options make it. */
function specFor(name: string, command: readonly string[]): string {
  const spec = specOf(name);
  if (spec === undefined) {
    const instead = INSTEAD[name];
    throw refused(
      name,
      instead === undefined
        ? "it must know which keys a command uses: this one it does not know; store.redis runs it, and then call ensureKs() and dirty() by hand"
        : `evicted keys would be lost or come back: ${instead}`,
    );
  }
  const { options, areKnown } = optionsOf(name, command);
  const hasOption = (option: string) => options.some(({ name }) => name === option);
  // an option that is not known may be a condition: then it must be seen what is there
  const always = areKnown ? spec : spec.replace(/(^|,)o/g, "$1w");
  switch (name) {
    case "set":
      return areKnown ? "o1" : "w1";
    case "json.set":
      return areKnown && (command[2] === "$" || command[2] === ".") ? "o1" : "w1";
    case "restore":
      return areKnown && hasOption("replace") ? "o1" : "w1";
    case "copy":
      if (hasOption("db")) throw refused(name, `an index belongs to one database: ${ELSEWHERE}`);
      return hasOption("replace") ? always : "r1,w2";
    case "sort":
    case "sort_ro":
      for (const { name: option, at } of options) {
        if ((option !== "by" && option !== "get") || !command[at + 1]?.includes("*")) continue;
        throw refused(name, "its BY and GET must name no other keys: which ones they are is only known to the server");
      }
  }
  return always;
}

function has(command: readonly string[], from: number, ...words: string[]): boolean {
  return command.slice(from).some((word) => words.includes(word.toUpperCase()));
}

const PART = /^([rwod])(?:(\d+)|@([a-z]+))(?:(#)|\*(\d*)(?::(\d))?)?~?$/;

/** The positions of a command's keys, and the use of each. */
function* placesIn(spec: string, command: readonly string[]): Generator<[number, Use | "d"]> {
  const keepsLast = spec.endsWith("~");
  for (const part of spec === "" ? [] : spec.split(",")) {
    const [, use, index, word, counted, step, share] = PART.exec(part)!;
    const begins = word === undefined
      ? [Number(index)]
      : optionsOf(command[0]!.toLowerCase(), command).options.filter(({ name }) => name === word).map(({ at }) =>
        at + 1
      );
    for (let from of begins) {
      let to = part.includes("*") ? command.length - 1 : from;
      if (share !== undefined) to = from + Math.floor((command.length - from) / Number(share)) - 1;
      if (counted !== undefined) {
        to = from + Number(command[from] ?? 0);
        from++;
      }
      if (keepsLast) to--;
      for (let at = from; at <= to && at < command.length; at += Number(step || 1)) yield [at, use as Use | "d"];
    }
  }
}
