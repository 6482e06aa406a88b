/**
 * Encryption in tests: fixed vectors, which run on every runtime, and keys.
 * @module
 */
import { assertEquals, assertRejects } from "@std/assert";
import { deflateFreezer, type Freezer, TundraError } from "../../mod.ts";
import { aesGcmFreezer, type AesGcmOptions } from "../../src/encryption/mod.ts";
import { PLATFORM, setPlatform } from "../../src/base/platform.ts";
import { aesGcm, aesGcmKey, hkdfKey, hkdfSha256 } from "../../src/freezers/webcrypto.ts";
import frames from "../vectors/aes_gcm_frames.json" with { type: "json" };
import wycheproof from "../vectors/wycheproof.json" with { type: "json" };

/** A master key: the same byte, 32 times. */
export function masterKey(byte: number): Uint8Array {
  return new Uint8Array(32).fill(byte);
}

/** Compression and encryption, under the key `a` unless told otherwise. */
export function encrypted(options: Partial<AesGcmOptions> = {}): Freezer[] {
  return [deflateFreezer(), aesGcmFreezer({ keys: { a: masterKey(1) }, current: "a", ...options })];
}

function bytesOf(digits: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

function digitsOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Freezes with a fixed salt. */
export async function withSalt<T>(salt: Uint8Array<ArrayBuffer>, act: () => T | Promise<T>): Promise<T> {
  setPlatform({ ...PLATFORM, randomBytes: () => salt });
  try {
    return await act();
  } finally {
    setPlatform();
  }
}

/** The frames that another implementation has made are those of the freezer, and it thaws them, and no other. */
export async function checkFrames(): Promise<number> {
  for (const { key, id, salt, name, bytes, frame } of frames) {
    const freezer = aesGcmFreezer({ keys: { [id]: bytesOf(key) }, current: id });
    const frozen = await withSalt(bytesOf(salt), () => freezer.freeze(bytesOf(bytes), { name }));
    assertEquals(digitsOf(frozen), frame, name);
    assertEquals(digitsOf(await freezer.thaw(bytesOf(frame), { name })), bytes, name);
    const changed = bytesOf(frame);
    changed[changed.length - 1]! ^= 1;
    const error = await assertRejects(async () => await freezer.thaw(changed, { name }), TundraError);
    assertEquals(error.code, "CORRUPT");
  }
  return frames.length;
}

/** Wycheproof's vectors, against the primitives as the freezer calls them. */
export async function checkWycheproof(): Promise<number> {
  for (const { tcId, ikm, salt, info, size, okm, result } of wycheproof.hkdf) {
    const derive = async () => await hkdfSha256(await hkdfKey(bytesOf(ikm)), bytesOf(salt), bytesOf(info), size);
    if (result === "valid") assertEquals(digitsOf(await derive()), okm, `HKDF ${tcId}`);
    else await assertRejects(derive, `HKDF ${tcId}`);
  }
  for (const { tcId, key, iv, aad, msg, ct, tag, result } of wycheproof.aesGcm) {
    const run = async (act: "encrypt" | "decrypt", bytes: string) =>
      digitsOf(
        await aesGcm(act, await aesGcmKey(bytesOf(key)), bytesOf(iv), bytesOf(aad), bytesOf(bytes)),
      );
    if (result === "valid") {
      assertEquals(await run("encrypt", msg), ct + tag, `AES-GCM ${tcId}`);
      assertEquals(await run("decrypt", ct + tag), msg, `AES-GCM ${tcId}`);
    } else await assertRejects(() => run("decrypt", ct + tag), `AES-GCM ${tcId}`);
  }
  return wycheproof.hkdf.length + wycheproof.aesGcm.length;
}
