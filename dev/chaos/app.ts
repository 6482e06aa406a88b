/**
 * An application of a chaos run: reads and writes its own keys in every way that the README allows, and notes in its
 * ledger what it was told. It runs until it is killed, at any moment, and is started again.
 * @module
 */
import { redisKeys } from "../../src/base/keys.ts";
import { erase, restoreVersion, versions } from "../../src/operations/mod.ts";
import { transparentRedis } from "../../src/transparent/mod.ts";
import {
  type ChaosKey,
  chaosStore,
  configuration,
  keysOf,
  openLedger,
  readValue,
  seeded,
  settle,
  unexpected,
} from "./common.ts";
import type { Limbo, Write } from "./ledger.ts";

const POOLS = 2;
const MAX_PAUSE_MS = 40;
const MAX_LIST = 12;
const AGE_MS = 11 * 3_600_000;
/** Packs that are looked into for versions: there are thousands in the end. */
const MAX_PACKS = 16;
/** Calls of one erasure: it reads all packs while servers are killed. */
const ERASE_CALLS = 30;

const config = configuration();
const random = seeded(`application ${config.seed} ${config.index} ${config.life}`);
const file = openLedger(config.file);
const { book, note } = file;
const store = chaosStore(config);
// A command that must not run twice is sent once: a list's element would be there twice, and no ledger could tell.
const once = chaosStore(config, { retry: false });
/** A client that brings back and marks by itself. */
const transparent = transparentRedis(once);
const tundra = redisKeys("default");
const own = keysOf(config.index, config.keysEach);
const marked = new Set<string>();
let serial = 0;

/** Lua that dates the last use of a key half a day back, so that ticks find it idle. */
const AGE = `
local text = redis.call('GET', KEYS[1])
if not text or not redis.call('ZSCORE', KEYS[2], ARGV[1]) then return 0 end
local head, flag, middle, touch, rest = string.match(text, '^(1 %d+ %S+ )([reg])( %S+ %d+ )(%d+)(.*)$')
if flag ~= 'r' then return 0 end
redis.call('SET', KEYS[1], head .. flag .. middle .. ARGV[2] .. rest, 'KEEPTTL')
redis.call('ZADD', KEYS[2], 'XX', ARGV[2], ARGV[1])
return 1`;

/** An operation on one key, or on some, of a pool. */
type Operation = (key: ChaosKey, keys: ChaosKey[]) => Promise<void>;

/** The next value: no two of a run are equal. */
function fresh(): string {
  return `${config.index}.${config.life}.${++serial} ${"x".repeat(random.int(200))} \u0000é🐧`;
}

/** Runs a call that is no write; `false`: servers are away. What must not happen is noted. */
async function did(what: string, key: string, act: () => Promise<unknown>, allowed: string[] = []): Promise<boolean> {
  let good = false;
  try {
    await act();
    good = true;
  } catch (error) {
    const why = unexpected(error);
    const code = (error as { code?: string }).code ?? "";
    if (why !== undefined && !allowed.includes(code)) note({ is: "bad", key, at: Date.now(), what: `${what}: ${why}` });
  }
  note({ is: "did", what, at: Date.now(), good });
  return good;
}

/** Sends a write; `true`: it was acknowledged. Otherwise its outcome is unknown until the key is settled. */
async function write(
  key: string,
  change: Write,
  limbo: Limbo,
  act: () => Promise<unknown>,
  allowed: string[] = [],
): Promise<boolean> {
  marked.delete(key);
  note({ is: "try", key, at: Date.now(), write: change, limbo });
  try {
    await act();
  } catch (error) {
    const why = unexpected(error);
    if (why !== undefined && !allowed.includes((error as { code: string }).code)) {
      note({ is: "bad", key, at: Date.now(), what: `${change.do}: ${why}` });
    }
    return false;
  }
  note({ is: "ack", key, at: Date.now() });
  return true;
}

function ensure(key: string): Promise<boolean> {
  return did("ensureKs", key, () => store.ensureKs(key));
}

/** Marks a key after a write of its own request. A key that was about to expire may be missing. */
async function mark(key: string): Promise<void> {
  const mayExpire = book.state(key).may.some((value) => value === "absent" || value.exp > 0);
  if (await did("dirty", key, () => store.dirty(key), mayExpire ? ["MISSING"] : [])) marked.add(key);
}

/** A new value for a key, or a part of one. */
function changeOf({ name, kind }: ChaosKey): [Write, (redis: Commands) => unknown] {
  const value = fresh();
  if (kind === "string") return [{ do: "set", value }, (redis) => redis.set(name, value)];
  if (kind === "list") return [{ do: "rpush", value }, (redis) => redis.rpush(name, value)];
  const field = `f${random.int(6)}`;
  return [{ do: "hset", field, value }, (redis) => redis.hset(name, { [field]: value })];
}

/** Changes a part of a value, or all of it, after it was brought back. */
const change: Operation = async (key) => {
  const { name, kind } = key;
  if (!await ensure(name)) return;
  const [what, send] = changeOf(key);
  const sender = kind === "list" || random.int(2) === 0 ? once : store;
  const way = random.int(8);
  if (way < 4) {
    const tx = way < 3 ? sender.redis.multi() : sender.redis.pipeline();
    // In a pipeline a write may be done and its mark not. As the value was brought back, that is only a forgotten mark.
    await write(name, what, "none", () => {
      send(tx as unknown as Commands);
      sender.dirtyIn(tx, { missing: "del" }, name);
      return tx.exec();
    }) && marked.add(name);
  } else if (await write(name, what, "none", async () => await send(sender.redis as unknown as Commands))) {
    if (way < 7) await mark(name); // otherwise the mark is forgotten
  }
};

/** Replaces the whole value, whether it is in Redis or not. */
const overwrite: Operation = async ({ name, kind }) => {
  if (kind !== "string") return;
  const value = fresh();
  if (random.int(2) === 0) {
    const tx = once.redis.multi();
    tx.set(name, value);
    once.dirtyIn(tx, { overwrite: true }, name);
    if (await write(name, { do: "set", value }, "overwrite", () => tx.exec())) {
      note({ is: "marked", key: name, at: Date.now() });
    }
    return;
  }
  if (!await write(name, { do: "set", value }, "overwrite", () => store.redis.set(name, value))) return;
  if (await did("dirty overwrite", name, () => store.dirty({ overwrite: true }, name))) {
    note({ is: "marked", key: name, at: Date.now() });
    marked.add(name);
  }
};

const expire: Operation = async ({ name }) => {
  if (!await ensure(name)) return;
  const at = Date.now() + (random.int(2) === 0 ? 2000 + random.int(20_000) : 3_600_000 + random.int(3_600_000));
  const tx = once.redis.multi();
  tx.pexpireat(name, at);
  once.dirtyIn(tx, { missing: "del" }, name);
  if (await write(name, { do: "expire", at }, "mark", () => tx.exec())) {
    note({ is: "marked", key: name, at: Date.now() });
  }
};

/** Changes a key by the transparent client alone: it brings back and marks. */
const changeTransparently: Operation = async (key) => {
  const { name } = key;
  const [removal, way] = [random.int(5) === 0, random.int(3)];
  const [what, send] = changeOf(key);
  const act = (redis: unknown) => removal ? empty(redis as Commands, key) : send(redis as Commands);
  const sent = await write(name, removal ? { do: "remove" } : what, "none", async () => {
    if (way === 0) return await act(transparent);
    const batch = way === 1 ? transparent.multi() : transparent.pipeline();
    act(batch);
    return await batch.exec();
  });
  if (sent) marked.add(name);
};

/** Reads a key by the transparent client alone. */
const readTransparently: Operation = async ({ name }) => {
  await did("transparent read", name, async () => {
    const from = Date.now();
    const value = await readValue({ redis: transparent }, name);
    note({ is: "saw", key: name, from, to: Date.now(), value });
  });
};

/** Makes an archived version the value again. */
const restore: Operation = async (key, keys) => {
  const { name } = key;
  const found: string[] = [];
  const listed = await did("versions", name, async () => {
    for (const { version, gone, expMs } of await versions(store, name, { maxPacks: MAX_PACKS })) {
      if (!gone && (expMs === 0 || expMs > Date.now() + 2000)) found.push(version);
    }
  });
  if (!listed || found.length === 0) return;
  const version = random.pick(found);
  // CONFLICT: its last change is not archived yet. NOT_FOUND: an erasure has deleted that version.
  const act = () => restoreVersion(store, name, version, { maxPacks: MAX_PACKS });
  const good = await write(name, { do: "restore" }, "none", act, ["CONFLICT", "NOT_FOUND"]);
  note({ is: "did", what: "restoreVersion", at: Date.now(), good });
  await read(key, keys);
};

/** Removes a key, and every version of it from the archive. */
const eraseOne: Operation = async ({ name }) => {
  let proved = false;
  await write(name, { do: "remove" }, "none", async () => {
    for (let calls = 1; calls <= ERASE_CALLS && !proved; calls++) { // its removal may wait for a lease to end
      try {
        const { proof, errors } = await erase(store, [name]);
        proved = proof !== undefined;
        for (const { code, message } of errors) {
          if (code !== "UNAVAILABLE") {
            note({ is: "bad", key: name, at: Date.now(), what: `erase: ${code}: ${message}` });
          }
        }
      } catch (error) {
        if (calls === ERASE_CALLS || unexpected(error) !== undefined) throw error;
      }
    }
  });
  note({ is: "did", what: "erase", at: Date.now(), good: proved });
};

/** Removes the last element. */
function empty(redis: Commands, { name, kind }: ChaosKey): unknown {
  if (kind === "hash") return redis.hdel(name, ...Array.from({ length: 6 }, (_, i) => `f${i}`));
  return kind === "list" ? redis.ltrim(name, 1, 0) : redis.getdel(name);
}

/** Removes the last element, and with it the key. */
const removeLast: Operation = async (key) => {
  const { name, shared } = key;
  if (!await ensure(name)) return;
  // Until its mark arrives, a removal is undone by any process that brings the key back, and a change without a mark
  // counts as newer than it. So it is sent on its own only if neither can happen.
  if (!shared && marked.has(name) && random.int(2) === 0) {
    await write(name, { do: "remove" }, "mark", async () => {
      await empty(once.redis as unknown as Commands, key);
      await store.dirty({ missing: "del" }, name);
    }) && note({ is: "marked", key: name, at: Date.now() });
    return;
  }
  const tx = once.redis.multi();
  empty(tx as unknown as Commands, key);
  once.dirtyIn(tx, { missing: "del" }, name);
  if (await write(name, { do: "remove" }, "mark", () => tx.exec())) note({ is: "marked", key: name, at: Date.now() });
};

const del: Operation = async ({ name }) => {
  await write(name, { do: "remove" }, "none", () => store.del(name));
};

/** Deletes a key, or writes over it, while another process brings it back, which must not undo that. */
const race: Operation = async (key, keys) => {
  const { name } = key;
  await did("evict", name, () => store.evict(name));
  const fetching = did("ensureKs in a race", name, () => store.ensureKs(name), ["CONFLICT"]);
  await new Promise((resolve) => setTimeout(resolve, random.int(20)));
  await (key.kind === "string" && random.int(2) === 0 ? overwrite : del)(key, keys);
  await fetching;
};

/** Evicts archived keys at once. */
const evict: Operation = async (_, keys) => {
  const names = some(keys, 8).map(({ name }) => name).filter(isSettled);
  if (names.length > 0) await did("evict", names[0]!, () => store.evict(names));
};

/** Makes archived keys idle, for the next tick to evict. */
const age: Operation = async (_, keys) => {
  for (const { name } of some(keys, 4)) {
    if (!isSettled(name)) continue;
    const keys = [tundra.record(name), tundra.idle];
    await did("grow idle", name, () => once.redis.eval(AGE, keys, [name, String(Date.now() - AGE_MS)]));
  }
};

/** Brings back keys of other applications while these write, evict and delete them. */
const ensureOthers: Operation = async () => {
  const other = random.int(config.count);
  const names = some(keysOf(other, config.keysEach).filter(({ shared }) => shared), 6);
  const blind = names.some(({ kind }) => kind === "string") ? ["CONFLICT"] : [];
  await did("ensureKs of others' keys", names[0]!.name, () => store.ensureKs(names.map(({ name }) => name)), blind);
};

const read: Operation = async ({ name }) => {
  await did("read", name, () => settle(store, name, file));
};

/** The cheap read: reads first, then brings back what is absent and reads that again. */
const readFirst: Operation = async ({ name }) => {
  await did("read first", name, async () => {
    let from = Date.now();
    let value = await readValue(store, name);
    if (value === "absent") {
      await store.ensureKs(name);
      from = Date.now();
      value = await readValue(store, name);
    }
    note({ is: "saw", key: name, from, to: Date.now(), value });
  });
};

const OPERATIONS: [Operation, weight: number][] = [
  [change, 30],
  [overwrite, 10],
  [expire, 4],
  [removeLast, 4],
  [del, 4],
  [race, 8],
  [evict, 12],
  [age, 6],
  [ensureOthers, 16],
  [read, 12],
  [readFirst, 10],
  [changeTransparently, 14],
  [readTransparently, 8],
  [restore, 2],
  [eraseOne, 1],
];
const WEIGHT = OPERATIONS.reduce((sum, [, weight]) => sum + weight, 0);

function pickOperation(): Operation {
  let left = random.int(WEIGHT);
  return OPERATIONS.find(([, weight]) => (left -= weight) < 0)![0];
}

/** True if every write and mark of this key has been acknowledged. */
function isSettled(key: string): boolean {
  const { pending, limbo } = book.state(key);
  return !pending && limbo === "none";
}

/** Picks a key; the first ones far more often than the last, so that processes meet over the same keys. */
function oneOf<T>(all: T[]): T {
  return all[Math.floor(random.next() ** 3 * all.length)]!;
}

/** Picks up to `n` different keys in that way. */
function some<T>(all: T[], n: number): T[] {
  return [...new Set(Array.from({ length: 1 + random.int(n) }, () => oneOf(all)))];
}

/** The commands of a client, a pipeline and a transaction that are used here. */
interface Commands {
  set(key: string, value: string): unknown;
  hset(key: string, fields: Record<string, string>): unknown;
  rpush(key: string, value: string): unknown;
  hdel(key: string, ...fields: string[]): unknown;
  ltrim(key: string, from: number, to: number): unknown;
  getdel(key: string): unknown;
}

/** Several pools at once; each has keys of its own, and one write of a key at a time. */
async function pool(keys: ChaosKey[]): Promise<never> {
  for (;;) {
    const key = oneOf(keys);
    const { may } = book.state(key.name);
    const long = may.some((value) => value !== "absent" && Array.isArray(value.data) && value.data.length > MAX_LIST);
    if (!isSettled(key.name)) await read(key, keys);
    else if (long) await removeLast(key, keys);
    else await pickOperation()(key, keys);
    await new Promise((resolve) => setTimeout(resolve, random.int(MAX_PAUSE_MS)));
  }
}

await Promise.all(Array.from({ length: POOLS }, (_, i) => pool(own.filter((_, place) => place % POOLS === i))));
