/**
 * Redis in memory: the commands that Tundra's scripts and a test's application use, with the scripts run for real.
 * Strings are binary strings. differential.test.ts holds it equal to a real server.
 * @module
 */
import { createHash } from "node:crypto";
import { globOf } from "../../../src/base/patterns.ts";
import { compileLua, type LuaChunk, type LuaFunction, LuaTable, type LuaValue, numberText } from "./lua.ts";

/** The value of a key. */
export type Value = string | Map<string, number> | Map<string, string>;

interface Entry {
  readonly type: "string" | "zset" | "hash";
  readonly value: Value;
  /** ms since 1970; 0: none */
  readonly exp: number;
  /** The string as peek() shows it. */
  readonly shown?: { readonly value: string; readonly exp: number };
}

function stringEntry(value: string, exp: number): Entry {
  return { type: "string", value, exp, shown: { value, exp } };
}

/** The same with another expiry. */
function withExpiry({ type, value }: Entry, exp: number): Entry {
  return type === "string" ? stringEntry(value as string, exp) : { type, value, exp };
}

/** A reply; a status reply is `{ ok }`. */
export type RedisReply = null | number | string | { ok: string } | RedisReply[];

/** An error reply. */
export class RedisError extends Error {}

/** The server died while it ran a script: what the script had written stays. */
export class ScriptKilled extends RedisError {}

const WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value";
/** The reply of a full server. */
export const OOM = "OOM command not allowed when used memory > 'maxmemory'.";

/** Callbacks for what happens; for oracles. */
export interface RedisHooks {
  /** Before each command that writes, in a script too. May throw: a script ends in its middle. */
  beforeWrite?(name: string): void;
  /** The text of a script, before it is translated: bugs live here. */
  patch?(source: string): string;
  /** A script that was loaded before. */
  loaded?(sha: string): string | undefined;
}

/** A model of one Redis server. */
export interface ModelRedis {
  /** Runs one command; throws {@linkcode RedisError}. */
  run(command: readonly string[]): RedisReply;
  /** Everything but time: cheap, as values are replaced and never changed. */
  save(): RedisState;
  load(state: RedisState): void;
  /** The string at a key, without side effects; its expiry in ms, 0 for none. */
  peek(key: string): { readonly value: string; readonly exp: number } | undefined;
  score(key: string, member: string): number | undefined;
  members(key: string): ReadonlyMap<string, number>;
  /** A hash's fields. */
  fields(key: string): ReadonlyMap<string, string>;
  keys(): string[];
  /** Writes that need memory are refused. */
  full: boolean;
  /** Its maxmemory-policy; the keys that it removes are removed by the test. */
  policy: string;
  /** Scripts sent so far; emptied, the client has to send them again. */
  readonly scripts: Map<string, string>;
  /** The text of a script that the server knows. */
  script(sha: string): string | undefined;
}

/** A saved state. */
export type RedisState = ReadonlyMap<string, Entry>;

/** Makes one; `nowUs` is its clock. */
export function modelRedis(nowUs: () => number, hooks: RedisHooks = {}): ModelRedis {
  let data = new Map<string, Entry>();
  const scripts = new Map<string, string>();
  const chunks = hooks.patch ? patchedChunks(hooks.patch) : unpatched;
  let inScript: "no" | "write" | "read" = "no";

  const nowMs = () => Math.floor(nowUs() / 1000);

  function entry(key: string): Entry | undefined {
    const found = data.get(key);
    if (found && found.exp !== 0 && found.exp <= nowMs()) {
      data.delete(key);
      return undefined;
    }
    return found;
  }

  function stringAt(key: string): string | undefined {
    const found = entry(key);
    if (found && found.type !== "string") throw new RedisError(WRONG_TYPE);
    return found?.value as string | undefined;
  }

  function zsetAt(key: string): Map<string, number> {
    const found = entry(key);
    if (found && found.type !== "zset") throw new RedisError(WRONG_TYPE);
    return (found?.value ?? EMPTY) as Map<string, number>;
  }

  function hashAt(key: string): Map<string, string> {
    const found = entry(key);
    if (found && found.type !== "hash") throw new RedisError(WRONG_TYPE);
    return (found?.value ?? EMPTY) as Map<string, string>;
  }

  /** A map's key is gone with its last member; its expiry stays. */
  function putMap(key: string, type: "zset" | "hash", value: Map<string, number> | Map<string, string>): void {
    if (value.size === 0) data.delete(key);
    else data.set(key, { type, value, exp: entry(key)?.exp ?? 0 });
  }

  function remove(keys: readonly string[]): number {
    let count = 0;
    for (const key of keys) if (entry(key) && data.delete(key)) count++;
    return count;
  }

  const commands: Record<string, (args: readonly string[]) => RedisReply> = {
    TIME: () => [String(Math.floor(nowUs() / 1e6)), String(Math.floor(nowUs()) % 1e6)],
    GET: ([key]) => stringAt(key!) ?? null,
    MGET: (keys) =>
      keys.map((key) => {
        const found = entry(key);
        return found?.type === "string" ? found.value as string : null;
      }),
    SCAN([cursor, ...options]) {
      if (cursor !== "0") throw new RedisError("ERR no such scan here"); // a step shows all
      const given = (name: string) => options[options.indexOf(name) + 1] ?? "";
      const isShown = options.includes("MATCH") ? globOf(given("MATCH")) : () => true;
      const type = options.includes("TYPE") ? given("TYPE") : undefined;
      const names = [...data.keys()].filter((name) => entry(name) && isShown(name));
      return ["0", names.filter((name) => type === undefined || entry(name)!.type === type)];
    },
    TYPE: ([key]) => ({ ok: entry(key!)?.type ?? "none" }),
    MEMORY([how, key]) { // a server's numbers are its allocator's
      if (how !== "USAGE") throw new RedisError("ERR no such question here");
      const found = entry(key!);
      return found ? key!.length + (typeof found.value === "string" ? found.value.length : found.value.size) : null;
    },
    EXISTS: (keys) => keys.filter((key) => entry(key)).length,
    SET(args) {
      const [key, value, ...options] = args as [string, string, ...string[]];
      let exp = 0;
      for (let i = 0; i < options.length; i++) {
        const option = options[i]!.toUpperCase();
        if (option === "NX") {
          if (entry(key)) return null;
        } else if (option === "XX") {
          if (!entry(key)) return null;
        } else if (option === "PXAT") exp = integer(options[++i]);
        else if (option === "PX") exp = nowMs() + integer(options[++i]);
        else if (option === "KEEPTTL") exp = entry(key)?.exp ?? 0;
        else throw new RedisError("ERR syntax error");
      }
      data.set(key, stringEntry(value, exp));
      return OK;
    },
    MSET(args) {
      for (let i = 0; i < args.length; i += 2) data.set(args[i]!, stringEntry(args[i + 1]!, 0));
      return OK;
    },
    APPEND([key, more]) {
      const value = (stringAt(key!) ?? "") + more;
      data.set(key!, stringEntry(value, entry(key!)?.exp ?? 0));
      return value.length;
    },
    GETRANGE([key, from, to]) {
      const value = stringAt(key!) ?? "";
      return value.slice(integer(from), integer(to) + 1);
    },
    SETRANGE([key, offset, more]) {
      const [value, at] = [stringAt(key!) ?? "", integer(offset)];
      const padded = value.slice(0, at).padEnd(at, "\0");
      const set = padded + more + value.slice(at + more!.length);
      data.set(key!, stringEntry(set, entry(key!)?.exp ?? 0));
      return set.length;
    },
    GETDEL([key]) {
      const value = stringAt(key!) ?? null;
      data.delete(key!);
      return value;
    },
    DEL: remove,
    UNLINK: remove,
    PEXPIRETIME([key]) {
      const found = entry(key!);
      return found ? found.exp || -1 : -2;
    },
    PEXPIREAT([key, at]) {
      const found = entry(key!);
      if (!found) return 0;
      const exp = integer(at);
      if (exp <= nowMs()) data.delete(key!);
      else data.set(key!, withExpiry(found, exp));
      return 1;
    },
    PEXPIRE([key, ms]) {
      const found = entry(key!);
      if (found) data.set(key!, withExpiry(found, nowMs() + integer(ms)));
      return found ? 1 : 0;
    },
    PERSIST([key]) {
      const found = entry(key!);
      if (!found || found.exp === 0) return 0;
      data.set(key!, withExpiry(found, 0));
      return 1;
    },
    DUMP([key]) {
      const value = stringAt(key!);
      return value === undefined ? null : dumpString(value);
    },
    RESTORE([key, ttl, payload, ...options]) {
      let [absolute, replace] = [false, false];
      for (const option of options) {
        if (option.toUpperCase() === "ABSTTL") absolute = true;
        else if (option.toUpperCase() === "REPLACE") replace = true;
        else throw new RedisError("ERR syntax error");
      }
      if (entry(key!) && !replace) throw new RedisError("BUSYKEY Target key name already exists.");
      const value = parseDump(payload!);
      if (value === undefined) throw new RedisError("ERR DUMP payload version or checksum are wrong");
      const ms = integer(ttl);
      const exp = ms === 0 ? 0 : absolute ? ms : nowMs() + ms;
      if (exp === 0 || exp > nowMs()) data.set(key!, stringEntry(value, exp));
      else data.delete(key!);
      return OK;
    },
    ZADD([key, ...args]) {
      let how = "";
      if (/^(NX|XX)$/i.test(args[0]!)) how = args.shift()!.toUpperCase();
      const zset = new Map(zsetAt(key!));
      let added = 0;
      for (let i = 0; i < args.length; i += 2) {
        const [score, member] = [double(args[i]), args[i + 1]!];
        const there = zset.has(member);
        if ((how === "NX" && there) || (how === "XX" && !there)) continue;
        if (!there) added++;
        zset.set(member, score);
      }
      putMap(key!, "zset", zset);
      return added;
    },
    ZREM([key, ...members]) {
      const zset = new Map(zsetAt(key!));
      const removed = members.filter((member) => zset.delete(member)).length;
      if (removed > 0) putMap(key!, "zset", zset);
      return removed;
    },
    ZSCORE: ([key, member]) => scoreText(zsetAt(key!).get(member!)),
    ZMSCORE([key, ...members]) {
      const zset = zsetAt(key!);
      return members.map((member) => scoreText(zset.get(member)));
    },
    ZCARD: ([key]) => zsetAt(key!).size,
    ZCOUNT: ([key, least, most]) => within(zsetAt(key!), least!, most!).length,
    ZRANGE([key, from, to, ...options]) {
      const all = sorted(zsetAt(key!));
      const at = (i: number) => i < 0 ? all.length + i : i;
      return withScores(all.slice(Math.max(0, at(integer(from))), at(integer(to)) + 1), options);
    },
    ZRANGEBYSCORE([key, least, most, ...options]) {
      let found = within(zsetAt(key!), least!, most!);
      const limit = options.findIndex((option) => option.toUpperCase() === "LIMIT");
      if (limit >= 0) {
        const [from, count] = [integer(options[limit + 1]), integer(options[limit + 2])];
        found = found.slice(from, count < 0 ? undefined : from + count);
      }
      return withScores(found, options);
    },
    HSET([key, ...args]) {
      const hash = new Map(hashAt(key!));
      let added = 0;
      for (let i = 0; i < args.length; i += 2) {
        if (!hash.has(args[i]!)) added++;
        hash.set(args[i]!, args[i + 1]!);
      }
      putMap(key!, "hash", hash);
      return added;
    },
    HINCRBY([key, field, by]) {
      const hash = new Map(hashAt(key!));
      const value = integer(hash.get(field!) ?? "0") + integer(by);
      hash.set(field!, String(value));
      putMap(key!, "hash", hash);
      return value;
    },
    HGET: ([key, field]) => hashAt(key!).get(field!) ?? null,
    HMGET: ([key, ...fields]) => fields.map((field) => hashAt(key!).get(field) ?? null),
    HGETALL: ([key]) => [...hashAt(key!)].flat(),
    EVAL: (args) => evaluate(args[0]!, args.slice(1), false),
    EVAL_RO: (args) => evaluate(args[0]!, args.slice(1), true),
    EVALSHA: (args) => evaluate(sourceOf(args[0]!), args.slice(1), false),
    EVALSHA_RO: (args) => evaluate(sourceOf(args[0]!), args.slice(1), true),
    INFO: () => `maxmemory:1\r\nmaxmemory_policy:${self.policy}\r\nevicted_keys:0\r\n`,
    FLUSHALL() {
      data = new Map();
      return OK;
    },
  };

  function sourceOf(sha: string): string {
    const source = self.script(sha);
    if (source === undefined) throw new RedisError("NOSCRIPT No matching script. Please use EVAL.");
    return source;
  }

  function evaluate(source: string, args: readonly string[], readOnly: boolean): RedisReply {
    scripts.set(sha1(source), source);
    const { noWrites, allowsOom, isCounted } = headOf(source);
    if (readOnly && !noWrites) throw new RedisError("ERR Can not execute a script with write flag using *_ro command.");
    if (self.full && !noWrites && !allowsOom) {
      throw new RedisError(
        "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
      );
    }
    let chunk = chunks.get(source);
    if (!chunk) {
      const lua = uncounted(source.replace(/^#!.*\n/, "\n"));
      chunks.set(source, chunk = compileLua(hooks.patch ? hooks.patch(lua) : lua));
    }
    const count = integer(args[0]);
    let calls = 0;
    const call: LuaFunction = (...values) => {
      calls++;
      return toLua(self.run(commandOf(values)));
    };
    const pcall: LuaFunction = (...values) => {
      try {
        return call(...values);
      } catch (error) {
        if (!(error instanceof RedisError) || error instanceof ScriptKilled) throw error;
        return new LuaTable([], { err: error.message });
      }
    };
    inScript = noWrites ? "read" : "write";
    try {
      const result = chunk({
        KEYS: new LuaTable(args.slice(1, 1 + count)),
        ARGV: new LuaTable(args.slice(1 + count)),
        redis: { call, pcall, sha1hex: (value) => sha1(textOf(value)) },
      });
      const reply = fromLua(result);
      return isCounted ? [calls, reply] : reply;
    } finally {
      inScript = "no";
    }
  }

  const self: ModelRedis = {
    full: false,
    policy: "noeviction",
    scripts,
    script: (sha) => scripts.get(sha) ?? hooks.loaded?.(sha),
    run(command) {
      const name = command[0]!.toUpperCase();
      const act = Object.hasOwn(commands, name) ? commands[name] : undefined;
      if (!act) throw new RedisError(`ERR unknown command '${command[0]}'`);
      if (WRITES.has(name)) {
        if (inScript === "read") throw new RedisError("ERR Write commands are not allowed from read-only scripts.");
        if (self.full && inScript === "no" && NEEDS_MEMORY.has(name)) throw new RedisError(OOM);
        hooks.beforeWrite?.(name);
      }
      return act(command.slice(1));
    },
    save: () => new Map(data),
    load(state) {
      data = new Map(state);
    },
    peek(key) {
      const found = entry(key);
      return found?.shown;
    },
    score: (key, member) => zsetAt(key).get(member),
    members: (key) => zsetAt(key),
    fields: (key) => hashAt(key),
    keys: () => [...data.keys()].filter((key) => entry(key)),
  };
  return self;
}

const COUNTED = "return { _n, reply }";

interface ScriptHead {
  noWrites: boolean;
  allowsOom: boolean;
  /** It replies how many commands it ran, and then its reply. */
  isCounted: boolean;
}

const heads = new Map<string, ScriptHead>();

/** What a script's text says of it; read once. */
function headOf(source: string): ScriptHead {
  let head = heads.get(source);
  if (!head) {
    const flags = /^#!lua(?: flags=(\S*))?\n/.exec(source)?.[1]?.split(",") ?? [];
    head = {
      noWrites: flags.includes("no-writes"),
      allowsOom: flags.includes("allow-oom"),
      isCounted: source.endsWith(COUNTED),
    };
    heads.set(source, head);
  }
  return head;
}

/**
 * A script without the Lua by which it counts its commands: that is outside of the subset that is translated, and the
 * model counts by itself. differential.test.ts holds the count equal to a real server's.
 */
function uncounted(source: string): string {
  const [before, lua, after] = source.split(/local _n = 0 .*local function _main\(\)|\nend\nlocal reply = _main/);
  return after === undefined ? source : before + lua!.replace(/call\(_c\(('\w+'|ARGV\[8\])\)/g, "call($1");
}

const unpatched = new Map<string, LuaChunk>();
/** Of each patch: a schedule translates no script that one before it has translated. */
const patchedBy = new WeakMap<(source: string) => string, Map<string, LuaChunk>>();

function patchedChunks(patch: (source: string) => string): Map<string, LuaChunk> {
  let chunks = patchedBy.get(patch);
  if (!chunks) patchedBy.set(patch, chunks = new Map());
  return chunks;
}
const EMPTY = new Map<never, never>();
const OK = { ok: "OK" };
const REMOVALS = ["DEL", "UNLINK", "GETDEL", "ZREM", "PEXPIRE", "PEXPIREAT", "PERSIST", "FLUSHALL"];
const NEEDS_MEMORY = new Set(["SET", "MSET", "APPEND", "SETRANGE", "RESTORE", "ZADD", "HSET", "HINCRBY"]);
const WRITES = new Set([...NEEDS_MEMORY, ...REMOVALS]);

function integer(text: string | undefined): number {
  if (text === undefined || !/^-?\d+$/.test(text)) {
    throw new RedisError("ERR value is not an integer or out of range");
  }
  return Number(text);
}

function double(text: string | undefined): number {
  if (text === "-inf") return -Infinity;
  if (text === "+inf" || text === "inf") return Infinity;
  if (text === undefined || !/^[-+]?\d+(\.\d+)?(e[-+]?\d+)?$/.test(text)) {
    throw new RedisError("ERR value is not a valid float");
  }
  return Number(text);
}

function scoreText(score: number | undefined): string | null {
  if (score === undefined) return null;
  return score === Infinity ? "inf" : score === -Infinity ? "-inf" : String(score);
}

function sorted(zset: ReadonlyMap<string, number>): [string, number][] {
  return [...zset].sort(([a, x], [b, y]) => x - y || (a < b ? -1 : a > b ? 1 : 0));
}

function within(zset: ReadonlyMap<string, number>, least: string, most: string): [string, number][] {
  const bound = (text: string): [number, boolean] =>
    text.startsWith("(") ? [double(text.slice(1)), true] : [double(text), false];
  const [[low, aboveLow], [high, belowHigh]] = [bound(least), bound(most)];
  return sorted(zset).filter(([, score]) =>
    (aboveLow ? score > low : score >= low) && (belowHigh ? score < high : score <= high)
  );
}

function withScores(found: [string, number][], options: string[]): RedisReply {
  const scores = options.some((option) => option.toUpperCase() === "WITHSCORES");
  return found.flatMap(([member, score]) => scores ? [member, scoreText(score)!] : [member]);
}

function commandOf(values: LuaValue[]): string[] {
  return values.map((value) => {
    if (typeof value === "string") return value;
    if (typeof value === "number") return Number.isInteger(value) ? String(value) : numberText(value);
    throw new RedisError("ERR Lua redis lib command arguments must be strings or integers");
  });
}

function textOf(value: LuaValue): string {
  if (typeof value === "string") return value;
  throw new RedisError("ERR wrong type of arguments");
}

function toLua(reply: RedisReply): LuaValue {
  if (reply === null) return false;
  if (typeof reply !== "object") return reply;
  if (Array.isArray(reply)) return new LuaTable(reply.map(toLua));
  return new LuaTable([], { ok: reply.ok });
}

function fromLua(value: LuaValue): RedisReply {
  if (value === undefined || value === false) return null;
  if (value === true) return 1;
  if (typeof value === "number") return Math.trunc(value);
  if (typeof value === "string") return value;
  if (!(value instanceof LuaTable)) throw new Error("a script must return a value");
  const { err, ok } = value.read();
  if (typeof err === "string") throw new RedisError(err);
  if (typeof ok === "string") return { ok };
  const list: RedisReply[] = [];
  for (const item of value.list) {
    if (item === undefined) break;
    list.push(fromLua(item));
  }
  return list;
}

// ---- DUMP payloads of short strings, as Redis 7.0 writes them

const dumps = new Map<string, string>();

/** A string's DUMP payload, byte for byte (up to 20 characters: Redis compresses longer ones) . */
export function dumpString(value: string): string {
  let dump = dumps.get(value);
  if (dump === undefined) {
    const { length } = value;
    const head = length < 64
      ? String.fromCharCode(length)
      : length < 16_384
      ? String.fromCharCode(0x40 | (length >> 8), length & 255)
      : String.fromCharCode(0x80, 0, length >> 16, (length >> 8) & 255, length & 255);
    const body = `\0${head}${value}\x0a\0`;
    dump = body + crc64(body);
    if (dumps.size > 50_000) dumps.clear();
    dumps.set(value, dump);
  }
  return dump;
}

/** The string that a payload holds; `undefined` if its checksum is wrong. */
export function parseDump(payload: string): string | undefined {
  if (payload.length < 12 || crc64(payload.slice(0, -8)) !== payload.slice(-8) || payload[0] !== "\0") return undefined;
  const first = payload.charCodeAt(1);
  return payload.slice(first >= 128 ? 6 : first >= 64 ? 3 : 2, -10);
}

const CRC_TABLE = Array.from({ length: 256 }, (_, byte) => {
  let crc = BigInt(byte);
  for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ 0x95ac9329ac4bc9b5n : crc >> 1n;
  return crc;
});
const checksums = new Map<string, string>();

/** CRC-64 (Jones), eight bytes, the lowest first. */
function crc64(body: string): string {
  let text = checksums.get(body);
  if (text === undefined) {
    let crc = 0n;
    for (let i = 0; i < body.length; i++) {
      crc = CRC_TABLE[Number(crc & 255n) ^ body.charCodeAt(i)]! ^ (crc >> 8n);
    }
    text = "";
    for (let i = 0n; i < 8n; i++) text += String.fromCharCode(Number((crc >> (8n * i)) & 255n));
    if (checksums.size > 50_000) checksums.clear();
    checksums.set(body, text);
  }
  return text;
}

const sha1s = new Map<string, string>();

/** SHA-1 of a binary string, hexadecimal. */
export function sha1(value: string): string {
  let digest = sha1s.get(value);
  if (digest === undefined) {
    digest = createHash("sha1").update(value, "latin1").digest("hex");
    if (sha1s.size > 50_000) sha1s.clear();
    sha1s.set(value, digest);
  }
  return digest;
}
