/**
 * The arguments of a command: which there are, and their values.
 * @module
 */
import { parseArgs } from "node:util";

/** A wrong argument or configuration: exit code 2. */
export class UsageError extends Error {}

/** An option of a command. */
export interface OptionSpec {
  /** The name of its value in the help; without it the option is there or not. */
  value?: string;
  /** One line for the help. */
  help: string;
}

/** Options by name. */
export type OptionSpecs = Readonly<Record<string, OptionSpec>>;

const DURATIONS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, min: 60_000, h: 3_600_000, d: 86_400_000 };
const SIZES: Record<string, number> = {
  "": 1,
  b: 1,
  kb: 1_024,
  kib: 1_024,
  mb: 2 ** 20,
  mib: 2 ** 20,
  gb: 2 ** 30,
  gib: 2 ** 30,
};

/** The arguments as they were given. */
export interface Arguments {
  /** Words that are no options. */
  readonly words: readonly string[];
  /** `true` if the option was given. */
  has(name: string): boolean;
  /** The value of an option. */
  text(name: string): string | undefined;
  /** A whole number, at least `least`: 1 if it is left out. */
  count(name: string, least?: number): number | undefined;
  /** A number, more than 0 and at most 1: `0.1` or `10%`. */
  share(name: string): number | undefined;
  /** Milliseconds: `30s`, `10m`, `12h`, `7d`. */
  durationMs(name: string): number | undefined;
  /** Bytes: `2048`, `16KiB`, `1MiB`. */
  bytes(name: string): number | undefined;
  /** A time: `2026-11-25T12:00:00Z`, `2026-11-25`, or `3h` for three hours ago. */
  date(name: string): Date | undefined;
  /** One of some words. */
  choice<T extends string>(name: string, words: readonly T[]): T | undefined;
}

function argumentsOf(words: readonly string[], values: ReadonlyMap<string, string | true>): Arguments {
  const textOf = (name: string): string | undefined => {
    const value = values.get(name);
    return value === true ? undefined : value;
  };
  const read = <T>(name: string, must: string, valueOf: (text: string) => T | undefined): T | undefined => {
    const text = textOf(name);
    if (text === undefined) return undefined;
    const value = valueOf(text);
    if (value === undefined) {
      throw new UsageError(`--${name} must be ${must}: current value is ${JSON.stringify(text)}`);
    }
    return value;
  };
  return {
    words,
    has: (name) => values.has(name),
    text: textOf,
    count: (name, least = 1) =>
      read(name, `a whole number, at least ${least}`, (text) => {
        const value = /^\d{1,15}$/.test(text.replaceAll("_", "")) ? Number(text.replaceAll("_", "")) : NaN;
        return value >= least ? value : undefined;
      }),
    share: (name) =>
      read(name, "a share such as 0.1 or 10%", (text) => {
        const value = /^\d{1,9}(\.\d+)?%?$/.test(text) ? parseFloat(text) / (text.endsWith("%") ? 100 : 1) : NaN;
        return value > 0 && value <= 1 ? value : undefined;
      }),
    durationMs: (name) =>
      read(name, "a duration such as 30s, 10m, 12h or 7d", (text) => {
        const [, digits, unit] = /^(\d{1,9}(?:\.\d+)?) ?(ms|s|min|m|h|d)$/.exec(text) ?? [];
        return digits === undefined ? undefined : Math.round(Number(digits) * DURATIONS[unit!]!);
      }),
    bytes: (name) =>
      read(name, "a size such as 2048, 16KiB or 1MiB", (text) => {
        const [, digits, unit] = /^(\d{1,15}(?:\.\d+)?) ?([kmg]?i?b?)$/i.exec(text) ?? [];
        const each = unit === undefined ? undefined : SIZES[unit.toLowerCase()] ?? SIZES[`${unit.toLowerCase()}b`];
        return each === undefined ? undefined : Math.round(Number(digits) * each);
      }),
    date: (name) =>
      read(name, "a time such as 2026-11-25T12:00:00Z, or 3h for three hours ago", (text) => {
        const [, digits, unit] = /^(\d{1,9}) ?(s|min|m|h|d)$/.exec(text) ?? [];
        const ms = digits === undefined ? NaN : Date.now() - Number(digits) * DURATIONS[unit!]!;
        const date = new Date(Number.isNaN(ms) && /^\d{4}-/.test(text) ? text : ms);
        return Number.isNaN(date.getTime()) ? undefined : date;
      }),
    choice: (name, words) => read(name, `one of ${words.join(", ")}`, (text) => words.find((word) => word === text)),
  };
}

/**
 * Reads arguments by their specification. Messages are the same on all runtimes, so the checks are made here.
 *
 * @throws {UsageError} an option is not known, lacks its value, or has one that it does not take
 */
export function readArguments(args: readonly string[], specs: OptionSpecs): Arguments {
  const options = Object.fromEntries(
    Object.entries(specs).map(([name, { value }]) => [name, { type: value ? "string" as const : "boolean" as const }]),
  );
  const { tokens } = parseArgs({
    args: [...args],
    options,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const values = new Map<string, string | true>();
  const words: string[] = [];
  for (const token of tokens) {
    if (token.kind === "positional") words.push(token.value);
    if (token.kind !== "option") continue;
    const { rawName, value } = token;
    const name = rawName === "-h" ? "help" : token.name;
    const spec = Object.hasOwn(specs, name) ? specs[name] : undefined;
    if (spec === undefined) throw new UsageError(`There is no option ${JSON.stringify(rawName)}`);
    if (spec.value === undefined && value !== undefined) throw new UsageError(`--${name} takes no value`);
    if (spec.value !== undefined && (value === undefined || value === "")) {
      throw new UsageError(`--${name} needs a value: --${name} ${spec.value}`);
    }
    values.set(name, value ?? true);
  }
  return argumentsOf(words, values);
}
