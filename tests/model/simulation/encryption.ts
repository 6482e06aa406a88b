/**
 * Encryption in simulations: WebCrypto whose answers are there at once, as nothing may happen between two steps of the
 * scheduler; the keys of the simulated processes; and the oracle's own look into what they have encrypted.
 * @module
 */
import { Buffer } from "node:buffer";
import { createCipheriv, createDecipheriv, hkdfSync } from "node:crypto";

/** The id of the freezer in containers. */
export const AES_GCM = "aes-gcm";
/** The current key of simulated processes, the one after it, and that of one tenant. */
const KEYS: Record<string, Uint8Array> = {
  main: new Uint8Array(32).fill(1),
  next: new Uint8Array(32).fill(3),
  tenant: new Uint8Array(32).fill(2),
};
const TAG = 16;
const NONCE = new Uint8Array(12);

/** The master key of an id, as a key service gives it. */
export function simulatedKey(id: string): Uint8Array | undefined {
  return KEYS[id];
}

/** The id of the key for values of a key: every other one belongs to the tenant. */
export function tenantOf(key: string): string | undefined {
  return key.charCodeAt(key.length - 1) % 2 === 0 ? "tenant" : undefined;
}

/**
 * The bytes that a frame hides. `name` is its object's; `wrong` is told what must not be.
 *
 * @returns the key id and the bytes
 */
export function openFrame(
  frame: Uint8Array,
  name: string,
  wrong: (what: string) => never,
): { id: string; bytes: Uint8Array } {
  const at = 2 + frame[1]!;
  const id = String.fromCharCode(...frame.subarray(2, at));
  const key = simulatedKey(id) ?? wrong(`${name} has the unknown key ${id}`);
  const info = Buffer.from(`tundra aes-gcm 1\0${id}`);
  const derived = new Uint8Array(hkdfSync("sha256", key, frame.slice(at, at + 32), info, 64));
  if (Buffer.compare(derived.subarray(32), frame.subarray(at + 32, at + 64)) !== 0) {
    wrong(`${name}: another commitment`);
  }
  const cipher = createDecipheriv("aes-256-gcm", derived.subarray(0, 32), NONCE);
  cipher.setAAD(Buffer.concat([frame.subarray(0, at), Buffer.from(name)]));
  cipher.setAuthTag(frame.subarray(frame.length - TAG));
  try {
    const bytes = Buffer.concat([cipher.update(frame.subarray(at + 64, frame.length - TAG)), cipher.final()]);
    return { id, bytes: new Uint8Array(bytes) };
  } catch {
    return wrong(`${name} is not bound to its name`);
  }
}

type Params = { name: string; salt: Uint8Array; info: Uint8Array; iv: Uint8Array; additionalData: Uint8Array };
interface Raw {
  raw: Uint8Array;
}

/** Makes WebCrypto's HKDF and AES-GCM answer at once in this process, for ever. */
export function answerAtOnce(): void {
  const subtle = crypto.subtle as unknown as Record<string, unknown>;
  const { importKey } = crypto.subtle;
  if (Object.hasOwn(subtle, "deriveBits")) return;
  const buffer = (bytes: Uint8Array) => Promise.resolve(new Uint8Array(bytes).buffer);
  const own: Record<string, (...args: never[]) => Promise<unknown>> = {
    importKey(format: string, bytes: Uint8Array, algorithm: string, ...rest: unknown[]) {
      if (algorithm === "HKDF" || algorithm === "AES-GCM") return Promise.resolve({ raw: new Uint8Array(bytes) });
      return (importKey as (...args: unknown[]) => Promise<unknown>).call(subtle, format, bytes, algorithm, ...rest);
    },
    deriveBits: ({ salt, info }: Params, { raw }: Raw, bits: number) =>
      buffer(new Uint8Array(hkdfSync("sha256", raw, salt, info, bits / 8))),
    encrypt({ iv, additionalData }: Params, { raw }: Raw, bytes: Uint8Array) {
      const cipher = createCipheriv("aes-256-gcm", raw, iv);
      cipher.setAAD(additionalData);
      return buffer(Buffer.concat([cipher.update(bytes), cipher.final(), cipher.getAuthTag()]));
    },
    decrypt({ iv, additionalData }: Params, { raw }: Raw, bytes: Uint8Array) {
      const cipher = createDecipheriv("aes-256-gcm", raw, iv);
      cipher.setAAD(additionalData);
      cipher.setAuthTag(bytes.subarray(bytes.length - TAG));
      try {
        return buffer(Buffer.concat([cipher.update(bytes.subarray(0, bytes.length - TAG)), cipher.final()]));
      } catch {
        return Promise.reject(new DOMException("it is not authentic", "OperationError"));
      }
    },
  };
  for (const [name, value] of Object.entries(own)) Object.defineProperty(subtle, name, { value });
}
