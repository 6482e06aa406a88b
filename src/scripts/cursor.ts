/**
 * Cursors: where an operation goes on that a bound has interrupted. No script is needed: each is one command, and a
 * late copy of it only moves the operation.
 * @module
 */
import type { CallOptions, Connection } from "../upstash/connection.ts";
import { ask } from "../upstash/script.ts";
import type { Index } from "./prelude.ts";

/** The means to read and write a cursor. */
interface Keeping {
  connection: Connection;
  index: Index;
}

/** A cursor that nobody uses for so long goes. */
export const CURSOR_KEPT_MS = 30 * 24 * 60 * 60 * 1000;

/** The cursor of an operation; `undefined` if it begins at the beginning. One command. */
export async function readCursor(
  { connection, index }: Keeping,
  name: string,
  call?: CallOptions,
): Promise<string | undefined> {
  const reply = await ask(connection, "read a cursor", ["GET", index.keys.cursor(name)], call);
  return typeof reply === "string" ? reply : undefined;
}

/** Keeps the cursor of an operation for 30 days, or `keptMs`, or removes it if there is none. One command. */
export async function writeCursor(
  { connection, index }: Keeping,
  name: string,
  cursor: string | undefined,
  call?: CallOptions,
  keptMs = CURSOR_KEPT_MS,
): Promise<void> {
  const key = index.keys.cursor(name);
  const command = cursor === undefined ? ["DEL", key] : ["SET", key, cursor, "PX", String(keptMs)];
  await ask(connection, "keep a cursor", command, call);
}
