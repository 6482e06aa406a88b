/** probe: every assumption about servers is tried, and one that does not hold is named; nothing is left behind. */
import { Buffer } from "node:buffer";
import { after, beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type MemoryDatastore, memoryDatastore, TundraError, type TundraStore } from "../../mod.ts";
import { redisKeys } from "../../src/base/keys.ts";
import { probe, type ProbeReport } from "../../src/operations/mod.ts";
import { startUpstash, type UpstashOptions, type UpstashServer } from "../../src/testing/upstash.ts";
import { BUCKET, hooked, tundraError, withArchive } from "../support/fixtures.ts";
import { changesNothing } from "../support/operations.ts";
import { detailOf, failing, QUICK, SHORT } from "../support/probe.ts";

const KEYS = redisKeys("default");

describe("probe", () => {
  const stack = withArchive();
  const { raw } = stack;
  const servers: UpstashServer[] = [];
  let archive: MemoryDatastore;
  let store: TundraStore;
  beforeEach(async () => {
    await stack.flush();
    archive = memoryDatastore();
    store = stack.store({ datastore: archive, redis: QUICK });
  });
  after(() => Promise.all(servers.map((server) => server.stop())));

  /** Runs a probe: just this check fails, its detail says so, and nothing is left. */
  async function refutes(of: TundraStore, name: string, detail: RegExp): Promise<ProbeReport> {
    const report = await probe(of, SHORT);
    assertEquals([failing(report), report.ok], [[name], false]);
    assertMatch(detailOf(report, name), detail);
    assertEquals(await raw("KEYS", "*"), []);
    return report;
  }

  it("finds nothing wrong with this stack, says what it saw, and leaves nothing", async () => {
    const onS3 = stack.store();
    const report = await changesNothing(stack, () => probe(onS3));
    assertEquals([failing(report), report.ok, report.done], [[], true, true]);
    const names = report.checks.map(({ name }) => name);
    assertEquals(new Set(names).size, names.length);
    for (const check of report.checks) assert(check.detail.length > 8, check.name);
    for (
      const about of [
        ...["clock", "DUMP", "sha1hex", "ABSTTL", "no-writes", "allow-oom", "allow-key-locking", "EVAL_RO", "TIME"],
        ...["ZMSCORE", "JSON", "hash fields", "removes keys", "size of a request", "PUT", "GET", "ranges", "list"],
        ...["pages", "delete", "conditional PUT"],
      ]
    ) {
      assert(names.some((name) => name.includes(about)), about);
    }
  });

  it("fits into a Worker's 50 requests, and counts what it costs", async () => {
    const onS3 = stack.store();
    await stack.server.resetCounters();
    const report = await probe(onS3, { maxSubrequests: 50 });
    assertEquals([failing(report), report.done], [[], true]);
    assertMatch(detailOf(report, "archive: pages of a listing"), /^not tried, as it takes 1001 PUTs/);
    const s3 = (["PutObject", "GetObject", "ListObjectsV2"] as const).reduce(
      (sum, name) => sum + stack.s3Count(name),
      0,
    );
    assert(report.subrequests <= 50 && stack.server.requests <= 26, `${report.subrequests}, ${stack.server.requests}`);
    assert(report.subrequests >= stack.server.requests + s3, `${report.subrequests}`);
    const billed = await stack.server.billable();
    assert(billed <= 80 && Math.abs(report.commands - billed) <= 3, `${report.commands}, ${billed}`); // unknown ones aside
  });

  it("twice at once finds nothing wrong, and neither removes what the other one tries", async () => {
    const both = () => Promise.all([probe(stack.store(), SHORT), probe(stack.store(), SHORT), probe(stack.store())]);
    for (const report of await changesNothing(stack, both)) {
      assertEquals([failing(report), report.ok, report.done], [[], true, true]);
    }
  });

  it("does not make an archive count as used, also if it dies in the middle", async () => {
    const onS3 = stack.store();
    const dying = hooked(stack.datastore(), {
      deleteKeys: () => Promise.reject(new TundraError("UNAVAILABLE", "dead")),
    });
    const report = await probe(stack.store({ datastore: dying, redis: QUICK }), { maxSubrequests: 60 });
    assertEquals(failing(report), ["archive: delete", "removes what it has made"]);
    const left = [...stack.s3.objects(BUCKET).keys()];
    assert(left.length > 3 && left.every((name) => name.startsWith("~probe/default/")), left.join());
    await raw("SET", "a", "1");
    await onS3.dirty("a");
    const { frozen, errors } = await onS3.tick();
    assertEquals([frozen, errors], [1, []]);
    assertEquals(failing(await probe(onS3, { maxSubrequests: 60 })), []);
    assertEquals([...stack.s3.objects(BUCKET).keys()].filter((name) => name.startsWith("~probe/")).length, left.length);
  });

  it("removes what a probe has left an hour ago", async () => {
    archive.objects.set("~probe/default/1700000000000000-0a1b2c3d/large", new Uint8Array(5));
    archive.objects.set("~probe/other/1700000000000000-0a1b2c3d/large", new Uint8Array(5));
    assert((await probe(store, SHORT)).ok);
    assertEquals([...archive.objects.keys()], ["~probe/other/1700000000000000-0a1b2c3d/large"]);
  });

  it("is ended by an abort or a bound: the rest is not tried, and what was made is removed", async () => {
    const controller = new AbortController();
    const report = await probe(store, {
      signal: controller.signal,
      onProgress: ({ done, total }) => {
        assert(done <= total!);
        if (done === 24) controller.abort();
      },
    });
    assertEquals([report.ok, report.done], [false, false]);
    assertEquals(report.checks.filter(({ ok }) => ok).length, 25); // one more removes what was made
    assertMatch(detailOf(report, "archive: delete"), /^not tried/);
    assertEquals([await raw("KEYS", "*"), archive.objects.size], [[], 0]);
    const bounded = await probe(store, { maxSubrequests: 20 });
    assertEquals([bounded.ok, bounded.done, bounded.subrequests <= 20], [false, false, true]);
    assertEquals([await raw("KEYS", "*"), archive.objects.size], [[], 0]);
  });

  it("gives its keys a TTL, so that they go if it is killed", async () => {
    const fetching: typeof fetch = (url, init) =>
      String(init?.body).includes('"UNLINK"') ? Promise.reject(new TypeError("killed")) : fetch(url, init);
    const report = await probe(
      stack.store({ datastore: archive, redis: { ...QUICK, fetch: fetching, retry: false } }),
      SHORT,
    );
    assertEquals(failing(report), ["removes what it has made"]);
    const keys = (await raw("KEYS", "*") as Uint8Array[]).map(String);
    assert(keys.length >= 10 && keys.every((key) => key.startsWith(KEYS.temporary(""))), keys.join());
    for (const key of keys) assert(await raw("PTTL", key) as number > 0, key);
  });

  it("says so if the index was lost, and tries the rest all the same", async () => {
    await raw("SET", "a", "1");
    await store.dirty("a");
    await store.tick();
    assertMatch(detailOf(await probe(store, SHORT), "index and archive belong together"), /^the index is .+@/);
    await raw("DEL", KEYS.id);
    const report = await changesNothing(stack, () => probe(store, SHORT));
    assertEquals(failing(report), ["index and archive belong together"]);
    assertMatch(detailOf(report, "index and archive belong together"), /LOST.*rebuild/);
  });

  it("refuses bad options before anything is sent", async () => {
    for (const bad of [{ pages: true }, { maxSubrequests: 3 }, { signal: 1 }, 5]) {
      await tundraError("BAD_ARGUMENT", () => probe(store, bad as never));
    }
    assertEquals([stack.server.requests, archive.objects.size], [0, 0]);
  });

  describe("of a server", () => {
    const endpoint = async (options: Omit<UpstashOptions, "redisPort">, redis: { maxRequestBytes?: number } = {}) => {
      const server = await startUpstash({ redisPort: stack.redis.port, ...options });
      servers.push(server);
      return stack.store({
        datastore: archive,
        redis: { ...QUICK, url: server.url, token: server.token, retry: false, ...redis },
      });
    };
    /** A store between which and its endpoint replies are changed. */
    const changing = (change: (body: string, reply: string) => string) => {
      const fetching: typeof fetch = async (url, init) => {
        const reply = await fetch(url, init);
        const text = await reply.text();
        const changed = change(String(init?.body), text);
        return new Response(changed, { status: changed === text ? reply.status : 200 });
      };
      return stack.store({ datastore: archive, redis: { ...QUICK, fetch: fetching, retry: false } });
    };
    const base64 = (text: string) => Buffer.from(text).toString("base64");

    it("without flags, EVAL_RO and MEMORY says what goes without them", async () => {
      const old = await endpoint({
        unknownCommands: ["EVAL_RO", "EVALSHA_RO", "MEMORY"],
        scriptFlags: { taken: [], refusal: (flag) => `ERR flag ${flag}?` },
      });
      const report = await probe(old, SHORT);
      assertEquals([failing(report), report.ok], [[], true]);
      assertMatch(detailOf(report, "redis: script flag allow-key-locking"), /refused \(.+\).*locks the whole database/);
      assertMatch(detailOf(report, "redis: script flag allow-oom"), /works without: a full database/);
      assertMatch(detailOf(report, "redis: EVAL_RO"), /not known.*primary/);
      assertMatch(detailOf(report, "redis: MEMORY USAGE"), /adopt\(\) with minBytes/);
      assertMatch(detailOf(report, "redis: JSON"), /no JSON type/);
    });

    it("that does not know DUMP is no server for this: each check that needs it says so, others hold", async () => {
      const report = await probe(await endpoint({ unknownCommands: ["DUMP"] }), SHORT);
      assert(failing(report).includes("redis: DUMP comes byte by byte") && failing(report).length < 8);
      assertMatch(detailOf(report, "redis: DUMP comes byte by byte"), /UNSUPPORTED.*unknown command/);
    });

    it("that takes smaller requests: which option to set", async () => {
      const small = await endpoint({ maxRequestBytes: 2_000_000 }, { maxRequestBytes: undefined });
      const report = await refutes(small, "redis: size of a request", /set redis\.maxRequestBytes to \d+/);
      const most = Number(/maxRequestBytes to (\d+)/.exec(detailOf(report, "redis: size of a request"))![1]);
      assert(most <= 2_000_000 && most > 1_000_000, `${most}`);
    });

    it("that removes keys by itself", async () => {
      await raw("CONFIG", "SET", "maxmemory", "1gb");
      await raw("CONFIG", "SET", "maxmemory-policy", "allkeys-lru");
      try {
        await refutes(store, "redis: nothing removes keys by itself", /allkeys-lru.*noeviction/);
      } finally {
        await raw("CONFIG", "SET", "maxmemory", "0");
        await raw("CONFIG", "SET", "maxmemory-policy", "noeviction");
      }
    });

    it("whose clock is an hour behind", async () => {
      const then = Math.floor(Date.now() / 1000) - 3_600;
      const late = changing((body, reply) =>
        body === '["TIME"]' ? JSON.stringify({ result: [base64(`${then}`), base64("1")] }) : reply
      );
      await refutes(late, "redis: clock", /36\d{5} ms behind.*set the clock/);
    });

    it("that changes bytes on their way", async () => {
      const text = changing((body, reply) => {
        if (!body.startsWith('["DUMP"')) return reply;
        const { result } = JSON.parse(reply);
        return JSON.stringify({ result: base64(Buffer.from(result, "base64").toString("utf8")) });
      });
      const report = await probe(text, SHORT);
      assertEquals(failing(report), [
        "redis: DUMP comes byte by byte",
        "redis: sha1hex",
        "redis: RESTORE with ABSTTL in a script",
      ]);
      assertMatch(detailOf(report, "redis: DUMP comes byte by byte"), /Upstash-Encoding: base64/);
    });

    it("whose DUMPs of an unchanged hash differ", async () => {
      const unstable = changing((body, reply) => {
        if (!body.startsWith('[["DUMP"')) return reply;
        const dumps = JSON.parse(reply);
        dumps[0].result = dumps[1].result;
        return JSON.stringify(dumps);
      });
      await refutes(unstable, "redis: DUMPs of an unchanged key are equal", /differ for hash: each eviction/);
    });

    it("whose scripts answer otherwise", async () => {
      const answers = (part: string, change: (result: unknown[]) => unknown[]) =>
        changing((body, reply) => {
          if (!body.includes(part)) return reply;
          return JSON.stringify({ result: change(JSON.parse(reply).result) });
        });
      await refutes(answers("sha1hex", ([n]) => [n, base64("0".repeat(40))]), "redis: sha1hex", /its SHA-1 is/);
      await refutes(answers("ZMSCORE", ([n]) => [n, 0]), "redis: ZMSCORE in a script", /Redis 7/);
      await refutes(answers("'PXAT', at", ([n]) => [n, 0]), "redis: expiries in a script", /Redis 7/);
      await refutes(answers("#clock == 2", ([n]) => [n, 0]), "redis: TIME in a script", /Redis 7/);
      const noAbsttl = answers("ABSTTL", ([n]) => [n, [1, 1_700_000_000_000]]);
      await refutes(noAbsttl, "redis: RESTORE with ABSTTL in a script", /another expiry/);
      const noNoscript = changing((body, reply) => body.startsWith('["EVALSHA","000') ? '{"result":1}' : reply);
      await refutes(noNoscript, "redis: EVALSHA", /NOSCRIPT/);
      const readOnly = changing((body, reply) => body.includes("EVAL_RO") ? '{"result":8}' : reply);
      await refutes(readOnly, "redis: EVAL_RO", /replies 8/);
    });

    it("that does not answer at all: each check says so, and the archive's hold", async () => {
      const refusing: typeof fetch = () => Promise.reject(new TypeError("connection refused"));
      const report = await probe(
        stack.store({ datastore: archive, redis: { ...QUICK, fetch: refusing, retry: false } }),
        SHORT,
      );
      assert(!report.ok);
      for (const { name, ok, detail } of report.checks) {
        if (name.startsWith("archive: ")) assert(ok, `${name}: ${detail}`);
        else if (name.startsWith("redis: ")) assertMatch(detail, /could not be tried \(UNAVAILABLE\)/, name);
      }
      assertEquals(archive.objects.size, 0);
    });
  });
});
