/**
 * Dead keys, read outside of scripts.
 * @module
 */
import { type CallOptions, type Connection, text } from "../upstash/connection.ts";
import { asMany } from "../upstash/requests.ts";
import { ask } from "../upstash/script.ts";
import type { Index } from "./prelude.ts";

/** A dead key, and the time at which it became dead (ms). */
export interface DeadKey {
  key: string;
  at: number;
}

/**
 * At most `limit` dead keys after the first `offset`, the one that has been dead the longest first. One command, and
 * more if the names do not fit into one reply.
 */
export async function listDead(
  { connection, index }: { connection: Connection; index: Index },
  offset: number,
  limit: number,
  call?: CallOptions,
): Promise<DeadKey[]> {
  const dead: DeadKey[] = [];
  for (let isLast = false; !isLast;) {
    const from = offset + dead.length;
    const flat = await asMany(limit - dead.length, async (most) => {
      const range = ["ZRANGE", index.keys.dead, from, from + most - 1, "WITHSCORES"];
      const some = await ask(connection, "list dead keys", range, call) as string[];
      isLast = some.length < 2 * most || from + most === offset + limit;
      return some;
    });
    for (let i = 0; i < flat.length; i += 2) dead.push({ key: text(flat[i]!), at: Number(flat[i + 1]) });
  }
  return dead;
}
