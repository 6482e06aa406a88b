/**
 * The list of commands. Each is loaded when it is called.
 * @module
 */
import type { Command } from "./command.ts";

/** A command's line in the help, and the way to it. */
export interface Listed {
  summary: string;
  load(): Promise<Command>;
}

/** All commands, as the help lists them. */
export const COMMANDS: Readonly<Record<string, Listed>> = {
  status: {
    summary: "what waits, what failed, what has left Redis",
    load: async () => (await import("./commands/status.ts")).status,
  },
  probe: {
    summary: "try all that Tundra needs of database and bucket",
    load: async () => (await import("./commands/probe.ts")).probeCommand,
  },
  tick: {
    summary: "archive what is due, evict what is idle",
    load: async () => (await import("./commands/tick.ts")).tick,
  },
  list: {
    summary: "keys that Tundra knows, also evicted ones",
    load: async () => (await import("./commands/list.ts")).listCommand,
  },
  dead: {
    summary: "keys that could not be archived: list, retry",
    load: async () => (await import("./commands/dead.ts")).dead,
  },
};
