/**
 * Encryption: AES-256-GCM, each unit under a key that is used once.
 *
 * A frame, the frozen bytes of one unit (an object with one version, a block, a directory):
 *
 * | offset | bytes | what |
 * | --- | --- | --- |
 * | 0 | 1 | format of the frame: 1 |
 * | 1 | 1 | n: the length of the key id, 1 to 64 |
 * | 2 | n | the key id, ASCII |
 * | 2 + n | 32 | salt: random, of this unit alone |
 * | 34 + n | 32 | commitment to the master key and the id |
 * | 66 + n | | the ciphertext, and a tag of 16 bytes |
 *
 *     key, commitment = HKDF-SHA-256(master key, salt, "tundra aes-gcm 1" NUL key id), 32 bytes each
 *     ciphertext, tag = AES-256-GCM(key, nonce of 12 zeros, associated data: bytes 0 to 2 + n, the object's name)
 *
 * The salt makes the key, so a nonce that is always the same is never used twice with one key. GCM alone commits to no
 * key: somebody who knows two keys can make bytes that both decrypt. So the commitment is compared before anything is
 * decrypted, and tells a wrong key from damage.
 * @see https://www.rfc-editor.org/rfc/rfc5869
 * @module
 */
import type { Freezer, FrozenObject } from "../archive/freezer.ts";
import { checkBoolean, checkFunction, checkNames, checkNumber } from "../base/arguments.ts";
import { badArgument, show, TundraError } from "../base/errors.ts";
import { hex, randomBytes } from "../base/platform.ts";
import {
  checkKeyBytes,
  checkMasterKeys,
  KEY_ID,
  type MasterKey,
  type MasterKeys,
  masterKeys,
  unknownKey,
} from "./master_keys.ts";
import { aesGcm, aesGcmKey, hkdfKey, hkdfSha256, hmacSha256 } from "./webcrypto.ts";

export type { MasterKey };

/** The id in archive objects. */
export const AES_GCM_ID = "aes-gcm";

const FORMAT = 1;
const SALT = 32;
const COMMITMENT = 32;
const TAG = 16;
const NONCE = new Uint8Array(12);
const INFO = "tundra aes-gcm 1\0";
const NAME_INFO = "tundra object names 1";
const MAKE = "make an AES-GCM freezer";
const KEY_TTL_MS = 300_000;
const KEY_TIMEOUT_MS = 10_000;
const utf8 = new TextEncoder();

/** Options of {@linkcode aesGcmFreezer}. */
export interface AesGcmOptions {
  /**
   * Master keys by their ids: 32 random bytes each, or functions that ask a key service for them. Or one function for
   * all ids, for very many tenants: it answers `undefined` for an id that does not exist. An id is 1 to 64 characters
   * `A-Z a-z 0-9 . _ : / @ + = -`, is no secret, and never stands for another key.
   */
  keys: Readonly<Record<string, MasterKey>> | ((id: string) => KeyAnswer | Promise<KeyAnswer>);
  /** The id of the key that encrypts from now on. */
  current: string;
  /**
   * Names the id of the key for the value of one Redis key, such as one for each tenant; `undefined` means `current`.
   * The same key must always get the same answer until its id is rotated. What names many keys, the directories of
   * packs, is encrypted under `current`.
   */
  keyFor?: (key: string) => string | undefined;
  /**
   * Keys that functions have given are used for so many milliseconds without asking again, 0 to 86,400,000 (a day).
   *
   * @default {300_000}
   */
  keyTtlMs?: number;
  /**
   * A function that has not given a key after so many milliseconds has failed, 1 to 600,000.
   *
   * @default {10_000}
   */
  keyTimeoutMs?: number;
  /**
   * `true`: what was archived without encryption is read as well, as while an older archive is being encrypted. Then
   * whoever may write to the bucket can forge an object, as one that is not encrypted.
   *
   * @default {false}
   */
  acceptPlain?: boolean;
  /**
   * 32 random bytes that hide keys in the names of objects of their own, by HMAC-SHA-256: a listing then shows no key.
   * Whatever looks for keys in the archive's names (`rebuild`, `sweep`, `verify`, `erase` by a pattern, `rotate`) reads
   * an object of each such key. Give it before the first tick: it stays the same for as long as the archive lives, and
   * with another one, or without it, values in objects of their own are `LOST` until it is back.
   */
  nameKey?: Uint8Array;
}

/** A master key, or nothing: there is no key of that id. */
export type KeyAnswer = Uint8Array | undefined;

/** The parts of such a freezer, for rotation. */
export interface AesGcmParts {
  /** The id that a unit is to have: of the value of a key, or of a directory. It throws if there is no such key. */
  idFor(key?: string): string;
}

const parts = new WeakMap<Freezer, AesGcmParts>();

/** The parts of a freezer that {@linkcode aesGcmFreezer} has made; `undefined` for another one. */
export function aesGcmParts(freezer: Freezer): AesGcmParts | undefined {
  return parts.get(freezer);
}

/**
 * Encrypts with AES-256-GCM, by WebCrypto. Give it last, behind compression: `[deflateFreezer(), aesGcmFreezer(...)]`.
 *
 * An object that was changed, or put under another's name, is `CORRUPT`. A key id that is not among `keys`, or another
 * key than the one that encrypted, is `UNSUPPORTED`, as is an object that is not encrypted at all: nothing is lost,
 * another option brings it back. A key service that fails is `UNAVAILABLE`.
 *
 * It adds no request. A unit grows by 82 bytes and the id. It takes 0.1 to 0.3 ms, and for each MB 1 ms (Bun) to 10 ms
 * (Deno).
 *
 * @throws {TundraError} `BAD_ARGUMENT`
 * @example
 * ```ts
 * import { deflateFreezer, memoryDatastore, tundraStore } from "@tundra/store";
 * import { aesGcmFreezer } from "@tundra/store/encryption";
 *
 * const key = crypto.getRandomValues(new Uint8Array(32)); // kept in a secret, as 64 hexadecimal digits
 * const store = tundraStore(memoryDatastore(), {
 *   redis: { url: "https://eu1-example.upstash.io", token: "secret" },
 *   freezer: [deflateFreezer(), aesGcmFreezer({ keys: { "2026-11": key }, current: "2026-11" })],
 * });
 * console.log(typeof store.tick); // function
 * ```
 */
export function aesGcmFreezer(options: AesGcmOptions): Freezer {
  checkNames(MAKE, options, ["keys", "current", "keyFor", "keyTtlMs", "keyTimeoutMs", "acceptPlain", "nameKey"]);
  const { current, keyFor, keyTtlMs = KEY_TTL_MS, keyTimeoutMs = KEY_TIMEOUT_MS, acceptPlain = false, nameKey } =
    options;
  checkMasterKeys(MAKE, options.keys);
  checkFunction(MAKE, "keyFor", keyFor);
  checkNumber(MAKE, "keyTtlMs", keyTtlMs, 0, 86_400_000, " of milliseconds");
  checkNumber(MAKE, "keyTimeoutMs", keyTimeoutMs, 1, 600_000, " of milliseconds");
  checkBoolean(MAKE, "acceptPlain", acceptPlain);
  if (nameKey !== undefined) checkKeyBytes(MAKE, "nameKey", nameKey);
  const keys = masterKeys(options.keys, keyTtlMs, keyTimeoutMs);
  if (typeof current !== "string" || !KEY_ID.test(current) || keys.knows(current) === false) {
    throw badArgument(MAKE, "current", "the id of one of the keys", current);
  }
  const idFor = (key?: string): string => {
    const id: unknown = (key === undefined ? undefined : keyFor?.(key)) ?? current;
    if (typeof id !== "string" || !KEY_ID.test(id)) {
      const must = `keyFor must answer a key id: current value is ${show(id)}`;
      throw new TundraError("UNSUPPORTED", `Cannot encrypt as ${must}`);
    }
    if (keys.knows(id) === false) throw unknownKey(id, "encrypt");
    return id;
  };
  const freezer: Freezer = {
    id: AES_GCM_ID,
    freeze: (bytes, { name, group = current }) => freeze(keys, group, bytes, name),
    thaw: (bytes, object) => thaw(keys, bytes, object),
    ...(keyFor && { groupOf: idFor }),
    ...(nameKey && { hideKey: keyHider(nameKey) }),
    ...(!acceptPlain && { required: true }),
  };
  parts.set(freezer, { idFor });
  return freezer;
}

async function freeze(keys: MasterKeys, id: string, bytes: Uint8Array, name: string): Promise<Uint8Array> {
  const master = await keys.of(id, "encrypt");
  const salt = randomBytes(SALT);
  const { key, commitment } = await derive(master, salt, id);
  const idBytes = utf8.encode(id);
  const head = new Uint8Array(2 + idBytes.length);
  head.set([FORMAT, idBytes.length]);
  head.set(idBytes, 2);
  const sealed = await aesGcm("encrypt", key, NONCE, associated(head, name), bytes);
  const frame = new Uint8Array(head.length + SALT + COMMITMENT + sealed.length);
  frame.set(head);
  frame.set(salt, head.length);
  frame.set(commitment, head.length + SALT);
  frame.set(sealed, head.length + SALT + COMMITMENT);
  return frame;
}

async function thaw(keys: MasterKeys, frame: Uint8Array, { name }: FrozenObject): Promise<Uint8Array> {
  if (frame.length > 0 && frame[0] !== FORMAT) {
    const must = `have frame format ${FORMAT}: current value is ${frame[0]}`;
    throw new TundraError("UNSUPPORTED", `Cannot decrypt as it must ${must}`);
  }
  const id = keyIdOf(frame);
  const at = 2 + (id?.length ?? 0);
  if (id === undefined || frame.length < at + SALT + COMMITMENT + TAG) {
    throw corrupt("be a whole frame: it is malformed, or cut off");
  }
  const master = await keys.of(id, "decrypt");
  const { key, commitment } = await derive(master, frame.subarray(at, at + SALT), id);
  if (!sameSecret(commitment, frame.subarray(at + SALT, at + SALT + COMMITMENT))) {
    const must = `the key ${show(id)} must be the one that encrypted: it is another`;
    throw new TundraError("UNSUPPORTED", `Cannot decrypt as ${must}`);
  }
  const sealed = frame.subarray(at + SALT + COMMITMENT);
  try {
    return await aesGcm("decrypt", key, NONCE, associated(frame.subarray(0, at), name), sealed);
  } catch (thrown) {
    if ((thrown as Error | null)?.name !== "OperationError") throw thrown;
    throw corrupt("be what was encrypted under this object's name: bytes were changed or moved"); // the cause says nothing
  }
}

/** The key id in the first bytes of a frame; `undefined` if they are none. */
export function keyIdOf(frame: Uint8Array): string | undefined {
  const end = 2 + (frame[1] ?? 0);
  if (frame[0] !== FORMAT || frame.length < end) return undefined;
  const id = String.fromCharCode(...frame.subarray(2, end));
  return KEY_ID.test(id) ? id : undefined;
}

/** The key of one unit, and the commitment to the master key. */
async function derive(master: CryptoKey, salt: Uint8Array, id: string) {
  const bytes = await hkdfSha256(master, salt, utf8.encode(INFO + id), 64);
  return { key: await aesGcmKey(bytes.subarray(0, 32)), commitment: bytes.subarray(32) };
}

/** Names for keys that nobody without the key can make or read. */
function keyHider(nameKey: Uint8Array): Freezer["hideKey"] {
  const secret = new Uint8Array(nameKey);
  let derived: Uint8Array | undefined; // so that no other use of the same bytes can make the same digits
  return async (key, tqname) => {
    derived ??= await hkdfSha256(await hkdfKey(secret), new Uint8Array(0), utf8.encode(NAME_INFO), 32);
    const digest = await hmacSha256(derived, utf8.encode(`${tqname}/${key}`));
    return hex(digest.subarray(0, 16));
  };
}

/** The associated data: the head of the frame, and the name of the object. */
function associated(head: Uint8Array, name: string): Uint8Array {
  const nameBytes = utf8.encode(name);
  const bytes = new Uint8Array(head.length + nameBytes.length);
  bytes.set(head);
  bytes.set(nameBytes, head.length);
  return bytes;
}

/** Compares bytes of one length in a time that does not depend on them. */
function sameSecret(a: Uint8Array, b: Uint8Array): boolean {
  let differ = 0;
  for (let i = 0; i < a.length; i++) differ |= a[i]! ^ b[i]!;
  return differ === 0;
}

function corrupt(must: string): TundraError {
  return new TundraError("CORRUPT", `Cannot decrypt as it must ${must}`);
}
