/**
 * Requests that all have the same options, for a whole call of the store.
 * @module
 */
import type { CallOptions, Connection } from "./connection.ts";
import type { ScriptRunner } from "./script.ts";

/** The same connection and scripts; a request's own options go before these. */
export function withOptions(
  connection: Connection,
  scripts: ScriptRunner,
  defaults: CallOptions,
): { connection: Connection; scripts: ScriptRunner } {
  const merged = (own: CallOptions = {}): CallOptions => ({
    ...defaults,
    ...Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined)),
  });
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
