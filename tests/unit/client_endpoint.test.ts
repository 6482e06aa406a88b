import { after, before, beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertInstanceOf, assertRejects, assertStringIncludes } from "@std/assert";
import { Redis } from "@upstash/redis";
import { TundraError } from "../../src/base/errors.ts";
import { startUpstash, type UpstashServer } from "../../src/testing/upstash.ts";
import { redisClient } from "../../src/upstash/client.ts";
import { binary, bytes, connect, type Connection, type RedisOptions, text } from "../../src/upstash/connection.ts";
import { withStack } from "../support/stack.ts";
import { until } from "../support/waiting.ts";

describe("on a Redis behind the REST endpoint,", () => {
  const stack = withStack({ upstash: { record: true } });
  let connection: Connection;
  let redis: Redis;

  const reach = (options: Partial<RedisOptions> = {}) => {
    const all = { ...stack.connection, ...options };
    const connection = connect(all);
    return { connection, redis: redisClient(connection, all) };
  };

  beforeEach(async () => {
    await stack.flush();
    ({ connection, redis } = reach());
  });

  describe("the connection", () => {
    it("reads every byte of a value and of a DUMP", async () => {
      const all = Uint8Array.from({ length: 256 }, (_, i) => i);
      await stack.raw("SET", "bytes", all);
      const { result } = await connection.command(["GET", "bytes"]);
      assertEquals(bytes(result as string), all);
      const dump = await connection.command(["DUMP", "bytes"]);
      assertEquals(bytes(dump.result as string), new Uint8Array(await stack.raw("DUMP", "bytes") as Uint8Array));
    });

    it("reads a value of 10 MB whole", async () => {
      const large = Uint8Array.from({ length: 10_000_000 }, (_, i) => (i * 131 + (i >> 9)) & 255);
      await stack.raw("SET", "large", large);
      const { result } = await connection.command(["GET", "large"]);
      assertEquals(bytes(result as string), large);
    });

    it("sends any text and numbers as they are", async () => {
      const value = "\u0000\u0001\"\\\r\n\u007f\u00e9\u2028\u{1f600}'";
      await connection.command(["RPUSH", value, value, 1, -0.5, 1e21, 9007199254740991]);
      const { result } = await connection.command(["LRANGE", value, 0, -1]);
      assertEquals((result as string[]).map(text), [value, "1", "-0.5", "1e+21", "9007199254740991"]);
    });

    it("sends code points 0 to 255 as their UTF-8, for a script to make bytes of", async () => {
      const all = binary(Uint8Array.from({ length: 256 }, (_, i) => i));
      const script = `return #ARGV[1] .. ' ' .. #redis.call('GET', KEYS[1])`;
      await connection.command(["SET", "points", all]);
      const { result } = await connection.command(["EVAL", script, 1, "points", all]);
      assertEquals(result, "384 384");
    });

    it("reads nested replies, nulls and integers of a script", async () => {
      const script = `return { 1, 'a\\255', { false, { 2, 'OK' } }, redis.status_reply('OK'), '' }`;
      const { result } = await connection.command(["EVAL", script, 0]);
      assertEquals(result, [1, "a\xff", [null, [2, "OK"]], "OK", ""]);
    });

    it("runs a transaction in one request", async () => {
      const answers = await connection.multi([["SET", "a", "5"], ["INCR", "a"], ["LPUSH", "a", "x"], ["GET", "a"]]);
      assertEquals(answers.map((answer) => answer.result), ["OK", 6, undefined, "6"]);
      assertStringIncludes(answers[2]!.error!, "WRONGTYPE");
      assertEquals(stack.server.log.map((entry) => entry.path), ["/multi-exec"]);
    });

    it("says of a discarded transaction which commands it held, and nothing of it ran", async () => {
      const commands = [["SET", "a", "hunter22"], ["NOSUCHCOMMAND", "hunter22"]];
      const error = await assertRejects(() => connection.multi(commands), TundraError, "SET, NOSUCHCOMMAND");
      assertEquals([error.code, error.message.includes("hunter22")], ["UNAVAILABLE", false]);
      assertEquals(await stack.raw("EXISTS", "a"), 0);
    });

    it("keeps a server's error without its arguments", async () => {
      const answer = await connection.command(["NOSUCHCOMMAND", "hunter22", "x"]);
      assertEquals(answer, { error: "ERR unknown command 'NOSUCHCOMMAND'" });
      const pipeline = await connection.pipeline([["SET", "a", "v"], ["INCR", "a"]]);
      assertEquals(pipeline, [{ result: "OK" }, { error: "ERR value is not an integer or out of range" }]);
    });

    it("is refused with another token, in one request", async () => {
      const other = reach({ token: "another-token" }).connection;
      const error = await assertRejects(() => other.command(["GET", "a"]), TundraError, "the server refused the token");
      assertEquals([error.code, error.retryable, stack.server.requests], ["UNAVAILABLE", false, 1]);
    });

    it("sends the sync token of the last reply", async () => {
      await connection.command(["SET", "a", "1"]);
      const token = connection.requester.upstashSyncToken;
      assert(token);
      await redis.get("a");
      assertEquals(stack.server.lastSyncToken, token);
    });
  });

  describe("the connection at its limits", () => {
    let small: UpstashServer;
    before(async () => {
      small = await startUpstash({ redisPort: stack.redis.port, maxRequestBytes: 5_000, maxReplyBytes: 5_000 });
    });
    after(() => small.stop());

    it("says TOO_LARGE for a request or a reply over the server's limit", async () => {
      const limited = connect({ url: small.url, token: small.token });
      const large = "hunter22".repeat(1000);
      await stack.raw("SET", "large", large);
      for (const call of [() => limited.command(["SET", "a", large]), () => limited.multi([["SET", "a", large]])]) {
        const error = await assertRejects(call, TundraError, "max request size exceeded");
        assertEquals([error.code, error.message.includes("hunter22")], ["TOO_LARGE", false]);
      }
      for (const call of [() => limited.command(["GET", "large"]), () => limited.multi([["GET", "large"]])]) {
        const error = await assertRejects(call, TundraError, "max response size exceeded");
        assertEquals(error.code, "TOO_LARGE");
      }
      assertEquals(small.requests, 4);
    });

    it("says TOO_LARGE for a reply over its own, and works on", async () => {
      const { connection } = reach({ maxReplyBytes: 100_000 });
      await stack.raw("SET", "large", new Uint8Array(3_000_000));
      const error = await assertRejects(() => connection.command(["GET", "large"]), TundraError);
      assertEquals([error.code, stack.server.requests], ["TOO_LARGE", 1]);
      assertEquals(await connection.command(["STRLEN", "large"]), { result: 3_000_000 });
    });
  });

  describe("the connection when Redis' endpoint is gone", () => {
    it("is UNAVAILABLE after its retries and says how the network failed", async () => {
      const server = await startUpstash({ redisPort: stack.redis.port });
      await server.stop();
      const gone = connect({ url: server.url, token: server.token, retry: { retries: 2, backoff: () => 1 } });
      const error = await assertRejects(() => gone.command(["GET", "a"]), TundraError, "after 3 attempts");
      assertEquals(error.code, "UNAVAILABLE");
      assertStringIncludes(error.message, "a network failure");
    });
  });

  describe("the client", () => {
    it("answers as the stock client does, auto-pipelined and not", async () => {
      // reads and writes of one tick travel at the same time: their order in the log is not the client's
      const sent = () => stack.server.log.map(({ path, commands }) => JSON.stringify([path, commands])).sort();
      const use = async (redis: Redis) => [
        await redis.set("json", { a: [1, "é"] }),
        await redis.get("json"),
        await Promise.all([redis.incr("n"), redis.incrbyfloat("f", 1.5), redis.get("absent"), redis.exists("n", "f")]),
        await redis.hset("h", { a: 1, b: "two", c: { d: null } }),
        await redis.hgetall("h"),
        await redis.hmget("h", "a", "x"),
        await redis.rpush<unknown>("l", "a", 1, { b: 2 }, "OK"),
        await redis.lrange("l", 0, -1),
        await redis.zadd("z", { score: 1.5, member: "one" }, { score: 2, member: "two" }),
        await redis.zrange("z", 0, -1, { withScores: true }),
        await redis.zmscore("z", ["one", "none"]),
        await redis.sadd("s", "é", "123"),
        (await redis.smembers<unknown[]>("s")).map(String).sort(),
        await redis.scan(0, { match: "js*", count: 100 }),
        await redis.eval("return { KEYS[1], ARGV[1], 7, false }", ["k"], ["v"]),
        await redis.pipeline().get("json").ttl("json").mget("n", "none").exec(),
        await redis.multi().incr("n").get("n").exec(),
        await redis.type("h"),
        await redis.ping(),
        await redis.echo("12"),
        await redis.expire("n", 100),
        await redis.flushdb(),
      ];
      for (const enableAutoPipelining of [true, false]) {
        const expected = await use(new Redis({ ...stack.connection, enableAutoPipelining, enableTelemetry: false }));
        const sentByStock = sent();
        await stack.flush();
        assertEquals(await use(reach({ enableAutoPipelining }).redis), expected);
        assertEquals(sent(), sentByStock);
        await stack.flush();
      }
    });

    it("loads a script at its first exec and runs it by its hash from then on", async () => {
      const script = redis.createScript<string>("return ARGV[1] .. #KEYS");
      assertEquals(await script.exec(["a", "b"], ["x"]), "x2");
      assertEquals(await script.exec(["a"], ["y"]), "y1");
      const names = stack.server.log.flatMap(({ commands }) => commands.map(([name]) => name));
      assertEquals(names, ["evalsha", "eval", "evalsha"]);
    });

    it("rejects a pipeline with the failed command's name and keeps the others' effects", async () => {
      const pipeline = redis.pipeline().set("a", "hunter22").incr("a").set("b", "1");
      const error = await assertRejects(() => pipeline.exec(), Error, "Command 2 [ incr ] failed");
      assertEquals(error.message.includes("hunter22"), false);
      assertEquals(await redis.mget("a", "b"), ["hunter22", 1]);
    });
  });

  describe("the client's event streams", () => {
    it("subscribe: messages of the channel as values, until unsubscribe", async () => {
      const channel = "news/é, today";
      const subscriber = redis.subscribe<unknown>("news");
      const got: unknown[] = [];
      let open = 0;
      subscriber.on("subscribe", () => void open++);
      subscriber.on("message", (event) => got.push(event));
      await until("it listens", () => open === 1);
      assertEquals(await redis.publish("news", { text: "é😀" }), 1);
      assertEquals(await redis.publish("news", "plain"), 1);
      assertEquals(await redis.publish(channel, "elsewhere"), 0);
      await until("two messages came", () => got.length === 2);
      assertEquals(got, [{ channel: "news", message: { text: "é😀" } }, { channel: "news", message: "plain" }]);
      await subscriber.unsubscribe();
      await until("nobody listens", async () => await redis.publish("news", "nobody") === 0);
      assertEquals(got.length, 2);
    });

    it("subscribe: a channel's name with a slash stays one channel", async () => {
      const subscriber = redis.subscribe("a/b c:é%2F");
      let open = 0;
      subscriber.on("subscribe", () => void open++);
      await until("it listens", () => open === 1);
      assertEquals(await redis.publish("a/b c:é%2F", "x"), 1);
      await subscriber.unsubscribe();
    });

    it("psubscribe: messages of every channel that matches", async () => {
      const subscriber = redis.psubscribe<unknown>("user:*");
      const got: unknown[] = [];
      let open = 0;
      subscriber.on("psubscribe", () => void open++);
      subscriber.on("pmessage", (event) => got.push(event));
      await until("it listens", () => open === 1);
      await redis.publish("user:1", { a: 1 });
      await until("a message came", () => got.length === 1);
      assertEquals(got, [{ pattern: "user:*", channel: "user:1", message: { a: 1 } }]);
      await subscriber.unsubscribe();
      await until("nobody listens", async () => await redis.publish("user:1", "nobody") === 0);
    });

    it("monitor: a line for each command, until the signal is aborted", async () => {
      const lines: string[] = [];
      const controller = new AbortController();
      const answer = await connection.requester.request({
        path: ["monitor"],
        headers: { Accept: "text/event-stream" },
        isStreaming: true,
        onMessage: (data) => void lines.push(data),
        signal: controller.signal,
      });
      assertEquals(answer, { result: 1 });
      await until("the monitor runs", () => lines.length > 0);
      await redis.set("watched-key", "1");
      await until("it saw the key", () => lines.some((line) => line.includes("watched-key")));
      const line = lines.find((line) => line.includes("watched-key"))!;
      assertEquals(/\\"set\\" \\"watched-key\\" \\"1\\"/.test(line), true, line);
      controller.abort();
      const heard = lines.length;
      await redis.set("watched-key", "2");
      await new Promise((resolve) => setTimeout(resolve, 30));
      assertEquals(lines.length, heard);
    });

    it("hear of a refused token", async () => {
      const subscriber = reach({ token: "another-token" }).redis.subscribe("news");
      const error = await new Promise<Error>((resolve) => subscriber.on("error", resolve));
      assertInstanceOf(error, TundraError);
      assertEquals(error.code, "UNAVAILABLE");
    });
  });
});
