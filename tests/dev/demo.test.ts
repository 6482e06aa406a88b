import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { cityEntries, type Entry } from "../../dev/demo/cities.ts";
import { isEqual, readCommands, type Value, writeCommands } from "../../dev/demo/values.ts";
import { type RedisServer, startRedis } from "../../dev/servers/redis_server.ts";
import { transparentRedis } from "../../src/transparent/mod.ts";
import * as tundra from "../../mod.ts";
import type { TundraStore } from "../../mod.ts";
import { storeEnvironment } from "../../src/testing/environment.ts";
import { type CommandPart, type RedisConnection, redisConnection } from "../../src/testing/resp.ts";
import { startS3 } from "../../src/testing/s3.ts";
import { startUpstash } from "../../src/testing/upstash.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Runs a program of the repository on this runtime. */
function run(program: string, ...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const { deno, bun } = process.versions;
  const runtime = deno ? ["run", "-A", "--no-check"] : bun ? ["run"] : ["--import", "tsx"];
  return spawnSync(process.execPath, [...runtime, program, ...args], { cwd: ROOT, encoding: "utf8" });
}

describe("the demo", () => {
  it("brings back every value of a part of its data, deletes for good, and exits with 0", () => {
    const { status, stdout, stderr } = run("dev/demo/main.ts", "--keys=300");
    assertEquals(status, 0, stdout + stderr);
    const [, equal, all] = /Compare +(\d+) of (\d+) keys equal/.exec(stdout) ?? [];
    assert(Number(all) >= 300, stdout);
    assertEquals(equal, all);
    assertMatch(stdout, /ensureKs\(\) brings back 0, and after the next tick\(\) 0\n/);
    assertMatch(stdout, /Every value came back as it was loaded\. [\d.]+ s in all\.\n$/);
    assert(!stdout.includes("\x1b") && !stdout.includes("\r"), "plain text if there is no terminal");
  });

  it("says what is wrong with its arguments and exits with 1", () => {
    const { status, stderr } = run("dev/demo/main.ts", "--keys=none");
    assertEquals(status, 1);
    assertMatch(stderr, /Cannot run the demo as --keys must be a number: current value is none/);
  });
});

describe("the demo of a disaster", () => {
  it("rebuilds the index after FLUSHDB, brings every value and expiry back, and exits with 0", () => {
    const { status, stdout, stderr } = run("dev/demo/disaster.ts", "--keys=1000");
    assertEquals(status, 0, stdout + stderr);
    const [, equal, all] = /Compare +([\d,]+) of ([\d,]+) keys equal/.exec(stdout) ?? [];
    assert(Number(all?.replace(",", "")) >= 1000, stdout);
    assertEquals(equal, all);
    assert(!/; 0 expire by themselves/.test(stdout), stdout);
    assertMatch(stdout, /ensureKs\(\) refuses: LOST\n/);
    assertMatch(stdout, /0 versions damaged or missing/);
    assertMatch(stdout, /Every value and every expiry is what was loaded\. [\d.]+ s in all\.\n$/);
  });
});

describe("the demo's data", () => {
  let entries: Entry[];
  before(() => {
    entries = cityEntries(1_800_000_000_000).entries;
  });

  it("is at least 20,000 different keys of every type, binary values and own expiries among them", () => {
    assert(entries.length >= 20_000, String(entries.length));
    assertEquals(new Set(entries.map(({ key }) => key)).size, entries.length);
    const types = new Set(entries.map(({ value }) => value.type));
    assertEquals([...types].sort(), ["hash", "list", "set", "stream", "string", "zset"]);
    const invalid = entries.filter(({ value }) => value.type === "string" && !isUtf8(value.bytes));
    assert(invalid.length > 100, `${invalid.length} values are no UTF-8`);
    const expiring = entries.filter(({ expiresAt }) => expiresAt > 1_800_000_000_000);
    assert(expiring.length > 1000, `${expiring.length} expire`);
  });

  it("holds no two equal points in a row and a population in order: it is real, not filler", () => {
    const shanghai = entries.find(({ key }) => key === "city:1796236")!.value;
    assert(shanghai.type === "hash");
    const fields = Object.fromEntries(shanghai.fields);
    assertEquals([fields.name, fields.country], ["Shanghai", "CN"]);
    assertEquals(JSON.parse(fields.near!).length, 10);
  });
});

function isUtf8(bytes: Uint8Array): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}

describe("the demo's comparison", () => {
  let server: RedisServer;
  let redis: RedisConnection;
  before(async () => {
    server = await startRedis();
    redis = redisConnection({ port: server.port });
  });
  after(async () => {
    redis.close();
    await server.stop();
  });

  const cases: [value: Value, damage: CommandPart[][]][] = [
    [{ type: "string", bytes: new Uint8Array([0, 255, 128, 10]) }, [
      ["SETRANGE", "k", 3, new Uint8Array([11])],
      ["APPEND", "k", new Uint8Array([0])],
      ["SET", "k", ""],
    ]],
    [{ type: "hash", fields: [["a", "1"], ["é", "zwei"]] }, [
      ["HSET", "k", "a", "2"],
      ["HDEL", "k", "é"],
      ["HSET", "k", "more", ""],
    ]],
    [{ type: "list", items: ["x", "y", "y"] }, [
      ["LSET", "k", 0, "y"],
      ["LREM", "k", 1, "y"],
      ["RPUSH", "k", "y"],
    ]],
    [{ type: "set", members: ["b", "a", "ö"] }, [["SREM", "k", "ö"], ["SADD", "k", "c"]]],
    [{ type: "zset", scores: [["m", 5], ["n", 12_345_678]] }, [
      ["ZADD", "k", 6, "m"],
      ["ZREM", "k", "n"],
      ["ZADD", "k", 0, "o"],
    ]],
    [{
      type: "stream",
      entries: [["1-0", ["name", "Zürich"]], ["2-0", ["name", "Bern"]]],
      group: { name: "readers", consumer: "ann", pending: 1 },
    }, [
      ["XADD", "k", "3-0", "name", "Genf"],
      ["XDEL", "k", "2-0"],
      ["XACK", "k", "readers", "1-0"],
    ]],
  ];
  for (const [value, damages] of cases) {
    it(`accepts a ${value.type} as it was written, and no other`, async () => {
      const write = async () => {
        await redis.pipeline([["DEL", "k"], ...writeCommands("k", value)]);
        return await redis.pipeline(readCommands("k", value));
      };
      assertEquals(isEqual(value, await write()), true);
      for (const damage of [...damages, ["DEL", "k"]]) {
        await write();
        await redis.call(...damage as CommandPart[]);
        assertEquals(isEqual(value, await redis.pipeline(readCommands("k", value))), false, damage.join(" "));
      }
      await redis.pipeline([["DEL", "k"], value.type === "string" ? ["RPUSH", "k", "a"] : ["SET", "k", "a"]]);
      assertEquals(isEqual(value, await redis.pipeline(readCommands("k", value))), false, "another type");
    });
  }
});

describe("examples/quickstart.ts", () => {
  it("shows a key archived, evicted, brought back and deleted", () => {
    const { status, stdout, stderr } = run("examples/quickstart.ts");
    assertEquals(status, 0, stderr);
    assertEquals(stdout.split("\n"), [
      "archived: 1, done: true",
      "evicted: cart:7, in Redis: 0",
      `back: {"apples":3,"pears":1}`,
      "deleted, in Redis: 0",
      "",
    ]);
  });
});

describe("README.md", () => {
  it("has a first example that does what it says, and calls that cost what docs/writing.md says", async () => {
    const readme = readFileSync(join(ROOT, "README.md"), "utf8");
    const [, first] = /```ts\n([^]*?)```/.exec(readme)!;
    assert(first!.split("\n").filter((line) => line.trim()).length <= 10, "a ten-line example");
    const code = first!.replace(/^import (\{.*\}) from "@tundra\/store(\/transparent)?";/gm, "const $1 = tundra;");
    const run = new Function("tundra", `return (async () => {${code}; return store; })()`);

    const redis = await startRedis();
    const upstash = await startUpstash({ redisPort: redis.port });
    const s3 = await startS3({ buckets: ["cold"] });
    const variables = storeEnvironment(upstash, s3, "cold");
    const before = { ...process.env };
    Object.assign(process.env, variables);
    try {
      const store: TundraStore = await run({ ...tundra, transparentRedis });
      const { dirty, resident, totals } = await store.status();
      assertEquals([dirty, resident, totals.frozen], [0, 1, 1]);
      assertEquals(await store.redis.hgetall("cart:7"), { apples: 1 });

      const cost = async (act: () => Promise<unknown>) => {
        await upstash.resetCounters();
        await act();
        return [upstash.requests, await upstash.billable()];
      };
      const read = async () => { // the cheap read recipe
        if (await store.redis.hgetall("cart:7") === null) {
          await store.ensureKs("cart:7");
          await store.redis.hgetall("cart:7");
        }
      };
      await store.evict("cart:7");
      await store.ensureKs("cart:7"); // scripts are loaded
      assertEquals(await cost(read), [1, 1]);
      await store.evict("cart:7");
      assertEquals(await cost(read), [4, 16]);
      await store.del("cart:7");
      assertEquals(await cost(read), [3, 6]);
      const page = readFileSync(join(ROOT, "docs/writing.md"), "utf8").replace(/\s+/g, " ");
      for (const said of ["1 request and 1 command", "4 requests and 16 commands", "3 and 6"]) {
        assert(page.includes(said), said);
      }
    } finally {
      for (const name of Object.keys(variables)) {
        if (before[name] === undefined) delete process.env[name];
        else process.env[name] = before[name];
      }
      await s3.stop();
      await upstash.stop();
      await redis.stop();
    }
  });

  it("gives the commands that exist, as CONTRIBUTING.md and TESTING.md do", () => {
    const { tasks } = JSON.parse(readFileSync(join(ROOT, "deno.json"), "utf8"));
    const namedIn = (page: string) =>
      [...readFileSync(join(ROOT, page), "utf8").matchAll(/(?:npx -y deno@2\.9\.5|\bdeno) task ([\w:]+)/g)]
        .map(([, name]) => name!);
    const named = namedIn("README.md");
    assert(named.includes("demo") && named.includes("test"), named.join(" "));
    assertEquals(
      ["README.md", "CONTRIBUTING.md", "docs/TESTING.md"].flatMap(namedIn).filter((name) => !(name in tasks)),
      [],
    );
  });

  it("links only to files that exist, and names no limit that the code does not have", () => {
    const readme = readFileSync(join(ROOT, "README.md"), "utf8");
    for (const [, target] of readme.matchAll(/\]\((?!https?:|#)([^)#]+)\)/g)) {
      assert(existsSync(join(ROOT, target!)), target);
    }
    for (const page of [readme, readFileSync(join(ROOT, "docs/limits.md"), "utf8")]) {
      assertEquals(/at least (\d+) hours/.exec(page)?.[1], "10");
    }
  });
});
