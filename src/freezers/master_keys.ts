/**
 * Master keys by their ids: given, or asked of a key service. What a service has given is kept for a while, in bounded
 * number, as a key that WebCrypto does not give out again.
 * @module
 */
import { badArgument, show, TundraError } from "../base/errors.ts";
import { after, monotonicMs, onWorkerd } from "../base/platform.ts";
import { hkdfKey } from "./webcrypto.ts";

/** A master key: 32 bytes, or a function that asks for them. */
export type MasterKey = Uint8Array | (() => Uint8Array | Promise<Uint8Array>);

interface Given {
  bytes: Uint8Array;
  key?: CryptoKey;
}

type Lookup = (id: string) => Uint8Array | undefined | Promise<Uint8Array | undefined>;

/** The master keys of a freezer. */
export interface MasterKeys {
  /** Tells if there is a key of this id; `undefined`: only asking would tell. */
  knows(id: string): boolean | undefined;
  /** The key of this id. */
  of(id: string, what: string): Promise<CryptoKey>;
}

/** The form of a key id. */
export const KEY_ID = /^[A-Za-z0-9._:/@+=-]{1,64}$/;

const KEY_BYTES = 32;
/** The most keys that are kept: more tenants than that are asked for again. */
const MOST_KEPT = 1_000;

/** Checks the option `keys`. No message has more of a key than its length. */
export function checkMasterKeys(what: string, keys: unknown): void {
  if (typeof keys === "function") return;
  if (typeof keys !== "object" || keys === null) {
    throw badArgument(what, "keys", "an object of keys by their ids, or a function", typeof keys);
  }
  for (const [id, key] of Object.entries(keys)) {
    if (!KEY_ID.test(id)) throw badArgument(what, "a key id", "1 to 64 characters A-Z a-z 0-9 . _ : / @ + = -", id);
    if (typeof key !== "function") checkKeyBytes(what, `the key ${show(id)}`, key, ", or a function that answers them");
  }
}

/** Checks for the bytes of a key; the message has no more of them than their number. */
export function checkKeyBytes(what: string, name: string, key: unknown, or = ""): void {
  const is = key instanceof Uint8Array ? `${key.length} bytes` : typeof key;
  if (!isKey(key)) throw badArgument(what, name, `${KEY_BYTES} bytes${or}`, is);
}

function isKey(key: unknown): key is Uint8Array {
  return key instanceof Uint8Array && key.length === KEY_BYTES;
}

/** Keeps checked keys: `ttlMs` those that functions give, which may take `timeoutMs`. */
export function masterKeys(
  keys: Readonly<Record<string, MasterKey>> | Lookup,
  ttlMs: number,
  timeoutMs: number,
): MasterKeys {
  // copies: what the application does with its own afterwards changes nothing
  const given = typeof keys === "function" ? undefined : new Map<string, Exclude<MasterKey, Uint8Array> | Given>(
    Object.entries(keys).map(([id, key]) => [id, typeof key === "function" ? key : { bytes: new Uint8Array(key) }]),
  );
  const kept = new Map<string, { key: CryptoKey; untilMs: number }>();
  const asked = new Map<string, Promise<CryptoKey>>();

  async function ask(id: string, act: () => ReturnType<Lookup>, what: string): Promise<CryptoKey> {
    const answer = await inTime(act, id, what, timeoutMs);
    if (answer === undefined) throw unknownKey(id, what, what === "encrypt"); // a service may learn it
    if (!isKey(answer)) {
      const must = `the key ${show(id)} must be ${KEY_BYTES} bytes: its function has answered something else`;
      throw new TundraError("UNSUPPORTED", `Cannot ${what} as ${must}`, { retryable: true });
    }
    const key = await hkdfKey(answer);
    kept.delete(id); // the one that was kept for longest comes first
    if (kept.size >= MOST_KEPT) kept.delete(kept.keys().next().value!);
    kept.set(id, { key, untilMs: monotonicMs() + ttlMs });
    return key;
  }

  return {
    knows: (id) => given?.has(id),
    async of(id, what) {
      const source = given ? given.get(id) : () => (keys as Lookup)(id);
      if (source === undefined) throw unknownKey(id, what);
      if (typeof source === "object") return source.key ??= await hkdfKey(source.bytes);
      const found = kept.get(id);
      if (found && found.untilMs > monotonicMs()) return found.key;
      if (onWorkerd()) return await ask(id, source, what); // a promise of another request may never end
      let asking = asked.get(id);
      if (!asking) asked.set(id, asking = ask(id, source, what).finally(() => asked.delete(id)));
      return await asking;
    },
  };
}

/** The error if there is no key of this id. */
export function unknownKey(id: string, what: string, retryable = false): TundraError {
  const must = `the key ${show(id)} must be among the keys: it is not`;
  return new TundraError("UNSUPPORTED", `Cannot ${what} as ${must}`, { retryable });
}

/** The answer of a function, within a time limit; its failure is passing. */
async function inTime<T>(act: () => T | Promise<T>, id: string, what: string, ms: number): Promise<T> {
  const failed = (is: string, cause?: unknown) => {
    const message = `Cannot ${what} as the function for the key ${show(id)} must answer: it ${is}`;
    return new TundraError("UNAVAILABLE", message, { cause });
  };
  let cancel = () => {};
  const late = new Promise<never>((_, reject) => {
    cancel = after(ms, () => reject(failed(`has not within ${ms} ms`)));
  });
  const answer = (async () => await act())().catch((thrown) => {
    throw failed("has failed", thrown);
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    cancel();
  }
}
