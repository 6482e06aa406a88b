import { spawnSync } from "node:child_process";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals, assertFalse, assertInstanceOf, assertRejects, assertStringIncludes } from "@std/assert";
import { errors, Redis } from "@upstash/redis";
import { TundraError } from "../../src/base/errors.ts";
import { redisClient } from "../../src/upstash/client.ts";
import { connect, type RedisOptions } from "../../src/upstash/connection.ts";
import { base64, type FakeCall, fakeFetch, hanging } from "../support/fake_fetch.ts";
import { seededRandom } from "../support/random.ts";

const URL_ = "https://db.example";
const TOKEN = "the-token-0123456789";

function client(answer: (call: FakeCall) => unknown, options: Partial<RedisOptions> = {}) {
  const fake = fakeFetch(answer);
  const all: RedisOptions = { url: URL_, token: TOKEN, fetch: fake.fetch, retry: { backoff: () => 0 }, ...options };
  const connection = connect(all);
  return { redis: redisClient(connection, all), connection, calls: fake.calls };
}

/** The stock client, answered by the same function. It knows only the global fetch. */
async function onStock<T>(answer: (call: FakeCall) => unknown, use: (redis: Redis) => Promise<T>) {
  const fake = fakeFetch(answer);
  const stock = globalThis.fetch;
  globalThis.fetch = fake.fetch;
  try {
    return { result: await use(new Redis({ url: URL_, token: TOKEN })), calls: fake.calls };
  } finally {
    globalThis.fetch = stock;
  }
}

describe("the client's options", () => {
  it("auto-pipeline by default, as the stock client's do", async () => {
    const answer = ({ json }: FakeCall) => (json as unknown[]).map((_, i) => ({ result: i + 1 }));
    const use = (redis: Redis) => Promise.all([redis.incr("a"), redis.incr("b"), redis.get("c")]);
    const { redis, calls } = client(answer);
    assertInstanceOf(redis, Redis);
    const results = await use(redis);
    const stock = await onStock(answer, use);
    const sent = (calls: FakeCall[]) => calls.map(({ path, json }) => [path, json]);
    assertEquals(results, stock.result);
    assertEquals(sent(calls), sent(stock.calls));
    // since 1.38 what reads travels in a request of its own
    assertEquals(sent(calls).map(([path]) => path), Array(calls.length).fill("/pipeline"));
    assertEquals(calls.flatMap(({ json }) => json), [["incr", "a"], ["incr", "b"], ["get", "c"]]);
    assertEquals((calls[0]!.json as unknown[]).slice(0, 2), [["incr", "a"], ["incr", "b"]]);
  });

  it("send each command alone with enableAutoPipelining: false", async () => {
    const { redis, calls } = client(({ n }) => ({ result: n }), { enableAutoPipelining: false });
    assertEquals(await Promise.all([redis.incr("a"), redis.incr("b")]), [0, 1]);
    assertEquals(calls.map(({ path, json }) => [path, json]), [["/", ["incr", "a"]], ["/", ["incr", "b"]]]);
  });

  it("parse JSON by default and don't with automaticDeserialization: false", async () => {
    const answer = () => ({ result: base64('{"a":1}') });
    const parsed = client(answer, { enableAutoPipelining: false });
    assertEquals(await parsed.redis.get("k"), { a: 1 });
    const plain = client(answer, { enableAutoPipelining: false, automaticDeserialization: false });
    assertEquals(await plain.redis.get("k"), '{"a":1}');
    const piped = client(() => [answer()], { automaticDeserialization: false });
    assertEquals(await piped.redis.pipeline().get("k").exec(), ['{"a":1}']);
  });

  it("print how long a command took with latencyLogging", async () => {
    const stock = console.log;
    const lines: string[] = [];
    console.log = (...args: unknown[]) => void lines.push(args.join(" "));
    try {
      const { redis } = client(() => ({ result: 1 }), { latencyLogging: true, enableAutoPipelining: false });
      await redis.incr("a");
    } finally {
      console.log = stock;
    }
    assertEquals(lines.length, 1);
    assertStringIncludes(lines[0]!, "INCR");
    assertStringIncludes(lines[0]!, " ms");
  });

  it("ask for plain strings with responseEncoding: false, and only on the client's own requests", async () => {
    const { redis, connection, calls } = client(({ n }) => ({ result: n === 0 ? "plain é" : base64("é") }), {
      responseEncoding: false,
      enableAutoPipelining: false,
    });
    assertEquals(await redis.get("a"), "plain é");
    assertEquals(await connection.command(["GET", "a"]), { result: "\xc3\xa9" });
    assertEquals(calls.map((call) => call.headers.get("upstash-encoding")), [null, "base64"]);
  });

  it("never send telemetry", async () => {
    const { redis, calls } = client(() => ({ result: 1 }), { enableTelemetry: true, enableAutoPipelining: false });
    await redis.incr("a");
    assertEquals([...calls[0]!.headers.keys()].filter((name) => name.includes("telemetry")), []);
  });

  it("share the read-your-writes token, which can be read and set through an auto-pipelining client", async () => {
    const answer = ({ n }: FakeCall) => Response.json([{ result: 1 }], { headers: { "upstash-sync-token": `t${n}` } });
    const { redis, connection, calls } = client(answer);
    await redis.incr("a");
    assertEquals(redis.readYourWritesSyncToken, "t0");
    redis.readYourWritesSyncToken = "mine";
    await connection.multi([["GET", "a"]]);
    assertEquals(calls[1]!.headers.get("upstash-sync-token"), "mine");
    assertEquals(redis.readYourWritesSyncToken, "t1");
  });

  it("leave room for middleware", async () => {
    const { redis } = client(() => ({ result: 1 }), { enableAutoPipelining: false });
    const seen: unknown[] = [];
    redis.use(async (request, next) => {
      seen.push(request.body);
      return await next(request);
    });
    assertEquals(await redis.incr("a"), 1);
    assertEquals(seen, [["incr", "a"]]);
  });
});

describe("the client", () => {
  it("needs no permission: neither to read the environment nor anything else", () => {
    const program = fileURLToPath(new URL("../support/make_client.ts", import.meta.url));
    const deno = process.versions.deno ? process.execPath : "deno";
    const run = spawnSync(deno, ["run", "--no-prompt", "--quiet", program], { encoding: "utf8" });
    assertEquals([run.stdout.trim(), run.status], ['"OK"', 0], run.stderr);
  });
});

describe("the client's replies", () => {
  it("are those of the stock client, whatever the bytes and the nesting", async () => {
    const random = seededRandom("the client's replies");
    const encoded = (): string => {
      let bytes = "";
      for (const byte of random.bytes(random.int(12))) bytes += String.fromCharCode(byte);
      return btoa(random.int(2) ? bytes : base64(random.text(6)));
    };
    const scalar = (): unknown => random.pick([encoded, () => null, () => random.int(9), () => base64("12")])();
    const reply = (depth: number): unknown =>
      depth === 0 || random.int(3) === 0 ? scalar() : Array.from({ length: random.int(4) }, () => reply(depth - 1));
    for (let i = 0; i < 300; i++) {
      const one = random.int(8) === 0 ? "OK" : reply(3);
      const answer = ({ path }: FakeCall) => path === "/" ? { result: one } : [{ result: one }, { result: null }];
      for (
        const use of [
          (redis: Redis) => redis.exec<unknown>(["LRANGE", "a", "0", "-1"]),
          (redis: Redis) => redis.pipeline().eval("return", [], []).get("a").exec(),
          (redis: Redis) => redis.multi().eval("return", [], []).get("a").exec({ keepErrors: true }),
        ]
      ) {
        const stock = await onStock(answer, use);
        assertEquals(await use(client(answer).redis), stock.result, JSON.stringify(one));
      }
    }
  });

  it("keep the errors of a pipeline apart with keepErrors", async () => {
    const { redis } = client(() => [{ result: "OK" }, { error: "WRONGTYPE Operation" }]);
    const results = await redis.pipeline().set("a", 1).lpush("a", "hunter22").exec({ keepErrors: true });
    assertEquals(results.map(({ error, result }) => [error, result]), [
      [undefined, "OK"],
      ["WRONGTYPE Operation, command was: LPUSH", undefined],
    ]);
  });
});

describe("the client's errors", () => {
  const refusedCommand = { error: "ERR value is not an integer: 'hunter22'" };
  const batch = ({ path, json }: FakeCall) =>
    path === "/" ? refusedCommand : (json as unknown[]).map(() => refusedCommand);
  const uses: Record<string, (redis: Redis) => Promise<unknown>> = {
    "a command": (redis) => redis.incrby("some-key", "hunter22" as unknown as number),
    "a pipeline": (redis) => redis.pipeline().incrby("some-key", "hunter22" as unknown as number).exec(),
    "a transaction": (redis) => redis.multi().incrby("some-key", "hunter22" as unknown as number).exec(),
  };
  for (const enableAutoPipelining of [true, false]) {
    for (const [what, use] of Object.entries(uses)) {
      it(`are UpstashErrors naming ${what}, never its values (auto-pipelining ${enableAutoPipelining})`, async () => {
        const { redis, calls } = client(batch, { enableAutoPipelining });
        const error = await assertRejects(() => use(redis), errors.UpstashError, "INCRBY");
        assertStringIncludes(error.message, "ERR value is not an integer: '...'");
        assertFalse(/hunter22|some-key|the-token/.test(error.message), error.message);
        assertEquals(calls.length, 1);
      });
    }
  }

  it("are UpstashErrors for a transaction that was discarded as a whole", async () => {
    const { redis, calls } = client(() => Response.json({ error: "EXECABORT Transaction discarded" }, { status: 400 }));
    const use = () => redis.multi().set("a", "hunter22").incr("b").exec();
    const error = await assertRejects(use, errors.UpstashError, "EXECABORT Transaction discarded");
    assertEquals(error.message, "EXECABORT Transaction discarded, command was: SET, INCR");
    assertEquals(calls.length, 1);
  });

  it("are TundraErrors UNAVAILABLE if the server could not be had", async () => {
    const { redis, calls } = client(() => new Response("", { status: 502 }), {
      retry: { retries: 1, backoff: () => 0 },
    });
    const error = await assertRejects(() => redis.set("a", "hunter22"), TundraError, "SET");
    assertEquals([error.code, error.retryable, calls.length], ["UNAVAILABLE", true, 2]);
  });

  it("are the signal's reason for an aborted request", async () => {
    const reason = new Error("enough");
    const controller = new AbortController();
    const { redis } = client((call) => {
      controller.abort(reason);
      return hanging(call);
    }, { signal: controller.signal, enableAutoPipelining: false });
    assertEquals(await assertRejects(() => redis.get("a")), reason);
  });
});

describe("the client's subscriber", () => {
  it("hears of a stream that could not be opened", async () => {
    const { redis } = client(() => Response.json({ error: "NOPERM no" }, { status: 400 }));
    const subscriber = redis.subscribe("news");
    const error = await new Promise<Error>((resolve) => subscriber.on("error", resolve));
    assertInstanceOf(error, errors.UpstashError);
    assertEquals(error.message, "NOPERM no, command was: SUBSCRIBE");
  });

  it("hears nothing of its own unsubscribe", async () => {
    const { redis, calls } = client(hanging);
    const heard: unknown[] = [];
    const subscriber = redis.subscribe(["a", "b"]);
    subscriber.on("error", (error) => heard.push(error));
    await new Promise((resolve) => setTimeout(resolve, 10));
    await subscriber.unsubscribe(["a"]);
    await new Promise((resolve) => setTimeout(resolve, 10));
    assertEquals([heard, calls.length, subscriber.getSubscribedChannels()], [[], 2, ["b"]]);
    await subscriber.unsubscribe();
    assert(calls.every((call) => call.init.signal!.aborted));
  });
});
