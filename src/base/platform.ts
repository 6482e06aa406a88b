/**
 * The platform: the only source of time, timers, randomness and digests. Nothing here runs at import.
 * @module
 */

/** Time, timers, randomness and digests. A simulation brings its own, see {@linkcode setPlatform}. */
export interface Platform {
  monotonicMs(): number;
  wallClockMs(): number;
  uuid(): string;
  nonce(): string;
  random(): number;
  /** Default: the platform's own. */
  randomBytes?(length: number): Uint8Array<ArrayBuffer>;
  after(ms: number, act: () => void): () => void;
  digest(algorithm: "SHA-1" | "SHA-256", data: Uint8Array<ArrayBuffer>): Promise<ArrayBuffer>;
  /** Default: 1,000. */
  readonly leastDurationMs?: number;
}

/** The platform's own. */
export const PLATFORM: Platform = {
  monotonicMs: () => performance.now(),
  wallClockMs: () => Date.now(),
  uuid: () => crypto.randomUUID(),
  nonce: () => crypto.getRandomValues(new Uint32Array(1))[0]!.toString(16).padStart(8, "0"),
  random: () => Math.random(),
  after(ms, act) {
    const timer = setTimeout(act, ms);
    return () => clearTimeout(timer);
  },
  digest: (algorithm, data) => crypto.subtle.digest(algorithm, data),
};

let platform = PLATFORM;

/** Replaces the platform by `other`, or brings it back; for simulations in tests only. */
export function setPlatform(other?: Platform): void {
  platform = other ?? PLATFORM;
}

/** The least `leaseMs` and `deadlineMs` of a tick: a smaller number is meant as seconds. Tests may need less. */
export function leastDurationMs(): number {
  return platform.leastDurationMs ?? 1_000;
}

/**
 * Tells if this is Cloudflare's runtime. There a promise ends with the request that made it, and requests have no
 * cache.
 */
export function onWorkerd(): boolean {
  return globalThis.navigator?.userAgent === "Cloudflare-Workers";
}

/** Milliseconds of a clock that never goes back; only differences mean anything. */
export function monotonicMs(): number {
  return platform.monotonicMs();
}

/** The wall clock, milliseconds since 1970. */
export function wallClockMs(): number {
  return platform.wallClockMs();
}

/** A random UUID, version 4. */
export function uuid(): string {
  return platform.uuid();
}

/** Eight random hexadecimal digits. */
export function nonce(): string {
  return platform.nonce();
}

/** A random number in [0, 1), for jitter. */
export function random(): number {
  return platform.random();
}

/** Random bytes, for cryptography. */
export function randomBytes(length: number): Uint8Array<ArrayBuffer> {
  return platform.randomBytes?.(length) ?? crypto.getRandomValues(new Uint8Array(length));
}

/** The digest of `data`. */
export async function digest(
  algorithm: "SHA-1" | "SHA-256",
  data: Uint8Array,
): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await platform.digest(algorithm, data as Uint8Array<ArrayBuffer>)); // never shared memory
}

/** The digest of `data`, hexadecimal. */
export async function hexDigest(algorithm: "SHA-1" | "SHA-256", data: Uint8Array): Promise<string> {
  return hex(await digest(algorithm, data));
}

/** Bytes as hexadecimal digits. */
export function hex(bytes: Uint8Array): string {
  let digits = "";
  for (let i = 0; i < bytes.length; i++) digits += (256 + bytes[i]!).toString(16).slice(1);
  return digits;
}

/** Calls `act` after `ms` milliseconds unless the returned function is called first. */
export function after(ms: number, act: () => void): () => void {
  return platform.after(ms, act);
}
