/**
 * The check that one request can bring a value back; else it is archived in segments. A process that has met no refusal
 * may know too high a limit, so such a value is archived only after the server has accepted a request of its size.
 * @module
 */
import { TundraError } from "../base/errors.ts";
import { type Semaphore, semaphore } from "../base/semaphore.ts";
import { proveSize } from "../scripts/prove_size.ts";
import type { Connection } from "../upstash/connection.ts";
import { payloadBytes } from "../upstash/payload.ts";
import { keyBytes, roomIn } from "../upstash/requests.ts";
import type { TickRun } from "./run.ts";

/** Requests of this size are taken for granted: no server or proxy is known that accepts less by default. */
const GRANTED_BYTES = 1_000_000;

/** The room of the largest request that a connection's server has proved to accept. */
interface Proof {
  bytes: number;
  /** One at a time: the next one may be spared. */
  turn: Semaphore;
}

const proofs = new WeakMap<Connection["requester"], Proof>();

/** Tells if one request can bring a value back. */
export async function isRestorable(run: TickRun, key: string, dump: Uint8Array): Promise<boolean> {
  const { connection } = run.context;
  const room = () => roomIn(connection.requestLimit()) - keyBytes(key);
  const granted = roomIn(GRANTED_BYTES) - keyBytes(key);
  if (2 * dump.length <= Math.min(room(), granted)) return true;
  const bytes = payloadBytes(dump);
  if (bytes <= room() && bytes > granted) await prove(run, bytes + keyBytes(key));
  return bytes <= room();
}

/** Sends a request with that much room that changes nothing, unless as much is proved. A refusal lowers the limit. */
async function prove({ context, call }: TickRun, bytes: number): Promise<void> {
  const { connection } = context;
  let proof = proofs.get(connection.requester);
  if (!proof) proofs.set(connection.requester, proof = { bytes: 0, turn: semaphore(1) });
  const done = await proof.turn.acquire();
  try {
    if (bytes <= proof.bytes || bytes > roomIn(connection.requestLimit())) return;
    await proveSize(context, bytes, call);
    proof.bytes = bytes;
  } catch (error) {
    if (!(error instanceof TundraError && error.code === "TOO_LARGE")) throw error;
  } finally {
    done();
  }
}
