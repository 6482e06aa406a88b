/**
 * A whole small world for fault tests: Redis and the bucket can be saved and brought back, and an audit looks at both
 * past the package and says what must not be.
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { after, before } from "node:test";
import { recordOf, thawBlock } from "../../src/archive/block.ts";
import { LENGTH_BYTES, lengthAt, thawHead, thawSegment } from "../../src/archive/large.ts";
import { holderName, placeOf, placeWord } from "../../src/archive/place.ts";
import { isLarge, objectName, objectPrefix, packPrefix, redisKeys } from "../../src/base/keys.ts";
import { type Platform, setPlatform } from "../../src/base/platform.ts";
import { deflateFreezer } from "../../src/freezers/deflate.ts";
import { type KeyRecord, parseRecord } from "../../src/scripts/prelude.ts";
import {
  type CommandPart,
  type RedisConnection,
  redisConnection,
  RedisError,
  type Reply,
} from "../../src/testing/resp.ts";
import { type ArchiveOptions, BUCKET, type ColdStack, entriesOf, isPack, withArchive } from "../support/fixtures.ts";
import { freezeRecord, thawRecord } from "../support/records.ts";

/** The value of a key for the application: its DUMP payload (a character a byte) and own expiry, or nothing. */
export type Value = { dump: string; exp: number } | "absent" | "conflict";

/** For each key all values that it may have. */
export type Allowed = Map<string, Value[]>;

/** Redis and bucket at one moment. */
export interface Saved {
  keys: { name: Buffer; dump: Buffer; exp: number }[];
  objects: Map<string, Uint8Array>;
}

/** The fixture of fault tests. */
export interface FaultWorld extends ColdStack {
  /** Sends commands past the endpoint, all at once; rejects for the first error. */
  commands(...commands: CommandPart[][]): Promise<Reply[]>;
  save(): Promise<Saved>;
  /** Brings a state back; `"redis"`: only Redis', as a failover does. */
  load(saved: Saved, part?: "redis"): Promise<void>;
  /** The values of these keys in Redis now. */
  values(...keys: string[]): Promise<Map<string, Value>>;
  /** Their values after a right ensureKs(). Rejects if the archive lacks what a record names. */
  worth(...keys: string[]): Promise<Map<string, Value>>;
  /** Those of them that count as archived, but with other bytes than Redis holds. */
  stale(...keys: string[]): Promise<string[]>;
  /**
   * All that is wrong: a key that is not worth what it may be, a record that is in no queue or in a wrong one, a TTL
   * that nobody set, an archive object that was overwritten (since the last `load`), a user's key that nobody made.
   */
  audit(allowed: Allowed): Promise<string[]>;
}

const FREEZERS = [deflateFreezer()];
const KEYS = redisKeys("default");
const RECORD = KEYS.record("");

/** Call it at the top of a `describe`; it registers the hooks. Retries wait for nothing: their jitter is zero here. */
export function withFaultWorld(options: ArchiveOptions = {}): FaultWorld {
  const cold = withArchive(options);
  let connection: RedisConnection;
  let seen = new Map<string, Uint8Array>();
  before(() => {
    connection = redisConnection({ port: cold.redis.port });
    setPlatform(WITHOUT_JITTER);
  });
  after(() => {
    setPlatform();
    connection.close();
  });

  const commands = async (...all: CommandPart[][]): Promise<Reply[]> => {
    if (all.length === 0) return [];
    const replies = await connection.pipeline(all);
    const error = replies.find((reply) => reply instanceof RedisError);
    if (error) throw error;
    return replies;
  };
  const objects = () => cold.s3.objects(BUCKET);

  const values = async (...keys: string[]) => {
    const found = await commands(...keys.flatMap(valueCommands));
    return new Map(keys.map((key, i) => [key, valueOf(found[2 * i]!, found[2 * i + 1]!)]));
  };

  /** The newest version that was archived at a later time, by its place; the nonce says nothing about order. */
  const newerThan = async (key: string, ver: string): Promise<string | undefined> => {
    const prefix = await objectPrefix({ tqname: "default" }, key);
    const all: string[] = [];
    for (const [name, bytes] of objects()) {
      if (name.startsWith(prefix)) all.push(name.slice(prefix.length));
      if (!isPack(name)) continue;
      const entries = (await entriesOf(name, bytes)).filter((entry) => entry.key === key);
      all.push(...entries.map((entry) => placeWord({ ...entry, pack: name.slice(packPrefix("default").length) })));
    }
    const newest = all.sort().at(-1);
    return newest && newest.split("-")[0]! > ver.split("-")[0]! ? newest : undefined;
  };

  /** What the bucket holds at a place. */
  const thawed = async (key: string, word: string) => {
    const { ver, pack, offset, length } = placeOf(word);
    const name = await holderName({ tqname: "default" }, key, word);
    const object = objects().get(name)!;
    if (isLarge(word)) return await thawLarge(object, { key, ver }, name);
    if (pack === "") return await thawRecord(object, { key, ver }, FREEZERS);
    return recordOf(await thawBlock(object.slice(offset, offset + length), name, FREEZERS, [key]), { key, ver });
  };

  /** The value of a key, derived from Redis and the bucket alone. */
  const worth = async (key: string, there: Value, record: KeyRecord | undefined, nowMs: number): Promise<Value> => {
    const expired = record !== undefined && record.exp > 0 && record.exp <= nowMs;
    if (there !== "absent") {
      const blind = record?.flag === "e" && !expired && typeof there === "object" && sha1(there.dump) !== record.fp;
      return blind ? "conflict" : there;
    }
    if (!record || record.rev !== 0 || record.ver === "" || /[gm]/.test(record.flag) || expired) return "absent";
    const named = await holderName({ tqname: "default" }, key, record.ver);
    const ver = objects().has(named) ? record.ver : await newerThan(key, record.ver);
    if (!ver) throw new Error(`the archive has no version ${record.ver} of ${key}, nor a newer one`);
    const archived = await thawed(key, ver);
    if ("gone" in archived) {
      if (ver === record.ver) throw new Error(`the record of ${key} names a tombstone as its value`);
      return "absent";
    }
    return { dump: Buffer.from(archived.dump).toString("latin1"), exp: archived.exp };
  };

  const more: Omit<FaultWorld, Exclude<keyof ColdStack, "flush">> = {
    async flush() {
      await cold.flush();
      seen = new Map();
    },
    commands,
    async save() {
      const [all] = await commands(["KEYS", "*"]) as [Buffer[]];
      const found = await commands(...all.flatMap(valueCommands));
      return {
        keys: all.map((name, i) => ({
          name,
          dump: found[2 * i] as Buffer,
          exp: Math.max(0, found[2 * i + 1] as number),
        })),
        objects: new Map(objects()),
      };
    },
    async load(saved, part) {
      const restores = saved.keys.map(({ name, dump, exp }) => ["RESTORE", name, exp, dump, "ABSTTL"]);
      await commands(["FLUSHALL"], ...restores);
      if (part === "redis") return;
      objects().clear();
      for (const [name, bytes] of saved.objects) objects().set(name, bytes);
      seen = new Map(objects());
    },
    values,
    async worth(...keys) {
      const there = await values(...keys);
      const texts = await commands(...keys.map((key) => ["GET", KEYS.record(key)]));
      const nowMs = await cold.nowMs();
      const all = keys.map(async (key, i): Promise<[string, Value]> => {
        const record = texts[i] === null ? undefined : parseRecord(String(texts[i]));
        return [key, await worth(key, there.get(key)!, record, nowMs)];
      });
      return new Map(await Promise.all(all));
    },
    async stale(...keys) {
      const there = await values(...keys);
      const texts = await commands(...keys.map((key) => ["GET", KEYS.record(key)]));
      return keys.filter((key, i) => {
        const [value, record] = [there.get(key)!, parseRecord(texts[i] === null ? null : String(texts[i]))];
        if (typeof value !== "object" || record?.ver === "" || record?.rev !== 0) return false;
        return record.fp !== sha1(value.dump) || record.exp !== value.exp;
      });
    },
    async audit(allowed) {
      const wrong: string[] = [];
      const [all, time, dirty, dead, idle] = await commands(
        ["KEYS", "*"],
        ["TIME"],
        ...[KEYS.dirty, KEYS.dead, KEYS.idle].map((name) => ["ZRANGE", name, 0, -1]),
      ) as Buffer[][];
      const nowMs = Number(String(time![0])) * 1000 + Number(String(time![1])) / 1000;
      const present = all!.map(String);
      const [queued, died, resting] = [dirty!, dead!, idle!].map((members) => new Set(members.map(String)));

      for (const name of present) {
        if (!name.startsWith("tundra:") && !allowed.has(name)) wrong.push(`${name} is in Redis, and nobody made it`);
      }
      const recorded = present.filter((name) => name.startsWith(RECORD));
      const others = present.filter((name) => name.startsWith("tundra:") && !name.startsWith(RECORD));
      const keys = [...new Set([...allowed.keys(), ...recorded.map((name) => name.slice(RECORD.length))])];
      const looked = await commands(
        ...[...recorded, ...others].map((name) => ["PEXPIRETIME", name]),
        ...recorded.map((name) => ["GET", name]),
        ...keys.flatMap(valueCommands),
      );
      const ttls = looked.splice(0, recorded.length + others.length);
      const texts = looked.splice(0, recorded.length);
      const there = new Map(keys.map((key, i) => [key, valueOf(looked[2 * i]!, looked[2 * i + 1]!)]));
      const records = new Map<string, KeyRecord>();
      others.forEach((name, i) => {
        const ends = ttls[recorded.length + i] !== -1;
        if (name.includes(":tmp:")) {
          if (!ends) wrong.push(`${name} stays for ever`);
        } else if (ends && !name.includes(":cursor:")) wrong.push(`${name} has a TTL`);
      });
      recorded.forEach((name, i) => {
        const key = name.slice(RECORD.length);
        const text = String(texts[i]);
        const record = parseRecord(text);
        if (!record) return void wrong.push(`the record of ${key} is no record: ${text}`);
        records.set(key, record);
        const { rev, ver, flag, old } = record;
        const places = Number(queued!.has(key)) + Number(died!.has(key));
        if (places !== (rev === 0 ? 0 : 1)) wrong.push(`${key} is in ${places} queues, its record: ${text}`);
        const ends = rev === 0 && /[gm]/.test(flag) && old === "" ? undefined : -1;
        const ttl = Number(ttls[i]);
        if (ends === undefined ? !(ttl > nowMs) : ttl !== ends) wrong.push(`record of ${key} ends at ${ttl}: ${text}`);
        const clean = rev === 0 && ver !== "" && flag === "r" && there.get(key) !== "absent";
        if (clean && !resting!.has(key)) wrong.push(`${key} is clean and can never become idle: ${text}`);
      });
      for (const key of [...queued!, ...died!]) {
        if (!records.has(key)) wrong.push(`${key} is in a queue and has no record`);
      }

      for (const [key, may] of allowed) {
        let value: Value;
        try {
          value = await worth(key, there.get(key)!, records.get(key), nowMs);
        } catch (error) {
          wrong.push(String(error));
          continue;
        }
        if (!may.some((each) => same(each, value))) {
          wrong.push(`${key} is worth ${shown(value)}, and must be ${may.map(shown).join(" or ")}`);
        }
      }

      for (const [name, bytes] of seen) {
        const now = objects().get(name);
        if (now && now !== bytes && !Buffer.from(bytes).equals(now)) wrong.push(`object ${name} was overwritten`);
      }
      seen = new Map([...seen, ...objects()]);
      return wrong;
    },
  };
  // getters stay getters: they may be read in tests only
  const { flush: _, ...rest } = Object.getOwnPropertyDescriptors(cold);
  return Object.defineProperties(more, rest) as FaultWorld;
}

/** A large value, put together of its segments. */
async function thawLarge(object: Uint8Array, of: { key: string; ver: string }, name: string) {
  const head = await thawHead(object, of, name, FREEZERS);
  const parts: Uint8Array[] = [];
  let { offset, length } = head.first;
  while (length > 0) {
    parts.push(await thawSegment(object.slice(offset, offset + length), head, parts.length, name, FREEZERS));
    offset += length + LENGTH_BYTES;
    length = lengthAt(object, offset - LENGTH_BYTES);
  }
  return { ...head, dump: Buffer.concat(parts) };
}

function valueCommands(key: CommandPart): CommandPart[][] {
  return [["DUMP", key], ["PEXPIRETIME", key]];
}

function valueOf(dump: Reply, exp: Reply): Value {
  return dump === null ? "absent" : { dump: (dump as Buffer).toString("latin1"), exp: Math.max(0, Number(exp)) };
}

function sha1(dump: string): string {
  return createHash("sha1").update(Buffer.from(dump, "latin1")).digest("hex");
}

/** True for the same value with the same expiry. */
export function same(a: Value, b: Value): boolean {
  if (typeof a !== "object" || typeof b !== "object") return a === b;
  return a.dump === b.dump && a.exp === b.exp;
}

function shown(value: Value): string {
  return typeof value === "object" ? `${JSON.stringify(value.dump.slice(0, 40))} until ${value.exp}` : value;
}

const OLD_VER = "1700000000000000-00000000";

/** As if a clean key had been archived long ago. */
export async function agedVersion(world: FaultWorld, key: string): Promise<void> {
  const { dump, exp } = (await world.values(key)).get(key) as { dump: string; exp: number };
  const bytes = Uint8Array.from(dump, (character) => character.charCodeAt(0));
  const record = { key, ver: OLD_VER, at: 1_700_000_000_000, exp, dump: bytes };
  world.s3.objects(BUCKET).set(
    await objectName({ tqname: "default" }, key, OLD_VER),
    await freezeRecord(record, [deflateFreezer()]),
  );
  await world.editRecord(key, { ver: OLD_VER });
}

const WITHOUT_JITTER: Platform = {
  monotonicMs: () => performance.now(),
  wallClockMs: () => Date.now(),
  uuid: () => crypto.randomUUID(),
  nonce: () => crypto.getRandomValues(new Uint32Array(1))[0]!.toString(16).padStart(8, "0"),
  random: () => 0,
  after(ms, act) {
    const timer = setTimeout(act, ms);
    return () => clearTimeout(timer);
  },
  digest: (algorithm, data) => crypto.subtle.digest(algorithm, data),
};
