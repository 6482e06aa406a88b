/** Commands in this process: dry runs, JSON, exit codes, and names of keys that are any bytes. */
import { Buffer } from "node:buffer";
import { createServer } from "node:net";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { PLATFORM, setPlatform } from "../../src/base/platform.ts";
import { COMMANDS } from "../../src/cli/commands.ts";
import { Ending } from "../../src/cli/host.ts";
import { reach } from "../../src/cli/reach.ts";
import { storeEnvironment } from "../../src/testing/environment.ts";
import { cliInMemory, emptyFolder } from "../support/cli.ts";
import { BUCKET, names, withArchive } from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";

const ODD = ["red \u001b[31m", "two\nlines", "bell\u0007", "reversed \u202e", "c1 \u009b", ` "quoted"`];

describe("commands", () => {
  const stack = withArchive();
  const environment = () => storeEnvironment(stack.connection, stack.s3, BUCKET);
  const run = (args: string[], terminal?: number) => cliInMemory(args, { env: environment(), terminal });
  beforeEach(() => stack.flush());

  /** Keys that are archived, the first half of them evicted, one of them dead; and one that nobody has marked. */
  async function fill(keys: string[] = names(8)): Promise<void> {
    await stack.raw("MSET", ...keys.flatMap((key) => [key, `value of ${key}`]));
    const store = stack.store();
    await store.dirty(keys);
    await store.tick();
    await store.evict(keys.slice(0, keys.length / 2));
    await stack.raw("MSET", "dead", "v", "unknown", "v");
    await store.dirty("dead");
    await stack.editRecord("dead", { attempts: 3, error: "TOO_LARGE for a test" });
    await stack.raw("ZREM", "tundra:default:dirty", "dead");
    await stack.raw("ZADD", "tundra:default:dead", await stack.nowMs(), "dead");
  }

  it("that change something change nothing without --yes, in Redis or in the archive", async () => {
    await fill();
    const version = (await stack.record("k:7"))!.ver.split("@")[0]!;
    const before = [await stack.everything(), stack.objectNames()];
    const dry: [args: string[], said: RegExp][] = [
      [["adopt"], /^1 key .* would be marked\n/],
      [["restore", "k:7", version], /^k:7 would get the value of version /],
      [["restore", "k:7", "--at", "0s", "--to", "k:new"], /^k:new would get the value of version /],
      [["dead", "retry", "--all"], /^1 dead key would go into the queue again\n {2}dead\n/],
      [["sweep"], /^0 versions would be deleted /],
      [["rebuild"], /^The index is whole/],
      [["erase", "k:1", "k:7"], /^2 versions of 2 keys would be erased from the archive\n/],
      [["warm", "--match", "k:*"], /^4 evicted keys \(4.0 KiB\) would come back; 4 are not evicted\n/],
    ];
    for (const [args, said] of dry) {
      const { exitCode, stdout, stderr } = await run(args);
      assertMatch(stdout, said);
      assertEquals(exitCode, 0, stderr);
      const isNothing = ["sweep", "rebuild"].includes(args[0]!);
      assertEquals(stderr, isNothing ? "" : "Nothing was changed. Add --yes to do it\n", args[0]);
      assertEquals([await stack.everything(), stack.objectNames()], before, args.join(" "));
    }
  });

  it("write one JSON document each, and list one object a line", async () => {
    await fill();
    const all = [
      ...[
        "status",
        "probe --quick",
        "advise",
        "adopt",
        "versions k:1",
        "peek k:1",
        "dead",
        "dead retry --all",
        "verify",
      ],
      ...["sweep", "rebuild", "erase k:1", "warm k:1", "tick", "restore k:1 --at 0s --to k:new"],
    ];
    assertEquals(
      [...new Set(all.map((line) => line.split(" ")[0]!)), "list", "page"].sort(),
      Object.keys(COMMANDS).sort(),
    );
    for (const line of all) {
      const { exitCode, stdout, stderr } = await run([...line.split(" "), "--json"]);
      assertEquals(exitCode, 0, line + stderr);
      assertEquals(typeof JSON.parse(stdout), "object");
    }
    const lines = (await run(["list", "--json", "--match", "k:*"])).stdout.trim().split("\n");
    assertEquals(lines.map((line) => JSON.parse(line).key).sort(), names(8));
    assertEquals((await run(["list", "--json", "--limit", "3"])).stdout.trim().split("\n").length, 3);
  });

  it("show names of keys so that none acts on a terminal, and JSON as they are", async () => {
    await fill(ODD);
    const [odd] = ODD;
    for (
      const args of [["list"], ["versions", odd!], ["peek", odd!], ["erase", odd!], ["restore", odd!, "--at", "0s"]]
    ) {
      const { stdout, stderr } = await run(args, 80);
      // deno-lint-ignore no-control-regex
      const bare = (stdout + stderr).replace(/\u001b\[[0-9;]*m|\r\u001b\[K/g, "");
      // deno-lint-ignore no-control-regex
      assert(!/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/.test(bare), bare);
    }
    const { stdout } = await run(["list", "--json", "--state", "resident"]);
    assertEquals(stdout.trim().split("\n").map((line) => JSON.parse(line).key).sort(), ODD.slice(3).sort());
    assertStringIncludes((await run(["list"])).stdout, `"red \\u001b[31m"`);
    const missing = await run(["peek", "not\u001b[2Jthere"]);
    assertEquals([missing.exitCode, missing.stdout], [1, ""]);
    assertMatch(missing.stderr, /^"not\\u001b\[2Jthere" is absent: /);
  });

  it("peek shows each type, bytes as they are, and tells what a terminal does not show", async () => {
    const bytes = Buffer.from([0, 255, 128, 10]);
    await stack.raw("SET", "string", bytes);
    await stack.raw("RPUSH", "list", "a", "b");
    await stack.raw("SADD", "set", "m");
    await stack.raw("HSET", "hash", "f", bytes);
    await stack.raw("ZADD", "zset", "1.5", "m");
    await stack.raw("XADD", "stream", "1-1", "f", "v");
    await stack.raw("PEXPIRE", "list", 3_600_000);
    const keys = ["string", "list", "set", "hash", "zset", "stream"];
    const store = stack.store();
    await store.dirty(keys);
    await store.tick();
    await store.evict(keys);
    const base64 = bytes.toString("base64");
    const values: Record<string, unknown> = {
      string: { base64 },
      list: ["a", "b"],
      set: ["m"],
      hash: [["f", { base64 }]],
      zset: [["m", "1.5"]],
      stream: [["1-1", "f", "v"]],
    };
    for (const [key, value] of Object.entries(values)) {
      const shown = JSON.parse((await run(["peek", key, "--json"])).stdout);
      assertEquals([shown.type, shown.value], [key, value]);
      assertEquals(shown.ttlMs === null, key !== "list");
    }
    assertEquals((await run(["peek", "zset"])).stdout, "MEMBER  SCORE\nm       1.5\n");
    assertEquals(
      (await run(["peek", "list", "--limit", "1"])).stderr.replace(/\d+ min/, "N min"),
      [
        "list, 2 entries, expires in N min; 1 are shown: --limit raises it\n",
      ][0],
    );
    assertEquals(await stack.exists(...keys), 0);
    await stack.raw("SET", "long", "x".repeat(40_000));
    const onTerminal = await run(["peek", "long"], 80);
    assertStringIncludes(onTerminal.stderr.replace(/\n/g, " "), "string, 39.1 KiB; its first 16.0 KiB are shown");
    assertEquals((await run(["peek", "long"])).stdout.length, 40_000);
  });

  it("exit with 1 for damage, for what is not there, and for keys that fail", async () => {
    await fill();
    const pack = stack.objectNames().find((name) => name.includes("~packs"))!;
    const object = stack.s3.objects(BUCKET).get(pack)!;
    object[60]! ^= 1; // in its first block
    const verified = await run(["verify"]);
    assertEquals(verified.exitCode, 1);
    assertMatch(verified.stdout, /^\d+ versions read .*: \d+ damaged, 0 missing\n\nERROR +KEY\nCORRUPT +k:\d/);
    assertStringIncludes(verified.stderr, "tundra versions KEY");
    assertMatch((await run(["status", "--check"])).stdout, /^FAIL {2}verified .*: \d+ damaged and 0 missing/m);
    assertEquals((await run(["status", "--check"])).exitCode, 1);
    assertEquals((await run(["status"])).exitCode, 0);
    assertEquals((await run(["versions", "k:1"])).exitCode, 1);
    const warmed = await run(["warm", "k:1", "--yes"]);
    assertEquals([warmed.exitCode, warmed.stdout.includes("CORRUPT")], [1, true]);
    assertEquals((await run(["versions", "nothing"])).exitCode, 1);
    const refused = await run(["restore", "k:7", "1234567890123456-00000000", "--yes"]);
    assertEquals([refused.exitCode, refused.stderr.startsWith("tundra restore: NOT_FOUND: ")], [1, true]);
    assertEquals((await run(["dead", "retry", "k:7", "--yes"])).exitCode, 1);
    await stack.raw("FLUSHDB");
    const lost = await run(["list"]);
    assertEquals([lost.exitCode, lost.stdout], [1, ""]);
    assertMatch(lost.stderr, /^tundra list: LOST: [^]*`tundra rebuild`/);
    assertMatch((await run(["status"])).stdout, /^FAIL {2}Cannot use the index .*tundra rebuild\n$/);
  });

  it("count all that is missing, also if a call names a part of it only", async () => {
    const keys = names(1_100);
    await stack.raw("MSET", ...keys.flatMap((key) => [key, "v"]));
    await run(["adopt", "--yes"]);
    await run(["tick", "--drain"]);
    const objects = stack.s3.objects(BUCKET);
    for (const name of objects.keys()) if (name.includes("~packs")) objects.delete(name);
    assertMatch((await run(["verify"])).stdout, /: 0 damaged, 1,100 missing\n[^]*and 1,080 more/);
    const { missingInAll, damagedInAll } = JSON.parse((await run(["verify", "--json"])).stdout);
    assertEquals([missingInAll, damagedInAll], [1_100, 0]);
  });

  it("end if they get nowhere, and say why: erase beside a damaged block", async () => {
    await stack.raw("MSET", "a", "1", "b", "x".repeat(40_000));
    await run(["adopt", "--yes"]);
    await run(["tick", "--drain"]);
    const pack = stack.objectNames().find((name) => name.includes("~packs"))!;
    stack.s3.objects(BUCKET).get(pack)![60]! ^= 1;
    const { exitCode, stdout, stderr } = await run(["erase", "a", "--yes"]);
    assertEquals(exitCode, 1);
    assertMatch(stdout, /CORRUPT/);
    assertStringIncludes(stderr, "Not done");
  });

  it("end at their deadline and go on the next time; tick --drain goes on by itself", async () => {
    const keys = names(50);
    await stack.raw("MSET", ...keys.flatMap((key) => [key, "v"]));
    assertEquals((await run(["adopt", "--max-keys", "20", "--yes"])).stdout.split(":")[0], "20 keys marked");
    assertEquals((await run(["adopt", "--deadline", "1s", "--yes"])).stdout.split(":")[0], "30 keys marked");
    const one = await run(["tick", "--max-keys", "10"]);
    assertMatch(one.stdout, /^10 archived .*; 40 or more are due\n$/);
    const drained = await run(["tick", "--max-keys", "10", "--drain", "--json"]);
    const reports = drained.stdout.trim().split("\n").map((line) => JSON.parse(line));
    assertEquals(reports.reduce((sum, { frozen }) => sum + frozen, 0), 40);
    assertEquals((await stack.store().status()).dirty, 0);
  });

  it("warm brings back no more than its bounds allow, and its dry run says the same", async () => {
    const keys = names(3);
    const store = stack.store();
    for (const key of keys) {
      await stack.raw(
        "SET",
        key,
        Array.from({ length: 166 }, () => crypto.randomUUID()).join(""),
      );
    }
    await store.dirty(keys);
    await store.tick();
    await store.evict(keys);
    const bounded = ["warm", "--match", "k:*", "--max-bytes", "10KiB"];
    for (const left of [0, 1]) {
      const dry = await run(bounded);
      assertEquals(
        dry.stdout,
        `1 evicted key (6.0 KiB) would come back; ${left === 0 ? "0 are" : "1 is"} not evicted\n`,
      );
      assertEquals(dry.stderr, "Nothing was changed. Add --yes to do it\n");
      const { stdout, stderr } = await run([...bounded, "--yes"]);
      assertMatch(stdout, /^1 evicted key \(6.0 KiB\) came back; (0 are|1 is) not evicted\n$/);
      assertEquals([stderr, await stack.exists(...keys)], ["", left + 1]);
    }
    assertMatch((await run(["warm", "--match", "k:*", "--max-keys", "5", "--yes"])).stdout, /^1 evicted key /);
  });

  it("warm counts each key of a list once, however long it takes", async () => {
    const keys = names(2_500);
    await stack.raw("MSET", ...keys.flatMap((key) => [key, "v"]));
    const store = stack.store();
    await store.dirty(keys);
    await store.tick();
    await store.evict(keys);
    let skippedMs = 0;
    const { fetch } = globalThis;
    globalThis.fetch = (input, init) => {
      skippedMs += 5_000;
      return fetch(input, init);
    };
    setPlatform({ ...PLATFORM, monotonicMs: () => PLATFORM.monotonicMs() + skippedMs });
    try {
      const { stdout } = await run(["warm", ...keys, "--yes"]);
      assertEquals(stdout, "2,500 evicted keys (2.4 MiB) came back; 0 are not evicted\n");
    } finally {
      setPlatform();
      globalThis.fetch = fetch;
    }
  });

  it("erase and rebuild end at --max-keys, and go on the next time", async () => {
    const keys = names(2_500);
    await stack.raw("MSET", ...keys.flatMap((key) => [key, "v"]));
    const store = stack.store({ packBytes: 16_384 });
    await store.dirty(keys);
    await store.tick();
    const toTheEnd = async (args: string[]): Promise<number> => {
      for (let runs = 1;; runs++) {
        const { exitCode, stderr } = await run([...args, "--yes"]);
        assertEquals(exitCode, 0, stderr);
        if (stderr === "") return runs;
        assertMatch(stderr, /^Not done: it came to .*: the same command goes on from there\.\n$/);
        assert(runs < 100);
      }
    };
    await stack.raw("FLUSHDB");
    assert(await toTheEnd(["rebuild", "--max-keys", "1000"]) > 1);
    assertEquals((await stack.store().status()).evicted, keys.length);
    assert(await toTheEnd(["erase", "--match", "k:*", "--max-keys", "1000"]) > 1);
    assertEquals((await stack.versions()).filter((version) => version.startsWith("k:")), []);
  });

  it("adopt heeds any --max-keys in its dry run too", async () => {
    for (let i = 0; i < 101; i++) {
      await stack.raw("MSET", ...names(1_000, `n${i}`).flatMap((key) => [key, ""]));
    }
    assertMatch((await run(["adopt", "--max-keys", "100500"])).stdout, /^100,500 keys .* would be marked\n/);
  });

  it("dead retry takes keys or all of them, with a code those of the code, and obeys or refuses each option", async () => {
    await fill();
    const limited = await run(["dead", "retry", "--all", "--limit", "5", "--yes"]);
    assertEquals([limited.exitCode, limited.stdout], [2, ""]);
    assertMatch(limited.stderr, /--limit/);
    for (const args of [["dead"], ["--all"]]) {
      const other = await run(["dead", "retry", ...args, "--code", "UNSUPPORTED", "--yes"]);
      assertEquals(other.stdout, "0 dead keys went into the queue again\n");
      const isNamed = args[0] === "dead";
      assertEquals(other.exitCode, isNamed ? 1 : 0);
      assertEquals(
        other.stderr,
        isNamed ? "dead is dead with TOO_LARGE, not with UNSUPPORTED: it stays as it is\n" : "",
      );
    }
    assertMatch((await run(["dead", "--code", "UNSUPPORTED"])).stderr, /^No key is dead with UNSUPPORTED\n/);
    const same = await run(["dead", "retry", "dead", "--code", "TOO_LARGE", "--yes"]);
    assertEquals([same.exitCode, same.stdout], [0, "1 dead key went into the queue again\n  dead\n"]);
  });

  it("each say what is wrong with a token, an archive and a server that is away, without a stack or a secret", async () => {
    await fill();
    const all = [
      ...[
        "status",
        "adopt",
        "list",
        "versions k:1",
        "peek k:1",
        "dead",
        "dead retry --all",
        "verify",
        "sweep",
        "advise",
      ],
      ...["rebuild", "erase k:1", "warm k:1", "tick", "restore k:1 --at 0s --to k:new", "probe --quick"],
    ];
    const wrong: [env: Record<string, string>, exitCode: number, finding: RegExp][] = [
      [{ UPSTASH_REDIS_REST_TOKEN: "hush-hush" }, 2, /FAIL {2}token +refused/],
      [{ UPSTASH_REDIS_REST_URL: "http://127.0.0.1:9" }, 3, /FAIL {2}port +127.0.0.1 refuses/],
    ];
    for (const line of all) {
      for (const [env, expected, finding] of wrong) {
        const { exitCode, stdout, stderr } = await cliInMemory(line.split(" "), { env: { ...environment(), ...env } });
        const isProbe = line.startsWith("probe");
        assertEquals(exitCode, isProbe ? 1 : expected, line + stderr);
        assertMatch(stderr, finding, line);
        if (!isProbe) assertEquals(stdout, "", line);
        assert(!/hush|\n {4}at /.test(stdout + stderr), stderr);
      }
    }
    const database = { UPSTASH_REDIS_REST_URL: "http://127.0.0.1:9", UPSTASH_REDIS_REST_TOKEN: "hush-hush" };
    const alone = await cliInMemory(["advise"], { env: database });
    assertMatch(alone.stderr, /\n\nRedis at 127.0.0.1:9\n {2}ok {4}URL .*\n {2}FAIL {2}port .*\n$/);
  });

  it("rebuild copies from the archive that a module names", async () => {
    await fill();
    const folder = emptyFolder();
    const mod = new URL("../../mod.ts", import.meta.url).href;
    writeFileSync(
      join(folder, "from.mts"),
      `import { s3Datastore } from "${mod}";\nexport default s3Datastore(${JSON.stringify(s3())});\n`,
    );
    const env = { ...environment(), TUNDRA_S3_PREFIX: "copy/" };
    await stack.raw("FLUSHDB");
    const { exitCode, stdout, stderr } = await cliInMemory(["rebuild", "--from", "from.mts", "--yes"], { env, folder });
    assertEquals(exitCode, 0, stderr);
    assertMatch(stdout, /^8 keys have a record again, of \d+ objects? and \d+ packs?; \d+ objects? copied\n/);
  });

  function s3() {
    const { url, region, accessKeyId, secretAccessKey } = stack.s3;
    return { endpoint: url, region, bucket: BUCKET, accessKeyId, secretAccessKey };
  }
});

describe("tick --drain", () => {
  const stack = withArchive();
  const environment = () => storeEnvironment(stack.connection, stack.s3, BUCKET);
  const { fetch } = globalThis;
  const ticksOf = (stdout: string) => stdout.trim().split("\n").map((line) => JSON.parse(line));
  let waits: number;
  let onWait: () => void | Promise<void>;
  beforeEach(async () => {
    await stack.flush();
    waits = 0;
    onWait = () => {};
    // waits between two ticks are counted, and end once onWait has
    const after = (ms: number, act: () => void) => {
      if (ms !== 5_000) return PLATFORM.after(ms, act);
      waits++;
      let isOff = false;
      void Promise.resolve(onWait()).then(() => isOff || act());
      return () => void (isOff = true);
    };
    setPlatform({ ...PLATFORM, after });
  });
  afterEach(() => {
    setPlatform();
    globalThis.fetch = fetch;
  });

  /** Keys that are due, in an index that its archive knows. */
  async function due(n: number): Promise<string[]> {
    const keys = names(n);
    const store = stack.store();
    await store.tick();
    await stack.raw("MSET", ...keys.flatMap((key) => [key, `value of ${key}`]));
    await store.dirty(keys);
    return keys;
  }

  /** The archive refuses connections, as long as it is down. */
  function archive(): { isDown: boolean } {
    const state = { isDown: true };
    globalThis.fetch = (input, init) => {
      const url = String(input instanceof Request ? input.url : input);
      if (state.isDown && url.startsWith(stack.s3.url)) return Promise.reject(new TypeError("connection refused"));
      return fetch(input, init);
    };
    return state;
  }

  it("waits 5 s after a tick that the archive did not answer, and after three in a row ends with 3", async () => {
    await due(100);
    archive();
    const args = ["tick", "--drain", "--max-keys", "10", "--json"];
    const { exitCode, stdout, stderr } = await cliInMemory(args, { env: environment() });
    assertEquals([exitCode, ticksOf(stdout).length, waits], [3, 3, 2], stderr);
    assertMatch(stderr, /\ntundra tick: UNAVAILABLE: Cannot archive 10 keys: [^]*\nArchive in bucket /);
  });

  it("goes on once the archive answers again, and takes what had failed too", async () => {
    const keys = await due(10);
    const state = archive();
    onWait = async () => {
      state.isDown = false;
      await stack.endBackoffs();
    };
    const { exitCode, stdout, stderr } = await cliInMemory(["tick", "--drain", "--json"], { env: environment() });
    assertEquals([exitCode, waits], [1, 1], stdout + stderr);
    assertEquals(ticksOf(stdout).map(({ frozen, failed }) => [frozen, failed]), [[0, 10], [10, 0]]);
    assertEquals((await stack.store().status()).resident, keys.length);
  });

  it("ends at once with 2 if the archive refuses the credentials", async () => {
    await due(100);
    const env = { ...environment(), TUNDRA_S3_SECRET_ACCESS_KEY: "hush-hush" };
    const { exitCode, stdout, stderr } = await cliInMemory(["tick", "--drain", "--max-keys", "10"], { env });
    assertEquals([exitCode, waits], [2, 0], stdout + stderr);
    assertMatch(stderr, /FAIL {2}credentials/);
    assert(!/hush/.test(stdout + stderr), stderr);
  });

  it("ends its wait at once if it is interrupted", async () => {
    await due(100);
    archive();
    const controller = new AbortController();
    onWait = () => controller.abort(new Ending("SIGINT", 130));
    const args = ["tick", "--drain", "--max-keys", "10", "--json"];
    const { exitCode, stdout } = await cliInMemory(args, { env: environment(), signal: controller.signal });
    assertEquals([exitCode, ticksOf(stdout).length, waits], [130, 1, 1]);
  });

  it("evicts to the end, though nothing is due", async () => {
    const keys = await due(1_100);
    await stack.store().tick();
    await stack.leaveAlone(20 * HOUR_MS, ...keys);
    let skippedMs = 0;
    globalThis.fetch = (input, init) => {
      skippedMs += 400; // three requests are a tick
      return fetch(input, init);
    };
    setPlatform({ ...PLATFORM, monotonicMs: () => PLATFORM.monotonicMs() + skippedMs });
    const args = ["tick", "--drain", "--deadline", "1s", "--redis-ttl", "10h", "--min-evict-bytes", "1"];
    const { exitCode, stdout, stderr } = await cliInMemory(args, { env: environment() });
    assertEquals([exitCode, await stack.exists(...keys)], [0, 0], stdout + stderr);
    assertMatch(stdout, /^0 archived \(0 B\), 1,000 evicted in .*; more is left to do\n[^]*; nothing is due\n$/);
  });
});

describe("the way to a server", () => {
  const last = async (url: string) => {
    const { findings, ok } = await reach(url, "THE_URL");
    assertEquals(ok, findings.every((finding) => finding.ok));
    return findings.at(-1)!;
  };

  it("ends at the step that fails: URL, DNS, port, TLS", async () => {
    assertEquals(await last("not a url"), { name: "URL", ok: false, detail: "THE_URL is no URL" });
    const unknown = await last("https://no-such-host.invalid");
    assertEquals([unknown.name, unknown.ok], ["DNS", false]);
    assertStringIncludes(unknown.detail, "there is no address of no-such-host.invalid");
    const closed = await last("http://127.0.0.1:9");
    assertEquals([closed.name, closed.ok], ["port", false]);
    const server = createServer((socket) => void socket.on("error", () => {}).end("this is no TLS\n")).listen(
      0,
      "127.0.0.1",
    );
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as { port: number };
    try {
      const plain = await last(`https://127.0.0.1:${port}`);
      assertEquals([plain.name, plain.ok], ["TLS", false]);
      assertEquals(await last(`http://127.0.0.1:${port}`), { name: "port", ok: true, detail: `${port} is open` });
    } finally {
      server.close();
    }
  });
});
