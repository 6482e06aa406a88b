/**
 * Keys of the database, read outside of scripts.
 * @module
 */
import { binary, type CallOptions, type Connection, type RedisCommand, text } from "../upstash/connection.ts";
import { asMany } from "../upstash/requests.ts";
import { ask } from "../upstash/script.ts";

/** The cursor of a scan's beginning, and of its end. */
export const SCAN_START = "0";

/** Keys that a step of a scan looks at. */
const STEP = 1_000;

/** Limits of a scan; see Redis' `SCAN`. */
export interface ScanOptions {
  match?: string;
  type?: string;
}

/** A step of a scan. */
export interface ScanStep {
  /** The cursor of the next step; {@linkcode SCAN_START} if this was the last. */
  cursor: string;
  /** Names in UTF-8, each once. */
  keys: string[];
  /** Names that are no UTF-8, with U+FFFD for what is none. */
  unreadable: string[];
}

/** One step of a scan. One command. */
export async function scan(
  connection: Connection,
  what: string,
  cursor: string,
  { match, type }: ScanOptions,
  call?: CallOptions,
): Promise<ScanStep> {
  const [next, found] = await asMany(STEP, (count) => {
    const command: RedisCommand = ["SCAN", cursor];
    if (match !== undefined) command.push("MATCH", match);
    command.push("COUNT", count);
    if (type !== undefined) command.push("TYPE", type);
    return ask(connection, what, command, call) as Promise<[string, string[]]>;
  });
  const keys: string[] = [];
  const unreadable: string[] = [];
  for (const name of new Set(found)) {
    const key = text(name);
    (key === name || binary(new TextEncoder().encode(key)) === name ? keys : unreadable).push(key);
  }
  return { cursor: next, keys, unreadable };
}
