/**
 * The table of commands says what the server says, and decides every command that the client can send.
 */
import { readdirSync, readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { Redis, type Requester } from "@upstash/redis";
import { TundraError } from "../../mod.ts";
import { lifetimeMs } from "../../src/transparent/options.ts";
import { planOf } from "../../src/transparent/plan.ts";
import { runsWhenFull, specOf } from "../../src/transparent/table.ts";
import { withStack } from "../support/stack.ts";

/** Where the table says otherwise than a server's data, and why. */
const OTHERWISE: Record<string, string> = {
  pfcount: "r1*", // may write what it has counted, which is no change of the value
  sinterstore: "o1,r2*", // Redis 7.0 says that it reads what it replaces
  lcs: "r1,r2", // the same two keys
  move: "refused",
  migrate: "refused",
  object: "r2",
  xreadgroup: "w@streams*:2", // notes in the key who has read what
  pfdebug: "refused",
  watch: "refused", // connections are not kept
  spublish: "refused",
  ssubscribe: "refused",
  sunsubscribe: "refused",
  "restore-asking": "refused",
  sort: "r1,o@store",
  sort_ro: "r1",
};

/** A command's data, as `COMMAND` replies it. */
type CommandData = [name: string, arity: number, flags: unknown[], ...unknown[]];

describe("the table of a transparent client", () => {
  const stack = withStack();

  it("says of each key of the server's commands what the server says", async () => {
    const all = (await stack.raw("COMMAND") as unknown as CommandData[]).map(textOf) as CommandData[];
    const compared: string[] = [];
    for (const data of all) {
      const name = String(data[0]);
      const flags = (data[2] as unknown[]).map(String);
      if (flags.includes("blocking") && !name.startsWith("xread")) continue; // nothing waits in a request
      const specs = [data, ...(data[9] as CommandData[])].map(specOfData).filter((spec) => spec !== "");
      const expected = OTHERWISE[name] ?? specs[0] ?? specOf(name) ?? "refused";
      assertEquals([name, specOf(name) ?? "refused"], [name, expected]);
      if (
        expected === "" || expected === "refused" || ["eval", "evalsha", "fcall"].some((one) => name.startsWith(one))
      ) continue;
      assert(!flags.includes("noscript"), `${name} runs in no script`);
      compared.push(name);
    }
    assert(compared.length > 150, String(compared.length));
  });

  it("says of a command that changes something whether the server carries it out at its memory limit", async () => {
    const all = (await stack.raw("COMMAND") as unknown as CommandData[]).map(textOf) as CommandData[];
    const inTransactions = ["eval", "evalsha", "fcall", "sort", "xreadgroup"]; // and in none of Tundra's scripts
    const differing = all.filter(([name, , flags]) => {
      const spec = specOf(name) ?? "";
      const isRead = spec.split(",").every((part) => part.startsWith("r"));
      if (spec === "" || name === "xgroup" || inTransactions.includes(name)) return false;
      return (isRead || spec.startsWith("d") || runsWhenFull(name)) === flags.includes("denyoom");
    });
    assertEquals(differing.map(([name]) => name), []);
  });

  for (const version of ["newest", "oldest"]) {
    it(`decides every command of the ${version} client of the range`, async () => {
      const module = version === "newest"
        ? { Redis }
        : await import("upstash-redis-oldest") as unknown as { Redis: typeof Redis };
      const sent = new Set<string>();
      const requester: Requester = {
        request(request) {
          const body = request.body as unknown[];
          if (request.path === undefined) sent.add(String(body[0]).toLowerCase());
          return Promise.resolve({ result: null as never });
        },
      };
      const client = new module.Redis(requester);
      const tried = await callAll(client as unknown as Record<string, unknown>);
      assert(tried > 150, String(tried));
      for (const name of sent) {
        if (["flushdb", "flushall", "client", "json.debug"].includes(name)) continue;
        assert(specOf(name) !== undefined, `${name} is not decided`);
      }
      assert(sent.size > 150, `${sent.size}: ${[...sent]}`);
    });
  }

  it("decides the commands of the client's search indexes", () => {
    const folder = new URL("../../node_modules/@upstash/redis/", import.meta.url);
    const files = readdirSync(folder).filter((name) => name.endsWith(".mjs"));
    const text = files.map((name) => readFileSync(new URL(name, folder), "utf8")).join();
    for (const [, name] of text.matchAll(/"(SEARCH\.[A-Z]+)"/g)) {
      assert(specOf(name!.toLowerCase()) === "", `${name} is not decided`);
    }
  });

  it("finds the keys of commands whose options move them", () => {
    const keys = (command: string) => {
      const { keys, uses } = planOf(command.split(" "), () => true);
      return keys.map((key, i) => `${key}:${uses[i]}`).join(" ");
    };
    const expected: Record<string, string> = {
      "SET a 1": "a:o",
      "SET a 1 EX 9": "a:o",
      "SET a 1 NX": "a:w",
      "set a 1 keepttl": "a:w",
      "SET a NX": "a:o", // a value, not a condition
      "SET a 1 PXAT 9 EX 9": "a:o",
      "SET a 1 EX": "a:w",
      "SET a 1 IFEQ old": "a:w",
      "SET a 1 EX 9 IFDNE old": "a:w",
      "SET a 1 WHAT COMES": "a:w",
      "MSET a 1 b 2": "a:o b:o",
      "MSETNX a 1 b 2": "a:w b:w",
      "COPY a b": "a:r b:w",
      "COPY a b REPLACE": "a:r b:o",
      "COPY a b WHAT REPLACE": "a:r b:w",
      "RENAME a b": "a:w b:o",
      "RENAME a a": "a:w",
      "SUNIONSTORE a a b": "a:w b:r",
      "ZUNIONSTORE d 2 a b WEIGHTS 1 2": "d:o a:r b:r",
      "XREAD COUNT 2 STREAMS a b 0 0": "a:r b:r",
      "XREADGROUP GROUP g c STREAMS a >": "a:w",
      "XINFO STREAM a": "a:r",
      "XGROUP CREATE a g $": "a:w",
      "OBJECT ENCODING a": "a:r",
      "BITOP AND d a b": "d:o a:r b:r",
      "XREAD STREAMS streams b 0 0": "streams:r b:r",
      "XREADGROUP GROUP streams c COUNT 1 STREAMS k >": "k:w",
      "XREADGROUP COUNT 1 GROUP g streams STREAMS k >": "k:w",
      "XREADGROUP GROUP g c CLAIM 9 STREAMS k >": "k:w",
      "GEORADIUS a 1 2 3 m STORE d": "a:r d:o",
      "GEORADIUS store 1 2 3 m ASC STORE d": "store:r d:o",
      "GEORADIUSBYMEMBER a store 3 m COUNT 1 STOREDIST d": "a:r d:o",
      "GEORADIUSBYMEMBER a store 3 m WHAT STORE d": "a:r d:w",
      "GEOSEARCHSTORE d a FROMMEMBER m BYRADIUS 1 km ASC COUNT 1 ANY STOREDIST": "d:o a:r",
      "GEOSEARCHSTORE d a FROMMEMBER m BYRADIUS 1 km IF x": "d:w a:r",
      "ZRANGESTORE d a 0 -1 REV LIMIT 0 1": "d:o a:r",
      "ZRANGESTORE d a 0 -1 IF": "d:w a:r",
      "ZUNIONSTORE d 1 a AGGREGATE MAX IF": "d:w a:r",
      "SORT a LIMIT 0 1 STORE d": "a:r d:o",
      "SORT store STORE d": "store:r d:o",
      "SORT a BY store STORE d": "a:r d:o",
      "SORT a GET # WHAT STORE d": "a:r d:w",
      "SETEX a 9 1 NX": "a:w",
      "RENAME a b NX": "a:w b:w",
      "LMPOP 2 a b LEFT": "a:w b:w",
      "EVAL s 2 a b x y": "a:w b:w",
      "EVAL_RO s 1 a x": "a:r",
      "EVAL s 0 x": "",
      "JSON.SET a $ 1": "a:o",
      "JSON.SET a $ 1 XX": "a:w",
      "JSON.SET a $ 1 WHAT": "a:w",
      "JSON.SET a $.b 1": "a:w",
      "JSON.MGET a b $": "a:r b:r",
      "JSON.MSET a $ 1 b $.c 2": "a:w b:w",
      "RESTORE a 0 x": "a:w",
      "RESTORE a 0 x REPLACE": "a:o",
      "RESTORE a 0 x REPLACE ABSTTL IDLETIME 5 FREQ 1": "a:o",
      "RESTORE a 0 x REPLACE WHAT": "a:w",
      "PING": "",
    };
    for (const [command, found] of Object.entries(expected)) assertEquals([command, keys(command)], [command, found]);
  });

  it("knows for how long the value lives that a command writes", () => {
    const nowMs = 1_000_000;
    const lives = (command: string) => {
      const words = command.split(" ");
      return lifetimeMs(words[0]!.toLowerCase(), words, nowMs);
    };
    const expected: Record<string, number> = {
      "SET a 1": Infinity,
      "SET a EX": Infinity, // a value
      "SET a 1 EX 9": 9_000,
      "set a 1 px 9": 9,
      "SET a 1 EXAT 1001": 1_000,
      "SET a 1 PXAT 9": 9 - nowMs,
      "SET a 1 PX 0": Infinity, // it is refused
      "SET a 1 PXAT -1": Infinity,
      "SET a 1 EX": Infinity,
      "SET a 1 EX soon": Infinity,
      "SETEX a 9 1": 9_000,
      "PSETEX a 9 1": 9,
      "RESTORE a 0 x REPLACE": Infinity,
      "RESTORE a 0 x REPLACE ABSTTL": Infinity,
      "RESTORE a 9 x REPLACE": 9,
      "RESTORE a 9 x REPLACE ABSTTL": 9 - nowMs,
      "MSET a 1 EX 9": Infinity,
      "RENAME a b": Infinity,
    };
    for (const [command, ms] of Object.entries(expected)) assertEquals([command, lives(command)], [command, ms]);
  });

  it("refuses what it does not know, and patterns that name other keys", () => {
    const refused = ["FOO a", "FLUSHDB", "SWAPDB 0 1", "MOVE a 1", "SORT a BY w_*", "SORT_RO a ASC GET v_*", ""];
    for (const command of [...refused, "COPY a b DB 1", "COPY a b REPLACE DB 1", "copy a b db replace"]) {
      try {
        planOf(command.split(" "), () => true);
      } catch (error) {
        assert(error instanceof TundraError && error.code === "UNSUPPORTED", String(error));
        continue;
      }
      throw new Error(`${command} must be refused`);
    }
    assertEquals(planOf(["SORT", "a", "BY", "nosort", "GET", "#"], () => true).keys, ["a"]);
    assertEquals(planOf(["SORT", "by", "STORE", "w_*"], () => true).keys, ["by", "w_*"]);
  });
});

/** Buffers as text. */
function textOf(data: unknown): unknown {
  return Array.isArray(data) ? data.map(textOf) : typeof data === "number" ? data : String(data);
}

/** A command's key specifications in the table's words; "" for none, or for places that are not known beforehand. */
function specOfData(data: CommandData): string {
  const specs = (data[8] as unknown[][]).map((flat) => {
    const { flags, begin_search, find_keys } = fieldsOf(flat) as Record<string, string[]>;
    const begin = fieldsOf(begin_search!) as { type: string; spec: unknown[] };
    const find = fieldsOf(find_keys!) as { type: string; spec: unknown[] };
    if (begin.type === "unknown") return "";
    const at = fieldsOf(begin.spec) as { index: number; keyword: string };
    const { lastkey, keystep, limit } = fieldsOf(find.spec) as { lastkey: number; keystep: number; limit: number };
    const use = data[2].map(String).includes("readonly") || flags!.includes("RO")
      ? "r"
      : flags!.includes("RM")
      ? "d"
      : flags!.includes("OW") && flags!.includes("update")
      ? "o"
      : "w";
    const place = begin.type === "index" ? String(at.index) : `@${at.keyword.toLowerCase()}`;
    if (find.type === "keynum") return `${use}${place}#`;
    if (lastkey === 0) return use + place;
    return `${use}${place}*${keystep === 1 ? "" : keystep}${limit > 1 ? `:${limit}` : ""}`;
  });
  return specs.filter((spec) => spec !== "").join(",");
}

function fieldsOf(flat: readonly unknown[]): Record<string, unknown> {
  return Object.fromEntries(flat.flatMap((name, i) => i % 2 === 0 ? [[String(name), flat[i + 1]]] : []));
}

/** Calls each method of a client, and of what its getters give; the number of methods. */
async function callAll(client: Record<string, unknown>): Promise<number> {
  const names = new Set<string>();
  for (let of = client; of && of !== Object.prototype; of = Object.getPrototypeOf(of)) {
    for (const name of Object.getOwnPropertyNames(of)) names.add(name);
  }
  const skipped = [
    "constructor",
    "use",
    "addTelemetry",
    "pipeline",
    "multi",
    "autoPipeline",
    "createScript",
    "subscribe",
    "psubscribe",
    "client",
    "exec",
  ]; // no commands of their own
  let tried = 0;
  const options = [["a", "b", "c", "d"], ["a", { b: 1 }], ["a", ["b"], ["c"]], [["a", "b"]], [{ a: 1 }], [
    "a",
    1,
    2,
    "x",
  ]];
  const call = async (method: (...args: unknown[]) => unknown, self: unknown) => {
    tried++;
    for (
      const args of [
        ...options,
        ["and", "d", "a"],
        ["a", { score: 1, member: "m" }],
        ["a", { type: "CREATE", group: "g", id: "$" }],
        ["a", { type: "CONSUMERS", group: "g" }],
        ["d", 2, ["a", "b"]],
        [2, ["a", "b"], { min: true }],
        ["a", "*", { x: 1 }],
      ]
    ) {
      try {
        await method.apply(self, args);
      } catch {
        // other arguments will do
      }
    }
  };
  for (const name of names) {
    if (skipped.includes(name)) continue;
    const value = client[name];
    if (typeof value === "function") await call(value as () => unknown, client);
    else if (["json", "functions"].includes(name)) {
      for (const [, inner] of Object.entries(value as object)) {
        if (typeof inner === "function") await call(inner, value);
      }
    }
  }
  return tried;
}
