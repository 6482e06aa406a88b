/**
 * Each command as a process of this runtime, on real servers: its output, into a file or a pipe that closes, with wrong
 * credentials, with servers away, interrupted and gone on with.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { Buffer } from "node:buffer";
import { join } from "node:path";
import process from "node:process";
import { beforeEach, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { TundraError } from "../../mod.ts";
import { type FaultPlan, startFaultProxy } from "../../dev/servers/faults.ts";
import { storeEnvironment } from "../../src/testing/environment.ts";
import { cli, emptyFolder, type Running, startCli } from "../support/cli.ts";
import { BUCKET, withArchive } from "../support/fixtures.ts";

const TOKEN = "a-token-that-must-not-be-shown";
const PAGE_SECRET = "a-page-secret-that-must-not-be-shown";
/** By another way the database has another address: it needs a name. */
const DATABASE = ["--database-id", "test"];

/** Output with a word for what differs from run to run. */
function plain(text: string): string {
  return text.replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ/g, "TIME").replace(/\d{16}-[0-9a-f]{8,9}/g, "VERSION")
    .replace(/\d+ (ms|s) ago/g, "just now").replace(/ in \d+ (ms|s)\b/g, " in no time")
    .replace(/archived \([^)]*\)/g, "archived (SIZE)");
}

describe("the command line as a process", () => {
  const stack = withArchive({ upstash: { token: TOKEN } });
  const environment = (): Record<string, string> => ({
    ...storeEnvironment(stack.connection, stack.s3, BUCKET),
    TUNDRA_PAGE_SECRET: PAGE_SECRET,
  });
  let printed = "";

  /** Runs a command; its exit code, and its output as it is every time. */
  async function tundra(...args: string[]) {
    const { exitCode, stdout, stderr } = await cli(args, environment());
    printed += stdout + stderr;
    return [exitCode, plain(stdout), plain(stderr)] as const;
  }

  beforeEach(() => stack.flush());

  it("takes a database in, archives it, looks at it, brings back what was, and rebuilds the index", async () => {
    const odd = "evil \u001b[31m:1";
    await stack.raw("MSET", "cart:1", "first", "cart:2", "x".repeat(3_000), odd, "odd");
    await stack.raw("HSET", "hash:1", "field", "value", "bytes", Buffer.from([0, 255]));

    const adopted = await tundra("adopt", "--yes");
    assertEquals(adopted, [0, "4 keys marked: ticks archive them\n", ""]);
    const [exitCode, ticked, errors] = await tundra("tick");
    assertEquals([exitCode, ticked, errors], [0, "4 archived (SIZE) in no time; nothing is due\n", ""]);

    const [, listed] = await tundra("list");
    assertEquals(listed.split("\n").filter(Boolean).sort(), [
      `STATE           SIZE  ARCHIVED              KEY`,
      `resident     1.0 KiB  TIME  "evil \\u001b[31m:1"`,
      `resident     1.0 KiB  TIME  cart:1`,
      `resident     1.0 KiB  TIME  cart:2`,
      `resident     1.0 KiB  TIME  hash:1`,
    ]);

    await stack.store().evict("cart:1", "cart:2");
    assertEquals(await tundra("status", "--check"), [
      0,
      `ok    the index is there, and belongs to this database and archive
ok    every change that was marked is archived
ok    the last tick began TIME, just now
ok    no key is dead

STATE     KEYS
dirty        0  changed, not archived yet; of them due: 0
dead         0  have used up their attempts; they stay in Redis
resident     2  archived, and in Redis
idle         0  of them looked at by ticks that evict
evicted      2  archived, no longer in Redis
purge        0  removed or expired, to be deleted from the archive

Totals: 4 archived (SIZE), 2 evicted, 0 brought back, 0 rescued, 0 removed
`,
      "",
    ]);
    assertEquals(await tundra("peek", "cart:1"), [0, "first", ""]);
    assertEquals(await stack.exists("cart:1"), 0);
    assertEquals(await tundra("warm", "cart:2", "--yes"), [
      0,
      "1 evicted key (1.0 KiB) came back; 0 are not evicted\n",
      "",
    ]);
    assertEquals((await stack.get("cart:2"))?.length, 3_000);

    await stack.store().ensureKs("cart:1");
    await stack.raw("SET", "cart:1", "second");
    const store = stack.store();
    await store.dirty("cart:1");
    await store.tick();
    const [, versions] = await tundra("versions", "cart:1");
    assertEquals(versions.split("\n"), [
      "ARCHIVED              SIZE  EXPIRES  VERSION",
      "TIME  18 B  -        VERSION  current",
      "TIME  17 B  -        VERSION",
      "",
    ]);
    const [, , older] = /(\d{16}-\S+).*\n.*?(\d{16}-\S+)/.exec(printed.slice(printed.lastIndexOf("ARCHIVED")))!;
    assertEquals(await tundra("restore", "cart:1", older!, "--yes"), [
      0,
      "cart:1 has got the value of version VERSION\narchived at TIME, 17 B\n",
      "",
    ]);
    assertEquals(await stack.get("cart:1"), "first");

    assertEquals(await tundra("verify"), [
      0,
      "5 versions read and 4 records looked up: nothing is damaged or missing\n",
      "",
    ]);
    assertEquals(await tundra("sweep", "--yes"), [
      0,
      `0 versions deleted (0 objects), 0 moved, 5 stay

      VERSIONS  REASON
stay         4  named       the record of their key names them
stay         1  superseded  a newer version took their place
`,
      "",
    ]);
    await stack.raw("FLUSHDB");
    const [lost, verdict] = await tundra("status", "--check");
    assertEquals([lost, verdict.slice(0, 32)], [1, "FAIL  Cannot use the index tundr"]);
    assertEquals(await tundra("rebuild", "--yes"), [
      0,
      `4 keys have a record again, of 1 object and 1 pack

STATE     KEYS
evicted      4  ensureKs brings them back
resident     0  are in Redis, and are archived again
gone         0  were removed, or have expired
lost         0  have two newest versions: ensureKs fails for them
`,
      "",
    ]);
    const [erased, proof] = await tundra("erase", "--match", "cart:*", "--yes");
    assertEquals([erased, /^Proof: .*: nothing is left$/m.test(proof)], [0, true]);
    assertEquals((await stack.versions()).filter((name) => name.startsWith("cart:")), []);
    // deno-lint-ignore no-control-regex
    assert(!/[\u0000-\u0008\u000e-\u001f]/.test(printed));
  });

  it("lists dead keys and puts them into the queue again", async () => {
    await stack.store().tick(); // takes the archive
    await stack.raw("SET", "cart:1", "v");
    const store = stack.store({
      datastore: { ...stack.datastore(), putKey: () => Promise.reject(refusal()) },
      packBytes: 0,
    });
    await store.dirty("cart:1");
    await store.tick({ nattempts: 1 });
    assertEquals((await store.status()).dead, 1);
    const [exitCode, listed, said] = await tundra("dead");
    assertMatch(listed, /^DEAD SINCE +ATTEMPTS +CODE +KEY\nTIME +1 +TOO_LARGE +cart:1\n {2}.*too large for a test\n$/);
    assertEquals([exitCode, said], [0, "They go into the queue again with: tundra dead retry KEY, or --all\n"]);
    assertEquals(await tundra("dead", "retry", "--all", "--yes"), [
      0,
      "1 dead key went into the queue again\n  cart:1\n",
      "",
    ]);
    assertEquals((await store.status()).dead, 0);
  });

  it("probes the servers, and advises without a bucket", async () => {
    const [exitCode, probed] = await tundra("probe", "--quick", "--json");
    assertEquals([exitCode, JSON.parse(probed).ok], [0, true]);
    await stack.raw("SET", "cart:1", "x".repeat(5_000));
    const database = Object.entries(environment()).filter(([name]) => name.startsWith("UPSTASH_"));
    const { stdout } = await cli(["advise"], Object.fromEntries(database));
    assertMatch(stdout, /^1 keys, about 5.\d KiB of memory\n/);
    assertMatch(stdout, /PREFIX\n +1 +5.\d KiB +0 % +0 %( +\S+){4} {2}cart:\n$/);
  });

  it("serves the page until it is interrupted", async () => {
    const running = startCli(["page", "--port", "0"], environment());
    await until(() => running.output.stdout.endsWith("/\n"));
    const url = running.output.stdout.trim();
    assertEquals((await fetch(url)).status, 401);
    const page = await fetch(url, { headers: { authorization: `Bearer ${PAGE_SECRET}` } });
    assertStringIncludes(await page.text(), "<h1>");
    interrupt(running);
    const { exitCode, stderr } = await running.ended;
    assertEquals([exitCode, stderr], [130, "Sign in with TUNDRA_PAGE_SECRET\nInterrupted\n"]);
  });

  it("ends quietly if its reader does", async () => {
    const keys = Array.from({ length: 3_000 }, (_, i) => `key:${i}`);
    await stack.raw("MSET", ...keys.flatMap((key) => [key, "v"]));
    await stack.store().dirty(keys);
    await stack.store().tick();
    const running = startCli(["list", "--json"], environment());
    running.child.stdout!.once("data", () => running.child.stdout!.destroy());
    const { exitCode, stderr } = await running.ended;
    assertEquals([exitCode, stderr], [0, ""]);
  });

  it("names a wrong token, wrong credentials and a server that is away, with exit codes of their own", async () => {
    const wrong: [args: string[], env: Record<string, string>, exitCode: number, finding: RegExp][] = [
      [["status"], { UPSTASH_REDIS_REST_TOKEN: "wrong" }, 2, /^ {2}FAIL {2}token +refused \(HTTP 401\)/m],
      [["status"], { UPSTASH_REDIS_REST_URL: "http://127.0.0.1:9" }, 3, /^ {2}FAIL {2}port +127.0.0.1 refuses/m],
      [["verify"], { TUNDRA_S3_ENDPOINT: "http://127.0.0.1:9" }, 3, /^ {2}FAIL {2}port +127.0.0.1 refuses/m],
      [["verify"], { TUNDRA_S3_SECRET_ACCESS_KEY: "wrong" }, 2, /^ {2}FAIL {2}credentials +the secret key is another/m],
    ];
    await stack.raw("SET", "a", "v");
    await stack.store().dirty("a");
    await stack.store().tick();
    const ends = await Promise.all(wrong.map(([args, env]) => cli(args, { ...environment(), ...env })));
    ends.forEach(({ exitCode, stdout, stderr }, i) => {
      const [args, , expected, finding] = wrong[i]!;
      assertEquals([exitCode, stdout], [expected, ""], stderr);
      assertMatch(stderr, finding);
      assert(stderr.startsWith(`tundra ${args[0]}: UNAVAILABLE: Cannot `), stderr);
      assert(!stderr.includes(TOKEN) && !stderr.includes("    at "), stderr);
      assertEquals(stderr.match(/FAIL/g)?.length, 1, stderr);
    });
  });

  it("takes variables from .env, and a store from a module", async () => {
    const folder = emptyFolder();
    writeFileSync(
      join(folder, ".env"),
      Object.entries(environment()).map(([name, value]) => `${name}="${value}"\n`).join(""),
    );
    mkdirSync(join(folder, "own"));
    const mod = new URL("../../mod.ts", import.meta.url).href;
    writeFileSync(
      join(folder, "own", "store.mts"),
      `import { tundraFromEnv } from "${mod}";\nexport default () => tundraFromEnv({ tqname: "other" });\n`,
    );
    await stack.raw("SET", "a", "v");
    await stack.store({ tqname: "other" }).dirty("a");
    const [none, one] = await Promise.all([
      cli(["status", "--json"], {}, folder),
      cli(["status", "--json", "--store", "own/store.mts"], {}, folder),
    ]);
    assertEquals([none.exitCode, JSON.parse(none.stdout).dirty], [0, 0], none.stderr);
    assertEquals([one.exitCode, JSON.parse(one.stdout).dirty], [0, 1], one.stderr);
  });

  it("interrupted in the middle ends at once with 130, says how far it came, and goes on the next time", async () => {
    const keys = Array.from({ length: 6_000 }, (_, i) => `key:${i}`);
    await stack.raw("MSET", ...keys.flatMap((key) => [key, "v"]));
    const proxy = await startFaultProxy({
      target: stack.connection.url,
      plan: [{ match: /tundra:default:rec:key/, nth: 4, times: Infinity, fault: { type: "hang" } }],
    });
    try {
      const env = { ...environment(), UPSTASH_REDIS_REST_URL: proxy.url };
      const running = startCli(["adopt", "--yes", ...DATABASE], env);
      await until(() => proxy.log.some(({ fault }) => fault));
      interrupt(running);
      const { exitCode, stdout, stderr } = await running.ended;
      const marked = (await stack.members("dirty")).length;
      assertEquals(exitCode, 130, stderr);
      assertMatch(
        stderr,
        /^Not done: it came to [\d,]+ keys\. Nothing is half done: .* goes on from there\.\nInterrupted\n$/,
      );
      assertEquals(stdout, `${marked.toLocaleString("en-US")} keys marked: ticks archive them\n`);
      assert(marked >= 1_000 && marked < 6_000, String(marked));
    } finally {
      await proxy.stop();
    }
    const { exitCode, stdout } = await cli(["adopt", "--yes", "--json", ...DATABASE], environment());
    const all = (await stack.members("dirty")).length;
    assertEquals([exitCode, all, JSON.parse(stdout).done], [0, 6_000, true]);
  });

  it("ticks until it is interrupted, and lets the tick under way give its keys back", async () => {
    await stack.raw("SET", "a", "v");
    const store = stack.store({ databaseId: "test" });
    await store.dirty("a");
    const running = startCli(["tick", "--watch", "--redis-ttl", "10h", ...DATABASE], environment());
    await until(async () => (await store.status()).dirty === 0);
    await stack.raw("SET", "b", "w");
    await store.dirty("b");
    await until(async () => (await store.status()).dirty === 0);
    interrupt(running);
    const { exitCode, stdout, stderr } = await running.ended;
    assertEquals(exitCode, 130, stderr);
    assertEquals(plain(stdout).split("\n").map((line) => line.slice(0, 18)), [
      "TIME  1 archived (",
      "TIME  1 archived (",
      "",
    ]);
    assertMatch(stderr, /^Ticking; .*\n\d+ ticks: 2 archived, 0 evicted\nInterrupted\n$/);
  });

  it("ends at once for a second Ctrl-C", async () => {
    const hangs: FaultPlan = [{ times: Infinity, fault: { type: "hang" } }];
    const archive = await startFaultProxy({ target: stack.s3.url, plan: hangs });
    const redis = await startFaultProxy({ target: stack.connection.url, plan: [] });
    try {
      const store = stack.store({ databaseId: "test" });
      await store.tick();
      await stack.raw("SET", "a", "v");
      await store.dirty("a");
      const env = { ...environment(), UPSTASH_REDIS_REST_URL: redis.url, TUNDRA_S3_ENDPOINT: archive.url };
      const running = startCli(["tick", "--watch", ...DATABASE], env);
      await until(() => archive.log.length > 0);
      redis.setPlan(hangs);
      interrupt(running);
      await until(() => redis.log.some(({ fault }) => fault)); // the tick gives its keys back, whatever the signal says
      interrupt(running);
      const from = performance.now();
      assertEquals((await running.ended).exitCode, 130);
      assert(performance.now() - from < 5_000);
    } finally {
      await Promise.all([archive.stop(), redis.stop()]);
    }
  });

  it("has shown no secret in all of this", () => {
    assert(printed.length > 1_000);
    for (const secret of [TOKEN, PAGE_SECRET, environment().TUNDRA_S3_SECRET_ACCESS_KEY!]) {
      assert(!printed.includes(secret));
    }
  });
});

/** As Ctrl-C does; twice as well, which the method of a child does not on every runtime. */
function interrupt({ child }: Running): void {
  process.kill(child.pid!, "SIGINT");
}

function refusal(): Error {
  return new TundraError("TOO_LARGE", "Cannot put it as it must be small: it is too large for a test");
}

async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; !await isSo(); tries++) {
    assert(tries < 600, "it did not happen");
    await sleep(25);
  }
}
