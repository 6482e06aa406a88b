/**
 * A command of the command line.
 * @module
 */
import type { OptionSpecs } from "./arguments.ts";
import type { Run } from "./run.ts";

/** A command. */
export interface Command {
  /** Words after its name, for the help: `KEY [VERSION]`. */
  usage?: string;
  /** Sentences for the help. */
  about: string;
  /** Its own options. */
  options?: OptionSpecs;
  /** `true`: options of a store that ticks heed are taken. */
  ticks?: boolean;
  /** One example for the help, without `tundra`. */
  example: string;
  /** The number of words that it takes. */
  words?: readonly [least: number, most: number];
  /** Runs it; returns the exit code. */
  run(run: Run): Promise<number>;
}

/** The option of commands that change something. */
export const YES: OptionSpecs = {
  yes: { help: "do it; without it nothing is changed, and what would be done is said" },
};

/** The option for a pattern of keys. */
export const MATCH: OptionSpecs = { match: { value: "PATTERN", help: "keys that match, as in Redis' SCAN: 'cart:*'" } };

/** The option for bounds on time. */
export const DEADLINE: OptionSpecs = {
  deadline: { value: "DURATION", help: "end after so long; the next run goes on" },
};
