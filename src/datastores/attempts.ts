/**
 * The attempts of one request over HTTP: their number, the waits between them, and the time limit of each. Datastores
 * with signed requests share them.
 * @module
 */
import { linkSignals, sleep, untilAborted } from "../base/abort.ts";
import type { TundraError } from "../base/errors.ts";
import { monotonicMs, random } from "../base/platform.ts";
import type { DatastoreCallOptions } from "./datastore.ts";

/** The use of another attempt: none; later; at once, with our clock corrected; at once, with new credentials. */
export type Again = "no" | "later" | "clock" | "credentials";

/** The outcome of one attempt. */
export type Outcome<T> = { reply: T } | { error: TundraError; again: Again };

/** The longest time between the first attempt and the beginning of a retry, ms. */
export const RETRY_WITHIN_MS = 5000;
const BACKOFF_MS = 50;
const MAX_BACKOFF_MS = 1500;

/** The options of requests that take back what a failed call has put: never aborted, and never refused. */
export function closingOptions({ onRequest }: DatastoreCallOptions = {}): DatastoreCallOptions {
  return {
    onRequest() {
      try {
        onRequest?.();
      } catch {
        // it would stay, and be billed
      }
    },
  };
}

/** A wait with full jitter before the attempt with this number, from 1. */
export async function backOff(attempt: number, signal: AbortSignal | undefined): Promise<void> {
  await sleep(random() * Math.min(MAX_BACKOFF_MS, BACKOFF_MS * 2 ** attempt), signal);
}

/**
 * Makes attempts until one succeeds or another is of no use. Each cause that is corrected gets one more attempt at
 * once. It rejects with the last attempt's error, the signal's reason, or what `onRequest` threw.
 *
 * @param renew forgets credentials that have expired; `false`: there are no others
 */
export async function withAttempts<T>(
  retries: number,
  renew: () => boolean,
  { signal, onRequest }: DatastoreCallOptions,
  make: () => Promise<Outcome<T>>,
): Promise<T> {
  const begunMs = monotonicMs();
  const corrected = new Set<Again>();
  for (let attempt = 1;; attempt++) {
    signal?.throwIfAborted();
    onRequest?.();
    const outcome = await make();
    if ("reply" in outcome) return outcome.reply;
    const { again } = outcome;
    if (again === "later" && attempt <= retries && monotonicMs() - begunMs <= RETRY_WITHIN_MS) {
      await backOff(attempt, signal);
    } else if (!corrected.has(again) && (again === "clock" || (again === "credentials" && renew()))) {
      corrected.add(again);
    } else throw outcome.error;
  }
}

/** Runs `act` for `firstMs`, and for `idleMs` more after each sign of progress, even if it ignores its signal. */
export async function limited<T>(
  firstMs: number,
  idleMs: number,
  signal: AbortSignal | undefined,
  act: (signal: AbortSignal, progress: () => void) => Promise<T>,
): Promise<T> {
  const link = linkSignals([signal]);
  const allow = (ms: number) => link.limit(ms, () => new Error(`no progress in ${Math.round(ms)} ms`));
  try {
    allow(firstMs);
    return await untilAborted(act(link.signal, () => allow(idleMs)), link.signal);
  } finally {
    link.release();
  }
}

/** The message of what `fetch` threw, with its cause's. */
export function reasonOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  const cause = thrown.cause instanceof Error ? thrown.cause.message : "";
  return thrown.message.includes(cause) ? thrown.message : `${thrown.message}: ${cause}`;
}

/** A message without secrets, cut off if it is long. */
export function withoutSecrets(message: string, secrets: readonly string[]): string {
  for (const secret of secrets) if (secret.length > 3) message = message.replaceAll(secret, "***");
  return message.length > 600 ? `${message.slice(0, 600)}...` : message;
}
