/**
 * The number of commands that Redis ran, as a bill counts them.
 * @module
 */
import { type CommandPart, type redisConnection, RedisError, type Reply } from "../resp.ts";

/** Counts commands since a moment. */
export interface CommandCounter {
  /** Commands since the last `reset()`, without INFO and those of `uncounted`. */
  count(): Promise<number>;
  reset(): Promise<void>;
  /** Runs a command that is not counted. Rejects with RedisError. */
  uncounted(command: CommandPart[]): Promise<Reply>;
}

/** A counter by Redis' own statistics. Its connection runs nothing else. */
export function commandCounter(connection: ReturnType<typeof redisConnection>): CommandCounter {
  let zero = { runId: "", calls: 0 };
  const counted = async () => {
    const [stats, server] = await connection.pipeline([["INFO", "commandstats"], ["INFO", "server"]]);
    const runId = /^run_id:(\w+)/m.exec(String(server))?.[1] ?? "";
    if (zero.runId !== runId) zero = { runId, calls: 0 }; // Redis was restarted: its counters began anew
    return totalCalls(stats!);
  };
  return {
    count: async () => await counted() - zero.calls,
    async reset() {
      zero.calls = await counted();
    },
    async uncounted(command) {
      const info = ["INFO", "commandstats"];
      const [before, reply, after] = await connection.pipeline([info, command, info]);
      zero.calls += totalCalls(after!) - totalCalls(before!);
      if (reply instanceof RedisError) throw reply;
      return reply!;
    },
  };
}

function totalCalls(commandstats: Reply | RedisError): number {
  let total = 0;
  for (const [, name, calls] of String(commandstats).matchAll(/^cmdstat_(\S+?):calls=(\d+)/gm)) {
    if (name !== "info") total += Number(calls);
  }
  return total;
}
