/**
 * A request of a certain size that changes nothing: it shows that the server accepts as much.
 * @module
 */
import type { CallOptions, Connection } from "../upstash/connection.ts";
import { SCRIPT_BYTES } from "../upstash/requests.ts";
import type { Index } from "./prelude.ts";

/**
 * Sends a request with so much room besides a script. One request, 1 billable command; an error of the command is as
 * good as a reply.
 *
 * @throws {TundraError} `TOO_LARGE`, and the limit is lower from then on; or `UNAVAILABLE`
 */
export async function proveSize(
  { connection, index }: { connection: Connection; index: Index },
  roomBytes: number,
  call?: CallOptions,
): Promise<void> {
  const command = ["HEXISTS", index.keys.stats, ""];
  command[2] = "-".repeat(roomBytes + SCRIPT_BYTES - JSON.stringify(command).length);
  await connection.command(command, { ...call, retries: 1 });
}
