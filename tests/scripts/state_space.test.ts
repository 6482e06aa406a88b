/**
 * Every state in which a key can be found, also those that only a failover or a script that ended half-way leaves
 * behind, and every call on it: what was there is there afterwards, what was gone stays gone.
 */
import type { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { before, describe, it } from "node:test";
import { assertEquals, assertGreater } from "@std/assert";
import { deflateFreezer, type MemoryDatastore, memoryDatastore, TundraError, type TundraStore } from "../../mod.ts";
import { objectName, ownerObject, redisKeys } from "../../src/base/keys.ts";
import { withArchive } from "../support/fixtures.ts";
import { freezeRecord } from "../support/records.ts";
import { HOUR_MS } from "../support/times.ts";

interface State {
  key: string;
  flag: "r" | "e" | "g" | "m";
  dirty: boolean;
  archived: boolean;
  exp: "none" | "past" | "future";
  /** `retimed`: the archived bytes with another expiry. */
  bytes: "missing" | "archived" | "retimed" | "other";
  queue: "none" | "due" | "leased" | "dead" | "idle" | "due and idle" | "dead and due";
}

const QUEUES = ["none", "due", "leased", "dead", "idle", "due and idle", "dead and due"] as const;

function* allStates(): Generator<State> {
  for (const flag of ["r", "e", "g", "m"] as const) {
    for (const dirty of [false, true]) {
      for (const archived of [false, true]) {
        for (const exp of archived ? ["none", "past", "future"] as const : ["none"] as const) {
          for (const bytes of ["missing", "archived", "retimed", "other"] as const) {
            for (const queue of QUEUES) {
              const key = [flag, dirty ? "dirty" : "clean", archived ? "ver" : "none", exp, bytes, queue].join(":");
              yield { key, flag, dirty, archived, exp, bytes, queue };
            }
          }
        }
      }
    }
  }
}

const STATES = [...allStates()];
const KEYS = STATES.map(({ key }) => key);
const VER = "1700000000000000-00000000";

/** The result of ensureKs for a key: its value and expiry (ms), `conflict`, or `absent`. */
type Truth = string;

const OPERATIONS: Record<string, (store: TundraStore) => Promise<unknown>> = {
  "ensureKs()": (store) => store.ensureKs(KEYS),
  "dirty()": (store) => store.dirty(KEYS),
  "dirty({ overwrite: true })": (store) => store.dirty({ overwrite: true }, KEYS),
  'dirty({ missing: "del" })': (store) => store.dirty({ missing: "del" }, KEYS),
  "dirtyIn()": (store) => {
    const pipeline = store.redis.pipeline();
    store.dirtyIn(pipeline, KEYS);
    return pipeline.exec();
  },
  "tick()": (store) => store.tick({ retryBackoffMs: HOUR_MS }),
  "evict()": (store) => store.evict(KEYS),
  "del()": (store) => store.del(KEYS),
  "retryDead()": (store) => store.retryDead(KEYS),
};

describe("in every state of a key", () => {
  const stack = withArchive();
  const keys = redisKeys("default");
  let archive: MemoryDatastore;
  let store: TundraStore;
  let fp = "";
  let future = 0;

  before(async () => {
    archive = memoryDatastore();
    const id = stack.id("this-index");
    archive.objects.set(ownerObject("default", "this-index"), new TextEncoder().encode(id));
    await stack.raw("SET", "sample", "archived");
    const dump = new Uint8Array(await stack.raw("DUMP", "sample") as Buffer);
    fp = createHash("sha1").update(dump).digest("hex");
    future = Math.floor(await stack.nowMs()) + 10 * HOUR_MS;
    for (const { key, archived, exp } of STATES) {
      if (!archived) continue;
      const record = { key, ver: VER, at: 1, exp: expiryOf(exp), dump };
      archive.objects.set(
        await objectName({ tqname: "default" }, key, VER),
        await freezeRecord(record, [deflateFreezer()]),
      );
    }
  });

  const expiryOf = (exp: State["exp"]): number => exp === "none" ? 0 : exp === "past" ? 1_700_000_000_000 : future;
  const othersExpiry = (exp: State["exp"]): number => exp === "future" ? 0 : future;

  async function enter(): Promise<void> {
    await stack.flush();
    const now = Math.floor(await stack.nowMs());
    const idle = now - 20 * HOUR_MS;
    const commands: string[][] = [["MSET", keys.id, stack.id("this-index"), keys.tick, "0"]];
    for (const { key, flag, dirty, archived, exp, bytes, queue } of STATES) {
      const attempts = queue.startsWith("dead") ? 3 : 0;
      const record = `1 ${dirty ? 1_700_000_000_000_001 : 0} ${archived ? VER : "-"} ${flag} ${archived ? fp : "-"} ` +
        `${archived ? expiryOf(exp) : 0} ${idle} ${attempts} - - - 0 0 `;
      commands.push(["SET", keys.record(key), record]);
      if (bytes !== "missing") commands.push(["SET", key, bytes === "other" ? "other" : "archived"]);
      const expiry = bytes === "retimed" ? othersExpiry(exp) : bytes === "archived" && exp === "future" ? future : 0;
      if (bytes !== "missing" && expiry > 0) commands.push(["PEXPIREAT", key, String(expiry)]);
      if (queue.includes("due")) commands.push(["ZADD", keys.dirty, String(now - 1000), key]);
      if (queue === "leased") commands.push(["ZADD", keys.dirty, `${now + HOUR_MS}.5`, key]);
      if (queue.includes("dead")) commands.push(["ZADD", keys.dead, String(now - 1000), key]);
      if (queue.includes("idle")) commands.push(["ZADD", keys.idle, String(idle), key]);
    }
    await stack.raw(
      "EVAL",
      "for _, c in ipairs(cjson.decode(ARGV[1])) do redis.call(unpack(c)) end",
      0,
      JSON.stringify(commands),
    );
    store = stack.store({ datastore: archive, redisTtlMs: 10 * HOUR_MS });
  }

  /** Before any call. */
  function truthOf({ flag, dirty, archived, exp, bytes }: State): Truth {
    const expired = archived && exp === "past";
    if (bytes === "missing") {
      const evictable = archived && !dirty && flag !== "g" && flag !== "m" && !expired;
      return evictable ? `archived ${expiryOf(exp)}` : "absent";
    }
    if (flag === "e" && !expired && (bytes === "other" || !archived)) return "conflict";
    const expiry = bytes === "retimed" ? othersExpiry(exp) : bytes === "archived" && exp === "future" ? future : 0;
    return `${bytes === "other" ? "other" : "archived"} ${expiry}`;
  }

  /** The right state of the key after a call. */
  function truthAfter(call: string, state: State, truth: Truth): Truth {
    const { flag, bytes } = state;
    if (call === "del()") return "absent";
    if (call.includes("overwrite") && truth === "conflict") {
      return `${bytes} 0`.replace("retimed 0", `archived ${future}`);
    }
    if (call.includes("del") && bytes === "missing" && flag === "r") return "absent";
    return truth;
  }

  async function ensured(): Promise<Record<string, Truth>> {
    let causes: Record<string, Error> = {};
    try {
      await store.ensureKs(KEYS);
    } catch (error) {
      if (!(error instanceof TundraError)) throw error;
      causes = error.causes;
    }
    const found: Record<string, Truth> = {};
    const script = "local out = {} for i, k in ipairs(KEYS) do out[2 * i - 1] = redis.call('GET', k); " +
      "out[2 * i] = redis.call('PEXPIRETIME', k) end return out";
    const views = await stack.raw("EVAL", script, KEYS.length, ...KEYS) as (Buffer | number | null)[];
    KEYS.forEach((key, i) => {
      const [value, expiry] = [views[2 * i], Number(views[2 * i + 1])];
      const cause = causes[key];
      if (cause) found[key] = cause instanceof TundraError && cause.code === "CONFLICT" ? "conflict" : cause.message;
      else found[key] = value === null ? "absent" : `${value} ${Math.max(0, expiry)}`;
    });
    return found;
  }

  async function run(calls: string[]): Promise<void> {
    await enter();
    for (const call of calls) {
      try {
        await OPERATIONS[call]!(store);
      } catch (error) {
        if (!(error instanceof TundraError)) throw error;
      }
    }
    const found = await ensured();
    const wrong: string[] = [];
    for (const state of STATES) {
      let truth = truthOf(state);
      for (const call of calls) truth = truthAfter(call, state, truth);
      if (found[state.key] !== truth) wrong.push(`${state.key}: ${truth} became ${found[state.key]}`);
    }
    assertEquals(wrong, [], calls.join(", "));
  }

  for (const call of Object.keys(OPERATIONS)) {
    it(`${call} loses nothing and brings nothing back`, async () => {
      await run([call]);
      assertGreater(KEYS.length, 600);
    });
  }
  for (
    const calls of [
      ["evict()", "tick()", "tick()", "evict()", "retryDead()"],
      ["retryDead()", "tick()", "dirty()", "tick()", "evict()"],
    ]
  ) {
    it(`${calls.join(", ")}: neither`, () => run(calls));
  }
});
