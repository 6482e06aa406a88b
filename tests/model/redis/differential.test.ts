/**
 * The model of Redis, scripts included, held equal to a real server: random operations of a store, each of its requests
 * sent to both, late copies of earlier requests among them; the same replies, the same contents.
 * @module
 */
import { Buffer } from "node:buffer";
import { after, before, describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { type RedisServer, startRedis } from "../../../dev/servers/redis_server.ts";
import { memoryDatastore, notFound, TundraError, tundraStore } from "../../../mod.ts";
import { rebuild, restoreVersion, versions } from "../../../src/operations/mod.ts";
import {
  type RedisConnection,
  redisConnection,
  RedisError as RealError,
  type Reply,
} from "../../../src/testing/resp.ts";
import process from "node:process";
import { type SeededRandom, seededRandom } from "../../support/random.ts";
import { HOUR_MS } from "../../support/times.ts";
import { answerFrom, requestCommands, responseOf } from "./endpoint.ts";
import { type ModelRedis, modelRedis, sha1 } from "./redis.ts";
import { scriptName } from "./scripts.ts";

const KEYS = ["a", "b", "key with spaces", "ü", "e"];
const TIME = "redis.call('TIME')";
// Redis' own clock cannot be set: the scripts of both sides read a time that the test sets.
const SET_TIME = "redis.call('MGET', 'clock:s', 'clock:us')";

const ROUNDS = 30;
/** On Deno it goes on until each reply has come. What differs between runtimes is no rule of Redis. */
const onDeno = process.versions.deno !== undefined;

describe("the model of Redis", () => {
  let server: RedisServer;
  let real: RedisConnection;
  before(async () => {
    server = await startRedis();
    real = redisConnection({ port: server.port });
  });
  after(async () => {
    real.close();
    await server.stop();
  });

  it("answers as Redis does and holds what Redis holds, whatever the shipped scripts are asked, and in any order", async () => {
    const random = seededRandom("the model of Redis");
    const pair = comparedPair(real, random);
    const missing = () =>
      Object.entries(EVERY_CODE).flatMap(([script, codes]) =>
        [...codes].filter((code) => !pair.codes()[script]?.includes(code)).map((code) => `${script} ${code}`)
      );
    for (let round = 0; round < ROUNDS || (onDeno && missing().length > 0 && round < 200); round++) {
      await runRound(pair, random, 120);
    }
    console.log(`${pair.requests()} requests compared`);
    if (onDeno) assertEquals(missing(), [], "replies that never came");
  });

  it("refuses a script outside of its subset of Lua instead of misreading it", () => {
    const redis = modelRedis(() => 0);
    for (
      const lua of [
        "return string.rep('a', 3)",
        "for k, v in pairs({}) do end return 1",
        "return [[long]]",
        "repeat until true",
        "x = 1",
        "return string.format('%5d', 1)",
        "local t = { [1] = 2 } return t",
        "return string.match('a', '%f[a]')",
      ]
    ) {
      let message = "";
      try {
        redis.run(["EVAL", `#!lua\n${lua}`, "0"]);
      } catch (error) {
        message = (error as Error).message;
      }
      assert(/subset|unclosed|expected/.test(message), `${lua}: ${message}`);
    }
  });
});

/** Replies that random operations must reach, or the comparison proves little. */
const EVERY_CODE: Record<string, string> = {
  mark: "MCB",
  commit: "CQGTXS",
  evict: "EMNDRC",
  restore: "R",
  remove: "DA",
  restore_version: "RADWCX",
  fail: "QDS",
  raise: "MRK",
};

interface Pair {
  fetch: typeof fetch;
  model: ModelRedis;
  /** Empties both. */
  flush(): Promise<void>;
  compareContents(): Promise<void>;
  repeat(): Promise<void>;
  passTime(ms: number): void;
  requests(): number;
  codes(): Record<string, string>;
}

function comparedPair(real: RedisConnection, random: SeededRandom): Pair {
  let nowUs = Date.now() * 1000;
  const startUs = nowUs;
  const model = modelRedis(() => startUs, { patch: (source) => source.replaceAll(TIME, SET_TIME) });
  const names = new Map<string, string>();
  const codes: Record<string, Set<string>> = {};
  const sent: string[] = [];
  let requests = 0;
  let failure: unknown;

  // one after the other: the clock is set for each
  let last: Promise<unknown> = Promise.resolve();
  const both = (body: string): Promise<ReturnType<typeof answerFrom>> => {
    const turn = last.then(() => ask(body));
    last = turn.catch((error) => failure ??= error); // the store takes what its fetch throws for a network failure
    return turn;
  };

  const ask = async (body: string): Promise<ReturnType<typeof answerFrom>> => {
    requests++;
    nowUs += 1 + random.int(3000);
    const clock = ["MSET", "clock:s", String(Math.floor(nowUs / 1e6)), "clock:us", String(nowUs % 1e6)];
    model.run(clock);
    const commands = requestCommands(body);
    for (const [name, source] of commands) {
      if (/^EVAL(_RO)?$/i.test(name!)) names.set(sha1(source!), /^-- /m.test(source!) ? scriptName(source!) : "?");
    }
    const realCommands = commands.map((command) => realCommand(command, model));
    const expected = await real.pipeline([clock, ...realCommands]);
    const answer = answerFrom(model, body);
    const got = JSON.parse(answer.body);
    const list = body.startsWith("[[") ? got : [got];
    expected.slice(1).forEach((reply, i) => {
      const text = `${body.slice(0, 300)}`;
      if (/^(TIME|INFO)$/.test(String(realCommands[i]![0]))) return;
      assertEquals(comparable(list[i]), comparable(asJson(reply)), text);
      note(commands[i]!, list[i]);
    });
    return answer;
  };

  function note(command: readonly string[], answer: { result?: unknown }): void {
    const source = model.scripts.get(command[1]!) ?? command[1]!;
    if (!/^EVAL/i.test(command[0]!) || answer.result === undefined) return;
    const seen = codes[scriptName(source)] ??= new Set();
    const flat = [answer.result].flat(3) as unknown[];
    for (const item of flat) if (typeof item === "string") { for (const c of atob(item).slice(0, 8)) seen.add(c); }
  }

  return {
    model,
    fetch: async (_url, init) => {
      const body = init!.body as string;
      if (/^\["EVALSHA/.test(body)) sent.push(body);
      return responseOf(await both(body));
    },
    async repeat() {
      if (sent.length > 0) await both(sent[Math.max(0, sent.length - 1 - random.int(60))]!);
    },
    passTime(ms) {
      nowUs += ms * 1000;
    },
    async flush() {
      model.run(["FLUSHALL"]);
      await real.call("FLUSHALL");
      sent.length = 0;
    },
    async compareContents() {
      await last;
      if (failure) throw failure;
      const keys = (await real.call("KEYS", "*") as Buffer[]).map((key) => key.toString("latin1")).sort();
      assertEquals(model.keys().sort(), keys);
      for (const key of keys) {
        const raw = Buffer.from(key, "latin1");
        const read = /:(hours|runs)$/.test(key)
          ? ["HGETALL"]
          : key.endsWith(":stats")
          ? random.pick([["HGETALL"], ["HGET", "frozen"], ["HMGET", "frozen", "none"]])
          : /:(dirty|idle|dead|purge)$/.test(key)
          ? ["ZRANGE", "0", "-1", "WITHSCORES"]
          : ["GET"];
        const [name, ...rest] = read as [string, ...string[]];
        const [value, exp] = await real.pipeline([[name, raw, ...rest], ["PEXPIRETIME", raw]]) as [Reply, Reply];
        // a hash with long values has no order
        const ordered = (found: unknown) => /:(hours|runs)$/.test(key) ? [...found as unknown[]].sort() : found;
        assertEquals(
          comparable({ result: [ordered(model.run([name, key, ...rest])), model.run(["PEXPIRETIME", key])] }),
          comparable({ result: [ordered(plain(value)), exp] }),
          key,
        );
      }
    },
    requests: () => requests,
    codes: () => Object.fromEntries(Object.entries(codes).map(([name, seen]) => [name, [...seen].sort().join("")])),
  };
}

/** Without key locking, which only Upstash knows, and with the time of the test. */
function realCommand(command: readonly string[], model: ModelRedis): (string | Buffer)[] {
  const [name, first, ...rest] = command as [string, string, ...string[]];
  const raw = rest.map((part) => Buffer.from(part, "latin1"));
  if (!/^EVAL/i.test(name)) return [name, ...(first === undefined ? [] : [Buffer.from(first, "latin1")]), ...raw];
  const source = /SHA/i.test(name) ? model.scripts.get(first) : first;
  if (source === undefined) return [name, first, ...raw];
  const flags = (/^#!lua flags=(\S*)/.exec(source)?.[1] ?? "").split(",")
    .filter((flag) => flag !== "" && flag !== "allow-key-locking");
  const head = `#!lua${flags.length > 0 ? ` flags=${flags.join(",")}` : ""}\n`;
  return [name.toUpperCase().replace("SHA", ""), head + withTestTime(source.replace(/^.*\n/, "")), ...raw];
}

/** Also where the script counts its commands. */
function withTestTime(source: string): string {
  const counting = (call: string) => call.replace(/\(('\w+')/, "(_c($1)");
  return source.replaceAll(TIME, SET_TIME).replaceAll(counting(TIME), counting(SET_TIME));
}

/** As the endpoint encodes it. */
function asJson(reply: Reply): unknown {
  if (reply instanceof RealError) return { error: reply.message };
  const encode = (one: Reply): unknown =>
    one instanceof Uint8Array
      ? Buffer.from(one).toString("base64")
      : Array.isArray(one)
      ? one.map(encode)
      : one instanceof Error
      ? { error: one.message }
      : one;
  return { result: encode(reply) };
}

function plain(reply: Reply): unknown {
  if (reply instanceof Uint8Array) return Buffer.from(reply).toString("latin1");
  return Array.isArray(reply) ? reply.map(plain) : reply;
}

/** Of an error only its code counts. */
function comparable(answer: { error?: string } | unknown): string {
  const { error } = answer as { error?: string };
  return error === undefined ? JSON.stringify(answer) : `error ${error.split(" ")[0]}`;
}

/** So many of the acts below end without an upload. */
const MEANWHILE = 15;

async function runRound(pair: Pair, random: SeededRandom, operations: number): Promise<void> {
  await pair.flush();
  const archive = memoryDatastore();
  let broken: "no" | "store" | "key" = "no";
  const datastore = {
    ...archive,
    putKey: async (name: string, value: Uint8Array) => {
      // another client is quick: between a snapshot and its commit
      for (let i = random.int(3); i > 0; i--) await random.pick(acts.slice(0, MEANWHILE))().catch(() => {});
      // what is refused of all keys is not specific to one of them
      if ((broken === "store" || (broken === "key" && random.int(2) === 0)) && !name.includes("/~owner/")) {
        throw new TundraError(broken === "store" ? "UNAVAILABLE" : "UNSUPPORTED", "no");
      }
      return await archive.putKey(name, value);
    },
    fetchKeys: async (names: string[]) =>
      (await archive.fetchKeys(names)).map((found, i) => found ?? notFound(names[i]!)),
  };
  const store = tundraStore(datastore, {
    redis: { url: "http://model", token: "t", fetch: pair.fetch, retry: false, enableAutoPipelining: false },
    freezer: null,
    redisTtlMs: 10 * HOUR_MS,
    minEvictBytes: 0,
    freezeDelayMs: random.int(2) * 5,
  });
  const { redis } = store;
  let n = 0;
  const keys = () => KEYS.filter(() => random.int(2) === 0);
  const expiry = () => Date.now() + (3 + random.int(60)) * HOUR_MS;
  const acts: (() => Promise<unknown>)[] = [
    () => redis.set(random.pick(KEYS), `v${n++}`),
    () => redis.set(random.pick(KEYS), "same"),
    () => redis.set(random.pick(KEYS), "same"),
    () => redis.set(random.pick(KEYS), `v${n++}`, { pxat: expiry() }),
    async () => (await redis.get<string>("a") ?? "").length < 16 && redis.append("a", "+"),
    () => redis.pexpireat(random.pick(KEYS), expiry()),
    () => redis.persist(random.pick(KEYS)),
    () => redis.del(random.pick(KEYS)),
    () => store.dirty(...keys()),
    () => store.dirty(...KEYS),
    () => store.dirty(...KEYS),
    () => store.dirty({ overwrite: true }, ...keys()),
    () => store.dirty({ missing: "del" }, ...keys()),
    () => store.del(...keys().slice(0, 1)),
    () => store.evict(...keys()),
    () => store.evict(...KEYS),
    () => {
      const tx = redis.multi();
      tx.set("b", `v${n++}`);
      store.dirtyIn(tx, { overwrite: random.int(2) === 0 }, "b");
      return tx.exec();
    },
    () => store.tick({ nattempts: 2, leaseMs: 1000, retryBackoffMs: 0, batchKeys: 1 + random.int(5) }),
    () => store.tick(),
    () => store.ensureKs(...keys()),
    () => store.ensureKs(...KEYS),
    async () => {
      const key = random.pick(KEYS);
      const all = (await versions(store, key)).filter(({ gone }) => gone === false);
      if (all.length === 0) return;
      const to = random.int(3) === 0 ? random.pick(KEYS.filter((other) => other !== key)) : undefined;
      await restoreVersion(store, key, random.pick(all).version, { to, expired: random.int(2) === 0 });
    },
    () => store.status(),
    () => store.deadLetters(),
    () => store.retryDead(...keys()),
    () => pair.repeat(),
    () => pair.repeat(),
    () => pair.repeat(),
    () => pair.repeat(),
    () => Promise.resolve(pair.passTime(random.pick([0, 1, 1000, 61_000, 3 * HOUR_MS, 11 * HOUR_MS]))),
    async () => { // the index is lost, and some values with it
      if (random.int(3) > 0) return;
      await redis.del(...pair.model.keys().filter((key) => key.startsWith("tundra:")), ...keys(), "none");
      await rebuild(store);
    },
    () => rebuild(store),
    () => Promise.resolve(broken = random.pick(["no", "no", "store", "key"] as const)),
  ];
  for (let i = 0; i < operations; i++) {
    try {
      await random.pick(acts)();
    } catch (error) {
      const refused = error instanceof TundraError || (error as Error).name === "UpstashError";
      if (!refused) throw error;
    }
    if (i % 4 === 0) await pair.compareContents();
  }
  await pair.compareContents();
}
