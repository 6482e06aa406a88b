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
  advise: {
    summary: "what archiving would cost and save",
    load: async () => (await import("./commands/advise.ts")).adviseCommand,
  },
  adopt: {
    summary: "take the keys of an existing database in",
    load: async () => (await import("./commands/adopt.ts")).adoptCommand,
  },
  tick: {
    summary: "archive what is due, evict what is idle",
    load: async () => (await import("./commands/tick.ts")).tick,
  },
  list: {
    summary: "keys that Tundra knows, also evicted ones",
    load: async () => (await import("./commands/list.ts")).listCommand,
  },
  versions: {
    summary: "what the archive holds of a key",
    load: async () => (await import("./commands/versions.ts")).versionsCommand,
  },
  restore: {
    summary: "make an archived version a key's value again",
    load: async () => (await import("./commands/restore.ts")).restore,
  },
  peek: {
    summary: "read a value, evicted or not, and leave it there",
    load: async () => (await import("./commands/peek.ts")).peekCommand,
  },
  dead: {
    summary: "keys that could not be archived: list, retry",
    load: async () => (await import("./commands/dead.ts")).dead,
  },
  verify: {
    summary: "compare the archive with what Redis says of it",
    load: async () => (await import("./commands/verify.ts")).verifyCommand,
  },
  sweep: {
    summary: "delete from the archive what nothing needs",
    load: async () => (await import("./commands/sweep.ts")).sweepCommand,
  },
  rebuild: {
    summary: "make the index anew of the archive",
    load: async () => (await import("./commands/rebuild.ts")).rebuildCommand,
  },
  erase: {
    summary: "remove every trace of keys, with a proof",
    load: async () => (await import("./commands/erase.ts")).eraseCommand,
  },
  warm: {
    summary: "bring evicted keys back ahead of need",
    load: async () => (await import("./commands/warm.ts")).warmCommand,
  },
  page: {
    summary: "serve the page of @tundra/store/page on 127.0.0.1",
    load: async () => (await import("./commands/page.ts")).page,
  },
};
