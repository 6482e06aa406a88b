/**
 * Redis or S3 is away, slow, misconfigured or unwilling: typed errors, nothing evicted, nothing counted, and it drains
 * afterwards.
 */
import process from "node:process";
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import {
  type Fault,
  type FaultPlan,
  type FaultRequest,
  faultyFetch,
  startFaultProxy,
} from "../../dev/servers/faults.ts";
import { freePort } from "../../dev/servers/redis_server.ts";
import { s3Datastore, type S3DatastoreOptions, TundraError, type TundraStore, tundraStore } from "../../mod.ts";
import { startS3 } from "../../src/testing/s3.ts";
import { BUCKET, describePackings, type StoreOptions, tundraError } from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";
import { agedVersion, type Allowed, type FaultWorld, withFaultWorld } from "./world.ts";

const TTL = { redisTtlMs: 10 * HOUR_MS };

/**
 * `dirty` has changed since it was archived, `evicted` is in the archive alone, `idle` may leave once the archive is
 * asked.
 */
async function situation(world: FaultWorld): Promise<Allowed> {
  await world.flush();
  await world.commands(
    ["SET", "dirty", "d1"],
    ["SET", "evicted", "e1", "PXAT", Math.floor(await world.nowMs()) + HOUR_MS],
    ["SET", "idle", "i1"],
  );
  const store = world.store();
  await store.dirty("dirty", "evicted", "idle");
  assertEquals((await store.tick()).frozen, 3);
  await world.commands(["SET", "dirty", "d2"]);
  await store.dirty("dirty");
  const allowed: Allowed = new Map(
    [...await world.values("dirty", "evicted", "idle")].map(([key, value]) => [key, [value]]),
  );
  assertEquals((await store.evict("evicted")).evicted, ["evicted"]);
  await agedVersion(world, "idle");
  await world.leaveAlone(11 * HOUR_MS, "idle");
  await world.commands(["DEL", "tundra:default:stats"]);
  return allowed;
}

/** The queue is as it was, nobody left, no attempt was counted. */
async function unharmed(world: FaultWorld, allowed: Allowed): Promise<void> {
  assertEquals(await world.audit(allowed), []);
  assertEquals(await world.members("dirty"), ["dirty"]);
  assertEquals(await world.members("dead"), []);
  assertEquals((await world.record("dirty"))!.attempts, 0);
  assertEquals(await world.exists("dirty", "idle"), 2);
}

/** The fault has ended: everything that waited happens. */
async function recovered(world: FaultWorld, store: TundraStore, allowed: Allowed): Promise<void> {
  await world.endLeases();
  await world.endBackoffs();
  await world.leaveAlone(11 * HOUR_MS, "idle");
  const report = await store.tick();
  assertEquals(report.errors, []);
  assertEquals([report.frozen, report.evicted, report.done], [1, 1, true]);
  assertEquals(await world.members("dirty"), []);
  assertEquals(await world.audit(allowed), []);
  await store.ensureKs("dirty", "evicted", "idle");
  const values = await world.values("dirty", "evicted", "idle");
  assertEquals([...values].map(([key, value]) => [key, [value]]), [...allowed]);
}

function showsNoSecret(world: FaultWorld, text: string): void {
  assert(!text.includes(world.connection.token), text);
  assert(!text.includes(world.s3.secretAccessKey), text);
}

function s3Error(status: number, code: string): Fault {
  return { type: "status", status, body: `<?xml version="1.0"?><Error><Code>${code}</Code></Error>` };
}

/** Each request fails twice, then it works. */
function firstTwoTries(fault: Fault): FaultPlan {
  const tries = new Map<string, number>();
  return ({ method, url, body }) => {
    const request = `${method} ${url} ${body}`;
    tries.set(request, (tries.get(request) ?? 0) + 1);
    return tries.get(request)! <= 2 ? fault : undefined;
  };
}

describePackings("while S3", (packBytes) => {
  const world = withFaultWorld({ packBytes });
  let allowed: Allowed;
  beforeEach(async () => {
    allowed = await situation(world);
  });

  /** Ticks and reads fail for now, however often they are tried; `says`: what their messages tell. */
  const fails = async (store: TundraStore, says: RegExp, retryable = true) => {
    const errors: TundraError[] = [];
    for (let i = 0; i < 4; i++) {
      const report = await store.tick({ nattempts: 1, retryBackoffMs: 0, onError: (error) => errors.push(error) });
      assertEquals([report.claimed, report.failed, report.dead], [1, 1, 0]);
      assertEquals([report.frozen, report.evicted, report.rescued, report.missing], [0, 0, 0, 0]);
      assertEquals([report.done, report.remaining], [false, 0]); // an idle key is still there
    }
    assertEquals(errors.map(({ code }) => code), Array(4).fill("UNAVAILABLE"));
    const failed = await tundraError("ENSURE_FAILED", () => store.ensureKs("dirty", "evicted"));
    assertEquals([failed.keys, failed.retryable], [["evicted"], retryable]);
    const cause = failed.causes["evicted"]!;
    assert(cause instanceof TundraError);
    assertEquals([cause.code, cause.retryable], ["UNAVAILABLE", retryable]);
    for (const error of [...errors, cause]) {
      assertMatch(error.message, says);
      showsNoSecret(world, error.message);
    }
    await unharmed(world, allowed);
  };

  const PASSING: [string, Fault, RegExp][] = [
    ["breaks every connection", { type: "reset" }, /fetch failed/],
    ["breaks every connection after it did its work", { type: "reset", served: true }, /fetch failed/],
    ["says 503 SlowDown", s3Error(503, "SlowDown"), /503 SlowDown/],
    ["says 429", s3Error(429, "TooManyRequests"), /429 TooManyRequests/],
    [
      "says 500 though it did its work",
      { ...s3Error(500, "InternalError"), served: true } as Fault,
      /500 InternalError/,
    ],
    ["says 400 ExpiredToken", s3Error(400, "ExpiredToken"), /400 ExpiredToken/],
    ["says 403 AccessDenied to a token that lacks rights", s3Error(403, "AccessDenied"), /403 AccessDenied/],
    ["says 403 without a reason", { type: "status", status: 403 }, /403 without an S3 error code/],
    ["says 404 NoSuchBucket", s3Error(404, "NoSuchBucket"), /404 NoSuchBucket/],
    ["says 404 without a reason", { type: "status", status: 404 }, /404 without an S3 error code/],
    ["says 409 OperationAborted", s3Error(409, "OperationAborted"), /409 OperationAborted/],
    ["says 307", { type: "status", status: 307, headers: { location: "http://127.0.0.1:1/" } }, /307/],
    ["is a login page that says 200", { type: "status", status: 200, body: "<html>Sign in" }, /./],
    ["hangs", { type: "hang" }, /no progress in 40 ms/],
  ];
  /** Failures that an operator must end: each passes as well, and still no attempt counts. */
  const ENDED_BY_PEOPLE = /^says (400 ExpiredToken|403|404|307)/;
  for (const [name, fault, says] of PASSING) {
    it(`${name}, ticks and reads fail, and the queue drains afterwards`, async () => {
      const layer = faultyFetch(fetch, () => fault);
      const patient = world.datastore({ fetch: layer, ...(fault.type === "hang" && { timeoutMs: 40 }) });
      const store = world.store({ ...TTL, datastore: patient });
      if (fault.type === "status" && fault.status === 200) {
        // a read cannot tell this page from an object; what an owner object looks like and the checksum can, and a
        // range
        const report = await store.tick({ nattempts: 1, retryBackoffMs: 0 });
        assertEquals([report.frozen, report.failed, report.dead, report.evicted], [0, 1, 0, 0]);
        const failed = await tundraError("ENSURE_FAILED", () => store.ensureKs("evicted"));
        assertEquals((failed.causes["evicted"] as TundraError).code, packBytes > 0 ? "UNAVAILABLE" : "CORRUPT");
        assertEquals(await world.audit(allowed), []);
        return;
      }
      await fails(store, says, !ENDED_BY_PEOPLE.test(name));
      layer.setPlan([]);
      // on a busy machine 40 ms are short for a healthy server too
      await recovered(world, fault.type === "hang" ? world.store(TTL) : store, allowed);
    });
  }

  const MISCONFIGURED: [string, Partial<S3DatastoreOptions>, RegExp][] = [
    ["is given a wrong secret", { secretAccessKey: "not-the-secret" }, /403 SignatureDoesNotMatch/],
    ["is given a wrong access key", { accessKeyId: "nobody" }, /403 InvalidAccessKeyId/],
    ["is asked for a wrong bucket", { bucket: "other" }, /404 NoSuchBucket/],
    ["is asked with a wrong region", { region: "moon-1" }, /400 AuthorizationHeaderMalformed/],
  ];
  for (const [name, options, says] of MISCONFIGURED) {
    it(`${name}, ticks and reads fail, and the queue drains once it is put right`, async () => {
      await fails(world.store({ ...TTL, datastore: world.datastore(options) }), says, false);
      await recovered(world, world.store(TTL), allowed);
    });
  }

  it("does not run at all, ticks and reads fail, and the queue drains once it does", async () => {
    const port = await freePort();
    const options = { endpoint: `http://127.0.0.1:${port}` };
    const store = world.store({ ...TTL, datastore: world.datastore(options) });
    await fails(store, /the S3 server must do it/);
    const proxy = await startFaultProxy({ target: world.s3.url, port });
    await recovered(world, store, allowed);
    await proxy.stop();
  });

  it("cuts its replies off, reads fail, and uploads that it confirmed count", async () => {
    const layer = faultyFetch(fetch, () => ({ type: "truncate" }));
    const store = world.store({ ...TTL, datastore: world.datastore({ fetch: layer }) });
    const failed = await tundraError("ENSURE_FAILED", () => store.ensureKs("evicted"));
    assertEquals((failed.causes["evicted"] as TundraError).code, "UNAVAILABLE");
    await unharmed(world, allowed);
    layer.setPlan([]);
    await recovered(world, store, allowed);
  });

  it("asks for patience now and then, retries are enough", async () => {
    const slow = s3Error(503, "SlowDown");
    const layer = faultyFetch(fetch, firstTwoTries(slow));
    const store = world.store({ ...TTL, datastore: world.datastore({ fetch: layer, retries: 2 }) });
    await recovered(world, store, allowed);
    assert(layer.log.filter(({ fault }) => fault).length >= 4);
  });

  for (const hours of [-2, 2]) {
    it(`has a clock that is ${hours} h off, it is asked what time it is, and all goes on`, async () => {
      const skewed = await startS3({ buckets: [BUCKET], clockOffsetMs: hours * HOUR_MS });
      try {
        for (const [name, bytes] of world.s3.objects(BUCKET)) skewed.objects(BUCKET).set(name, bytes);
        const { url: endpoint, region, accessKeyId, secretAccessKey } = skewed;
        const datastore = s3Datastore({ endpoint, region, bucket: BUCKET, accessKeyId, secretAccessKey, retries: 0 });
        const store = world.store({ ...TTL, datastore });
        const report = await store.tick();
        assertEquals([report.frozen, report.evicted, report.errors], [1, 1, []]);
        const { ver } = (await world.record("dirty"))!;
        assert(
          Math.abs(Number(ver.split("-")[0]) / 1000 - await world.nowMs()) < 60_000,
          "Redis' clock counts, no other",
        );
        assertEquals((await store.evict("dirty")).evicted, ["dirty"]);
        await store.ensureKs("dirty", "evicted", "idle");
        const values = await world.values("dirty", "evicted", "idle");
        assertEquals([...values].map(([key, value]) => [key, [value]]), [...allowed]);
      } finally {
        await skewed.stop();
      }
    });
  }

  it("refuses one object for its own sake, that key alone counts attempts and dies", async () => {
    await world.commands(["SET", "refused", "r1"]);
    const store = (plan: FaultPlan) => {
      const layer = faultyFetch(fetch, plan);
      return world.store({ freezer: null, datastore: world.datastore({ fetch: layer }) });
    };
    await store([]).dirty("refused");
    // each record names its key
    const refusing = store([{ match: /^PUT [^]*refused/, times: Infinity, fault: s3Error(400, "KeyTooLongError") }]);
    const reports = [];
    for (let i = 0; i < 3; i++) reports.push(await refusing.tick({ nattempts: 2, retryBackoffMs: 0 }));
    assertEquals(reports.map(({ frozen, failed, dead }) => [frozen, failed, dead]), [[1, 1, 0], [0, 1, 1], [0, 0, 0]]);
    const [dead] = await refusing.deadLetters();
    assertEquals([dead!.key, dead!.code, dead!.attempts], ["refused", "UNSUPPORTED", 2]);
    assertStringIncludes(dead!.message, "KeyTooLongError");
    assertEquals((await refusing.evict("refused")).kept, { refused: "dirty" });
    assertEquals(await store([]).retryDead("refused"), 1);
    assertEquals((await store([]).tick()).frozen, 1);
  });
});

/** Every call of the API that asks Redis. */
const CALLS: Record<string, (store: TundraStore) => Promise<unknown>> = {
  ensureKs: (store) => store.ensureKs("dirty", "evicted"),
  dirty: (store) => store.dirty("dirty"),
  "dirty, overwrite": (store) => store.dirty({ overwrite: true }, "dirty"),
  dirtyIn(store) {
    const pipeline = store.redis.pipeline();
    pipeline.get("dirty");
    store.dirtyIn(pipeline, "dirty");
    return pipeline.exec();
  },
  tick: (store) => store.tick(),
  evict: (store) => store.evict("dirty", "idle"),
  del: (store) => store.del("dirty", "evicted"),
  status: (store) => store.status(),
  deadLetters: (store) => store.deadLetters(),
  retryDead: (store) => store.retryDead("dirty"),
};

/** The names in their errors. */
const KEYS_OF: Record<string, string[]> = {
  ensureKs: ["dirty", "evicted"],
  dirty: ["dirty"],
  "dirty, overwrite": ["dirty"],
  dirtyIn: ["dirty"],
  evict: ["dirty", "idle"],
  del: ["dirty", "evicted"],
  retryDead: ["dirty"],
};

function redisError(status: number, error: string): Fault {
  return { type: "status", status, body: JSON.stringify({ error }), headers: { "content-type": "application/json" } };
}

describe("while Redis", () => {
  const world = withFaultWorld();
  let allowed: Allowed;
  beforeEach(async () => {
    allowed = await situation(world);
  });

  const faultyStore = (plan: FaultPlan, redis: StoreOptions["redis"] = {}) => {
    const layer = faultyFetch(fetch, plan);
    return { layer, store: world.store({ ...TTL, redis: { fetch: layer, retry: false, ...redis } }) };
  };

  /** Every call fails with a typed error and leaves Redis exactly as it was. */
  const allFail = async (store: TundraStore, says: RegExp) => {
    const before = await world.everything();
    for (const [name, act] of Object.entries(CALLS)) {
      const error = await tundraError("UNAVAILABLE", () => act(store));
      assertMatch(error.message, says, name);
      // what a token may do a person has to change
      assertEquals(error.retryable, !/token|NOPERM/.test(says.source), name);
      if (KEYS_OF[name]) assertEquals(error.keys, KEYS_OF[name], name);
      showsNoSecret(world, error.message);
    }
    assertEquals(await world.everything(), before);
    await unharmed(world, allowed);
  };

  const page = "<html>Sign in</html>";
  const PASSING: [string, Fault, RegExp][] = [
    ["breaks every connection", { type: "reset" }, /a network failure/],
    ["says 429", { type: "status", status: 429 }, /HTTP 429/],
    ["says 429 and asks for an hour", { type: "status", status: 429, headers: { "retry-after": "3600" } }, /HTTP 429/],
    ["says 500", { type: "status", status: 500 }, /HTTP 500/],
    ["says 503", redisError(503, "overloaded"), /HTTP 503 \(overloaded\)/],
    ["refuses the token", redisError(401, "Unauthorized"), /HTTP 401: the server refused the token/],
    ["forbids it", redisError(403, "Forbidden"), /HTTP 403: the server refused the token/],
    ["says 404", { type: "status", status: 404 }, /HTTP 404/],
    ["says that the token lacks rights", redisError(400, "NOPERM this user has no permissions"), /NOPERM/],
    ["is a replica", redisError(400, "READONLY You can't write against a read only replica."), /READONLY/],
    ["is loading", redisError(400, "LOADING Redis is loading the dataset in memory"), /LOADING/],
    ["is a login page that says 200", { type: "status", status: 200, body: page }, /an unreadable reply \(HTTP 200\)/],
    ["answers with nothing", { type: "status", status: 200, body: "" }, /an unreadable reply \(HTTP 200\)/],
    ["hangs", { type: "hang" }, /no answer within 30 ms/],
  ];
  for (const [name, fault, says] of PASSING) {
    it(`${name}, every call fails with a typed error, and the queue drains afterwards`, async () => {
      const { layer, store } = faultyStore(() => fault, fault.type === "hang" ? { timeoutMs: 30 } : {});
      await allFail(store, says);
      layer.setPlan([]);
      const patient = fault.type === "hang" ? world.store(TTL) : store;
      await recovered(world, patient, allowed);
    });
  }

  it("is given a wrong token, every call fails with a typed error that does not show it", async () => {
    const { store } = faultyStore([], { token: "a-wrong-token" });
    await allFail(store, /HTTP 401: the server refused the token/);
    const error = await tundraError("UNAVAILABLE", () => store.tick());
    assert(!error.message.includes("a-wrong-token"), error.message);
    await recovered(world, world.store(TTL), allowed);
  });

  it("cuts its replies off, every call fails with a typed error, and what took effect does no harm", async () => {
    const { layer, store } = faultyStore(() => ({ type: "truncate" }));
    for (const [name, act] of Object.entries(CALLS)) {
      if (name === "del") continue;
      await tundraError("UNAVAILABLE", () => act(store));
    }
    assertEquals(await world.audit(allowed), []);
    assertEquals(await world.members("dead"), []);
    layer.setPlan([]);
    await world.endLeases();
    for (let i = 0; i < 2; i++) await store.tick();
    assertEquals(await world.audit(allowed), []);
    assertEquals(await world.members("dirty"), []);
    assertEquals((await world.record("dirty"))!.attempts, 0);
  });

  it("lets its token only read, resident keys are fine and everything else is a typed error", async () => {
    // Upstash's read-only token: EVAL is refused, EVAL_RO is not
    const writes = (request: FaultRequest) => /^\[+"EVAL(SHA)?"/.test(request.body);
    const noperm = redisError(400, "NOPERM this user has no permissions to run the 'evalsha' command");
    const { store } = faultyStore([{ match: writes, times: Infinity, fault: noperm }]);
    await store.ensureKs("dirty");
    const failed = await tundraError("ENSURE_FAILED", () => store.ensureKs("dirty", "evicted"));
    assertEquals([failed.keys, failed.retryable], [["evicted"], false]);
    assertStringIncludes((failed.causes["evicted"] as Error).message, "NOPERM");
    for (const name of ["dirty", "tick", "evict", "del", "retryDead"]) {
      assertStringIncludes((await tundraError("UNAVAILABLE", () => CALLS[name]!(store))).message, "NOPERM", name);
    }
    await unharmed(world, allowed);
    await recovered(world, world.store(TTL), allowed);
  });

  for (const script of ["commit", "fail", "release"] as const) {
    it(`refuses only ${script}, the lease ends and no attempt is counted`, async () => {
      const refused = redisError(400, "ERR not now");
      const s3 = faultyFetch(fetch, script === "fail" ? () => ({ type: "status", status: 503 }) : []);
      const abort = new AbortController();
      const datastore = world.datastore({ fetch: s3 });
      // scripts travel as text here: a server that never learns one
      const { layer, store: telling } = faultyStore([
        { match: (request) => request.body.includes(`\\n-- ${script}\\n`), times: Infinity, fault: refused },
        { match: /^POST \S+\n\["EVALSHA/, times: Infinity, fault: redisError(400, "NOSCRIPT No matching script") },
      ]);
      const store = tundraStore(
        script === "release"
          ? { ...datastore, putKey: () => (abort.abort(), Promise.reject(abort.signal.reason)) }
          : datastore,
        { redis: { ...world.connection, fetch: layer, retry: false } },
      );
      const report = await store.tick({ nattempts: 1, ...(script === "release" && { signal: abort.signal }) });
      assertEquals([report.claimed, report.frozen, report.dead], [1, 0, 0]);
      assert(report.errors.some(({ code, message }) => code === "UNAVAILABLE" && message.includes("ERR not now")));
      await unharmed(world, allowed);
      assertEquals(await world.endLeases(), 1);
      layer.setPlan([]);
      await recovered(world, world.store(TTL), allowed);
      assertEquals((await telling.status()).dead, 0);
    });
  }

  it("is refused a connection for a while, default retries bridge it", async () => {
    const { store, layer } = faultyStore(firstTwoTries({ type: "reset" }), { retry: { retries: 2 } });
    await recovered(world, store, allowed);
    assert(layer.log.filter(({ fault }) => fault).length >= 6);
  });
});

describe("while redis-server", () => {
  const world = withFaultWorld({ redis: { args: ["--appendonly", "yes", "--appendfsync", "always"] } });
  let allowed: Allowed;
  beforeEach(async () => {
    allowed = await situation(world);
  });

  it("is stopped (SIGSTOP), calls give up in time, what they sent arrives later and does no harm", async () => {
    const store = world.store({ ...TTL, redis: { retry: false, timeoutMs: 60 } });
    const { pid } = world.redis;
    process.kill(pid, "SIGSTOP");
    const from = performance.now();
    try {
      for (const [name, act] of Object.entries(CALLS)) {
        if (name === "del" || name === "evict") continue; // these would happen later
        const error = await tundraError("UNAVAILABLE", () => act(store));
        assertMatch(error.message, /no answer within 60 ms/, name);
      }
    } finally {
      process.kill(pid, "SIGCONT");
    }
    assert(performance.now() - from < 5000);
    assertEquals(await world.audit(allowed), []); // its commands wait behind theirs
    assertEquals(await world.exists("dirty", "idle"), 2);
    await recovered(world, world.store(TTL), allowed);
  });

  it("is killed and comes back, calls fail in between, and nothing acknowledged is lost", async () => {
    const store = world.store({ ...TTL, redis: { retry: false } });
    await world.redis.kill();
    for (const [name, act] of Object.entries(CALLS)) {
      const error = await tundraError("UNAVAILABLE", () => act(store));
      assertEquals(error.retryable, true, name);
    }
    await world.redis.restart();
    await unharmed(world, allowed);
    await recovered(world, store, allowed); // it has forgotten the scripts too
  });
});
