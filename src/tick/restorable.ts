/**
 * The check that a value can come back: one request must carry it. A process that has met no refusal may know too high
 * a limit, so a large value is archived only after the server has accepted a request of its size.
 * @module
 */
import { show, TundraError } from "../base/errors.ts";
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

const proofs = new WeakMap<Connection, Proof>();

/** Refuses a value that no request could bring back, so that it is never archived nor evicted. */
export async function checkRestorable(run: TickRun, key: string, dump: Uint8Array): Promise<void> {
  const { connection } = run.context;
  const room = () => roomIn(connection.requestLimit()) - keyBytes(key);
  const granted = roomIn(GRANTED_BYTES) - keyBytes(key);
  if (2 * dump.length <= Math.min(room(), granted)) return;
  const bytes = payloadBytes(dump);
  if (bytes <= room() && bytes > granted) await prove(run, bytes + keyBytes(key));
  const most = room();
  if (bytes > most) {
    throw new TundraError(
      "TOO_LARGE",
      `Cannot archive ${show(key)} as its value must fit into one request to be restored, ` +
        `at most ${most} bytes: it takes ${bytes}; it stays in Redis`,
      { keys: [key] },
    );
  }
}

/** Sends a request with that much room that changes nothing, unless as much is proved. A refusal lowers the limit. */
async function prove({ context, call }: TickRun, bytes: number): Promise<void> {
  const { connection } = context;
  let proof = proofs.get(connection);
  if (!proof) proofs.set(connection, proof = { bytes: 0, turn: semaphore(1) });
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
