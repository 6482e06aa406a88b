/**
 * Requests that all have the same options, for a whole call of the store.
 * @module
 */
import type { CallOptions, Connection } from "./connection.ts";
import type { ScriptRunner } from "./script.ts";

/** The options of a call in place of those that a request has. */
export type Merge = (own?: CallOptions) => CallOptions;

/** The same connection and scripts, with other options for each request. */
export function withOptions(
  connection: Connection,
  scripts: ScriptRunner,
  merged: Merge,
): { connection: Connection; scripts: ScriptRunner } {
  return {
    connection: {
      ...connection,
      command: (command, own) => connection.command(command, merged(own)),
      multi: (commands, own) => connection.multi(commands, merged(own)),
      pipeline: (commands, own) => connection.pipeline(commands, merged(own)),
    },
    scripts: { ...scripts, run: (script, keys, args, own) => scripts.run(script, keys, args, merged(own)) },
  };
}
