/**
 * The attempts of one request over HTTP: their number, the waits between them, and the time limit of each. Datastores
 * with signed requests share them.
 * @module
 */
import { linkSignals, sleep, untilAborted } from "../base/abort.ts";
import type { TundraError } from "../base/errors.ts";
import { monotonicMs, random } from "../base/platform.ts";
import type { DatastoreCallOptions } from "./datastore.ts";

/** The use of another attempt after one that has failed. */
export type Again = "no" | "later" | "with our clock corrected" | "with new credentials";

/** The outcome of one attempt. */
export type Outcome<T> = { reply: T } | { error: TundraError; again: Again };

/** The longest time between the first attempt and the beginning of a retry, ms. */
export const RETRY_WITHIN_MS = 5000;
const FIRST_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 1500;

/** A wait with full jitter before the attempt with this number, from 1. */
export async function backOff(attempt: number, signal: AbortSignal | undefined): Promise<void> {
  await sleep(random() * Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** (attempt - 1)), signal);
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
  for (let attempt = 0;; attempt++) {
    signal?.throwIfAborted();
    onRequest?.();
    const outcome = await make();
    if ("reply" in outcome) return outcome.reply;
    const { again, error } = outcome;
    if (again.startsWith("with ") && !corrected.has(again) && (again !== "with new credentials" || renew())) {
      corrected.add(again);
      continue;
    }
    const late = monotonicMs() - begunMs > RETRY_WITHIN_MS;
    if (again !== "later" || attempt >= retries || late) throw error;
    await backOff(attempt + 1, signal);
  }
}

/** Runs `act` for `firstMs`, and for `idleMs` more after each sign of progress, even if it ignores its signal. */
export async function limited<T>(
  firstMs: number,
  idleMs: number,
  signal: AbortSignal | undefined,
  act: (signal: AbortSignal, progress: () => void) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
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
  return cause === "" || thrown.message.includes(cause) ? thrown.message : `${thrown.message}: ${cause}`;
}

/** A message without secrets, cut off if it is long. */
export function withoutSecrets(message: string, secrets: readonly string[]): string {
  for (const secret of secrets) if (secret.length > 3) message = message.replaceAll(secret, "***");
  return message.length > 600 ? message.slice(0, 600) + "..." : message;
}

/** The time as signatures have it: `20261126T120000Z`. */
export function signingTime(ms: number): string {
  return new Date(ms).toISOString().replace(/[:-]|\.\d{3}/g, "");
}
