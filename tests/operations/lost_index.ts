/**
 * An archive that has seen everything, whose index is then lost: packed keys, objects of keys' own, shortened names,
 * expiries, removals of both kinds in packs and alone, moved packs, versions that nothing names.
 * @module
 */
import { randomBytes } from "node:crypto";
import { assert, assertEquals } from "@std/assert";
import { type Datastore, TundraError, type TundraOptions, type TundraStore, tundraStore } from "../../mod.ts";
import { freezePack } from "../../src/archive/pack.ts";
import { deflateFreezer } from "../../src/freezers/deflate.ts";
import { movePack, type NotedArchive, recordsOfPack } from "../support/packs.ts";
import type { Stack } from "../support/stack.ts";

/** The value of a key for the application, and its own expiry (ms since 1970; 0: none); `undefined`: it is absent. */
export type Worth = { value: string; exp: number } | undefined;

/** An archive, and what its keys are worth. */
export interface LostIndex {
  worth: Map<string, Worth>;
  /** Keys whose newest version is a tombstone that is in the archive. */
  gone: string[];
}

/** A store whose packs are small, so that there are several. */
export function smallPacks(
  stack: Stack,
  datastore: Datastore,
  { redis: more, ...options }: Omit<Partial<TundraOptions>, "redis"> & { redis?: Partial<TundraOptions["redis"]> } = {},
): TundraStore {
  const redis = { ...stack.connection, retry: false as const, ...more };
  return tundraStore(datastore, { packBytes: 4_000, maxPackedBytes: 1_000, ...options, redis });
}

const HOUR_MS = 60 * 60 * 1000;

/** Lives through everything with about `n` keys in packs; then Redis holds what it held before it is lost. */
export async function archiveOf(stack: Stack, archive: NotedArchive, n: number): Promise<LostIndex> {
  const store = smallPacks(stack, archive.datastore);
  const worth = new Map<string, Worth>();
  const exp = Date.now() + HOUR_MS;
  const set = async (keys: string[], value: (key: string) => string, expMs = 0) => {
    for (const key of keys) {
      await stack.raw("SET", key, value(key), ...(expMs > 0 ? ["PXAT", expMs] : []));
      worth.set(key, { value: value(key), exp: expMs });
    }
    await store.dirty(keys);
    assert((await store.tick()).done);
  };
  const some = (from: number, to: number) =>
    Array.from({ length: Math.ceil(n * to) - Math.ceil(n * from) }, (_, i) => `k:${Math.ceil(n * from) + i}`);
  const long = "long ".repeat(70);

  await set(some(0, 1), (key) => `first of ${key}`);
  await set(some(0.2, 0.5), (key) => `second of ${key}`);
  await set(["expires", ...some(0.45, 0.55)], (key) => `with an expiry: ${key}`, exp);
  const large = Array.from({ length: 3 }, () => randomBytes(1_200).toString("base64")); // more than packs take
  await set(["large", "Upper Case", `${long}A`, ""], () => large[0]!);
  await set(["large"], () => large[1]!);
  await set(["large, expires"], () => large[2]!, exp);
  await set(["a: alone"], (key) => `alone: ${key}`);
  await set(["Alone", `${long}B`], (key) => `packed: ${key}`);

  const removed = [...some(0.8, 0.9), "Alone"];
  await store.del(removed);
  await store.tick();
  await store.del("a: alone"); // a removal that is alone
  await store.tick();
  const missing = some(0.9, 0.95);
  for (const key of missing) {
    await store.dirty(key);
    await stack.raw("DEL", key);
  }
  await store.tick();
  const gone = [...removed, "a: alone", ...missing];
  for (const key of gone) worth.set(key, undefined);
  await set(some(0.85, 0.9), (key) => `made anew: ${key}`);

  await moveSome(archive, some(0.9, 0.95));
  await store.evict(...worth.keys());
  const { evicted, resident, dirty } = await store.status();
  assertEquals([evicted, resident, dirty], [[...worth.values()].filter((each) => each !== undefined).length, 0, 0]);
  return { worth, gone: gone.filter((key) => worth.get(key) === undefined) };
}

/** Moves a pack, as a sweep does; moves another one of which the old one is there still; and older values of the missing. */
async function moveSome(archive: NotedArchive, missing: string[]): Promise<void> {
  const packs = archive.packs();
  assert(packs.length >= 6, String(packs.length));
  const nowUs = () => `${Date.now() * 1000 + serial++}-0000abcd`;
  let serial = 0;
  await movePack(archive, packs[0]!, `default/~packs/${nowUs()}`);
  const kept = archive.objects.get(packs[1]!)!;
  await movePack(archive, packs[1]!, `default/~packs/${nowUs()}`);
  archive.objects.set(packs[1]!, kept);
  const records = (await Promise.all(
    archive.packs().map((name) => recordsOfPack(archive.objects.get(name)!, name)),
  )).flat();
  const old = records.filter(({ key }) => missing.includes(key)).slice(0, 3);
  assertEquals(old.length, 3);
  const name = `default/~packs/${nowUs()}`;
  archive.objects.set(name, (await freezePack(old, name, [deflateFreezer()], Infinity, "")).bytes);
}

/** What the keys are worth to an application that calls ensureKs() first. */
export async function worthNow(stack: Stack, store: TundraStore, keys: Iterable<string>): Promise<Map<string, Worth>> {
  const all = [...keys];
  await store.ensureKs(all);
  const found = new Map<string, Worth>();
  for (const key of all) {
    const value = await stack.raw("GET", key);
    const exp = Number(await stack.raw("PEXPIRETIME", key));
    found.set(key, value === null ? undefined : { value: String(value), exp: Math.max(0, exp) });
  }
  return found;
}

const INDEX = `
local found = {}
for _, name in ipairs(redis.call('KEYS', 'tundra:*')) do
  local kind, value = redis.call('TYPE', name).ok, ''
  if kind == 'zset' then
    local members = redis.call('ZRANGE', name, 0, -1)
    table.sort(members)
    value = table.concat(members, ',')
  elseif kind == 'hash' then
    value = tostring(redis.call('HGET', name, 'archived')) .. ' ' .. tostring(redis.call('HGET', name, 'left'))
  elseif string.match(name, ':rec:') then
    value = redis.call('GET', name) .. (redis.call('PTTL', name) > 0 and ' with a TTL' or '')
  end
  found[#found + 1] = name
  found[#found + 1] = value
end
return found`;

/** The index as far as it is to be the same after every rebuild: records without times, queues, counts. */
export async function indexOf(stack: Stack): Promise<Record<string, string>> {
  const flat = (await stack.raw("EVAL", INDEX, 0) as Uint8Array[]).map(String);
  const found: Record<string, string> = {};
  for (let i = 0; i < flat.length; i += 2) {
    const [name, value] = [flat[i]!, flat[i + 1]!];
    const [, rev, ver, flag, fp, exp, , , , , old, , kb, ...error] = value.split(" ");
    const record = () => [rev === "0" ? "clean" : "dirty", ver, flag, fp, exp, old, kb, ...error].join(" ");
    found[name] = name.includes(":rec:") ? record() : value;
  }
  return Object.fromEntries(Object.entries(found).sort(([a], [b]) => a < b ? -1 : 1));
}

/** A fault: the request `at`, of Redis or of the archive, fails: it never arrives, or its answer is lost. */
export interface Fault {
  at: number;
  kind: "lost request" | "lost answer";
}

/** Counts requests, and fails one of them; `met()` tells if it has. */
export function faulty(
  fault?: Fault,
): { fetch: typeof fetch; around(datastore: Datastore): Datastore; count(): number } {
  let n = 0;
  const pass = async <T>(act: () => Promise<T>): Promise<T> => {
    const isMet = n++ === fault?.at;
    if (isMet && fault?.kind === "lost request") throw new TundraError("UNAVAILABLE", "Cannot go on as it must arrive");
    const answer = await act();
    if (isMet) throw new TundraError("UNAVAILABLE", "Cannot go on as it must be answered: the answer was lost");
    return answer;
  };
  return {
    fetch: (...args: Parameters<typeof fetch>) => pass(() => fetch(...args)),
    around: ({ putKey, fetchKeys, fetchRanges, deleteKeys, listKeys }) => ({
      putKey: (...args) => pass(() => putKey(...args)),
      fetchKeys: (...args) => pass(() => fetchKeys(...args)),
      fetchRanges: (...args) => pass(() => fetchRanges!(...args)),
      deleteKeys: (...args) => pass(() => deleteKeys!(...args)),
      listKeys: (...args) => pass(() => listKeys!(...args)),
    }),
    count: () => n,
  };
}
