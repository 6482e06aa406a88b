import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { beforeEach, describe, it } from "node:test";
import { assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { Redis } from "@upstash/redis";
import { startUpstash } from "../../src/testing/upstash.ts";
import { withStack } from "../support/stack.ts";

interface Entry {
  result?: unknown;
  error?: string;
}

const BYTES = Uint8Array.from({ length: 256 }, (_, i) => i);
const LOCKED = "#!lua flags=allow-key-locking\n";
const sha1 = (text: string) => createHash("sha1").update(text).digest("hex");

describe("the Upstash endpoint", () => {
  const stack = withStack({ upstash: { record: true } });
  beforeEach(() => stack.flush());

  const ask = async <Body = Entry>(path: string, body?: unknown, headers: Record<string, string> = {}) => {
    const { url, token } = stack.server;
    const response = await fetch(url + path, {
      method: body === undefined ? "GET" : "POST",
      headers: { authorization: `Bearer ${token}`, ...headers },
      body: body === undefined || typeof body === "string" ? body as string | undefined : JSON.stringify(body),
    });
    return { status: response.status, headers: response.headers, body: await response.json() as Body };
  };
  const run = async (...command: unknown[]) => (await ask("/", command)).body;

  it("answers with numbers, null, nested arrays and text", async () => {
    assertEquals(await run("SET", "a", "ä€😀"), { result: "OK" });
    assertEquals(await run("GET", "a"), { result: "ä€😀" });
    assertEquals(await run("STRLEN", "a"), { result: 9 });
    assertEquals(await run("GET", "b"), { result: null });
    assertEquals(await run("EVAL", "return {1, {'x', false, {}}, redis.status_reply('OK')}", 0), {
      result: [1, ["x", null, []], "OK"],
    });
    assertEquals(await run("SET", "n", 1.5), { result: "OK" });
    assertEquals(await run("SET", "t", true), { result: "OK" });
    assertEquals(await run("MGET", "n", "t"), { result: ["1.5", "true"] });
  });

  it("keeps every byte of a reply in base64, and encodes each string but the status OK", async () => {
    await stack.raw("SET", "bytes", BYTES);
    await stack.raw("SET", "ok", "OK");
    const base64 = { "upstash-encoding": "base64" };
    const { body } = await ask<Entry[]>(
      "/pipeline",
      [["GET", "bytes"], ["GET", "ok"], ["SET", "x", "y"], ["PING"]],
      base64,
    );
    assertEquals(body.map(({ result }) => result), [
      Buffer.from(BYTES).toString("base64"),
      "T0s=",
      "OK",
      Buffer.from("PONG").toString("base64"),
    ]);
    const dump = (await ask("/", ["DUMP", "bytes"], base64)).body.result as string;
    assertEquals(Buffer.from(dump, "base64"), await stack.raw("DUMP", "bytes"));
    await stack.raw("RESTORE", "copy", 0, Buffer.from(dump, "base64"));
    assertEquals(await stack.raw("GET", "copy"), Buffer.from(BYTES));
  });

  it("serves the stock client: commands, pipeline, multi, scripts", async () => {
    const redis = new Redis({ ...stack.connection, enableTelemetry: false, retry: false });
    assertEquals(await redis.set("o", { a: [1, "ü"] }), "OK");
    assertEquals(await redis.get("o"), { a: [1, "ü"] });
    assertEquals(await redis.pipeline().set("a", "x").get("a").exec(), ["OK", "x"]);
    assertEquals(await redis.multi().incr("i").incr("i").exec(), [1, 2]);
    assertEquals(await redis.eval("return {KEYS[1], ARGV[1]}", ["k"], ["v"]), ["k", "v"]);
    await assertRejects(() => redis.lpush("a", "1"), Error, "WRONGTYPE");
  });

  it("answers a failed command with 400, and inside a pipeline in its own place", async () => {
    const failed = await ask("/", ["NOSUCH"]);
    assertEquals(failed.status, 400);
    assertMatch(failed.body.error!, /^ERR unknown command/);
    const { status, body } = await ask<Entry[]>("/pipeline", [["SET", "a", "1"], ["LPUSH", "a", "1"], ["GET", "a"]]);
    assertEquals(status, 200);
    assertEquals(body[0], { result: "OK" });
    assertEquals(body[1], { error: "WRONGTYPE Operation against a key holding the wrong kind of value" });
    assertEquals(body[2], { result: "1" });
  });

  it("runs a transaction as one, with errors in their places", async () => {
    const { status, body } = await ask<Entry[]>("/multi-exec", [["SET", "a", "1"], ["LPUSH", "a", "1"], ["INCR", "a"]]);
    assertEquals(status, 200);
    assertEquals(body[0], { result: "OK" });
    assertMatch(body[1]!.error!, /^WRONGTYPE/);
    assertEquals(body[2], { result: 2 });
  });

  it("never mixes concurrent transactions and commands", async () => {
    const work = Array.from({ length: 40 }, (_, i) => [
      ask<Entry[]>("/multi-exec", [["SET", "m", i], ["INCR", "m"], ["GET", "m"]]),
      ask<Entry[]>("/", ["SET", "m", "x"]),
    ]).flat();
    const answers = await Promise.all(work);
    for (let i = 0; i < 40; i++) assertEquals(answers[2 * i]!.body[2], { result: String(i + 1) });
  });

  it("answers a discarded transaction with 400 and runs nothing of it", async () => {
    const { status, body } = await ask("/multi-exec", [["SET", "a", "1"], ["GET"]]);
    assertEquals(status, 400);
    assertMatch(body.error!, /^EXECABORT .*wrong number of arguments for 'get' command/);
    assertEquals(await stack.raw("EXISTS", "a"), 0);
    assertEquals((await run("PING")).result, "PONG");
  });

  it("takes a command in the path, percent-decoded, with the body and then the query as last arguments", async () => {
    assertEquals((await ask("/set/a%2Fb%20%C3%A4/v")).body, { result: "OK" });
    assertEquals(await stack.raw("GET", "a/b ä"), Buffer.from("v"));
    assertEquals((await ask("/set/c?EX=100", "body/with?signs")).body, { result: "OK" });
    assertEquals(await stack.raw("GET", "c"), Buffer.from("body/with?signs"));
    assertEquals(await stack.raw("TTL", "c"), 100);
    assertEquals(stack.server.log.at(-1), {
      path: "/set/c?EX=100",
      commands: [["set", "c", "body/with?signs", "EX", "100"]],
      status: 200,
    });
  });

  it("lets nobody in without the token, in a header or in the query", async () => {
    assertEquals((await ask("/get/a", undefined, { authorization: "Bearer wrong" })).status, 401);
    const { url, token } = stack.server;
    const none = await fetch(`${url}/get/a`);
    assertEquals([none.status, await none.json()], [401, { error: "Unauthorized" }]);
    const query = await fetch(`${url}/get/a?_token=${token}`);
    assertEquals([query.status, await query.json()], [200, { result: null }]);
  });

  it("refuses what isn't a command, and what needs a connection of its own", async () => {
    for (const body of ["{", "{}", "[]", '["GET",null]', '["GET",{}]', "[[]]"]) {
      assertEquals((await ask("/", body)).status, 400, body);
    }
    assertEquals((await ask("/pipeline", [])).status, 400);
    for (const command of [["MULTI"], ["BLPOP", "a", 0], ["XREAD", "BLOCK", 0, "STREAMS", "s", "$"], ["select", 1]]) {
      const { status, body } = await ask("/", command);
      assertEquals([status, body.error!.slice(0, 29)], [400, "ERR Command is not available:"]);
    }
    const { body } = await ask<Entry[]>("/pipeline", [["SET", "a", 1], ["EXEC"], ["GET", "a"]]);
    assertEquals([body[0]!.result, body[1]!.error, body[2]!.result], [
      "OK",
      "ERR Command is not available: 'EXEC'",
      "1",
    ]);
    assertEquals((await ask("/multi-exec", [["SET", "b", 1], ["EXEC"]])).status, 400);
    assertEquals(await stack.raw("EXISTS", "b"), 0);
  });

  it("refuses a request or a reply that is too long, and says both lengths", async () => {
    const small = await startUpstash({ redisPort: stack.redis.port, maxRequestBytes: 2000, maxReplyBytes: 1000 });
    const headers = { authorization: `Bearer ${small.token}` };
    const body = JSON.stringify(["SET", "a", "x".repeat(1990)]);
    const request = await fetch(small.url, { method: "POST", headers, body });
    assertEquals([request.status, await request.json()], [400, {
      error: `ERR max request size exceeded. Limit: 2000 bytes, Actual: ${body.length} bytes`,
    }]);
    assertEquals(await stack.raw("EXISTS", "a"), 0);
    await stack.raw("SET", "a", "x".repeat(1500));
    const reply = await fetch(`${small.url}/get/a`, { headers });
    assertEquals([reply.status, await reply.json()], [400, {
      error: "ERR max response size exceeded. Limit: 1000 bytes, Actual: 1513 bytes",
    }]);
    await small.stop();
  });

  it("takes 10 MB by default and not a byte more", async () => {
    const frame = JSON.stringify(["SET", "a", ""]).length;
    const most = 10 * 1024 * 1024 - frame;
    assertEquals((await ask("/", ["SET", "a", "x".repeat(most)])).status, 200);
    assertEquals(await stack.raw("STRLEN", "a"), most);
    assertEquals((await ask("/", ["SET", "a", "x".repeat(most + 1)])).status, 400);
  });

  it("hands out a growing sync token and keeps the one it was sent", async () => {
    const first = Number((await ask("/get/a")).headers.get("upstash-sync-token"));
    assertEquals(stack.server.lastSyncToken, undefined);
    const second = await ask("/get/a", undefined, { "upstash-sync-token": String(first) });
    assertEquals(stack.server.lastSyncToken, String(first));
    assertEquals(Number(second.headers.get("upstash-sync-token")), first + 1);
  });

  it("counts requests, and commands as a bill would: inside scripts and transactions too, its own not", async () => {
    await ask("/multi-exec", [["SET", "a", "1"], ["GET", "a"]]); // MULTI SET GET EXEC
    await ask("/pipeline", [["GET", "a"], ["GET", "b"]]);
    await run("EVAL", LOCKED + "redis.call('GET', KEYS[1]) return redis.call('TIME')", 1, "a"); // EVAL GET TIME
    await stack.raw("EVAL", "return redis.call('GET', 'a')", 0);
    await stack.raw("SET", "b", "1");
    assertEquals(await stack.server.billable(), 9);
    assertEquals(await stack.server.billable(), 9);
    assertEquals(stack.server.requests, 3);
    assertEquals(stack.server.log.map(({ path }) => path), ["/multi-exec", "/pipeline", "/"]);
    await stack.server.resetCounters();
    assertEquals([await stack.server.billable(), stack.server.requests, stack.server.log], [0, 0, []]);
  });

  it("says 503 while Redis is away, and is back with it", async () => {
    await stack.redis.kill();
    assertEquals((await ask("/", ["PING"])).status, 503);
    await stack.redis.restart();
    assertEquals(await run("PING"), { result: "PONG" });
    assertEquals(await stack.server.billable(), 1);
  });

  describe("with key locking", () => {
    it("runs a flagged script by text and by its own SHA-1, unknown until it was loaded", async () => {
      const text = LOCKED + "return {KEYS[1], redis.call('SET', KEYS[1], ARGV[1])}";
      assertEquals(
        (await run("EVALSHA", sha1(text), 1, "a", "1")).error,
        "NOSCRIPT No matching script. Please use EVAL.",
      );
      assertEquals(await run("SCRIPT", "EXISTS", sha1(text)), { result: [0] });
      assertEquals(await run("EVAL", text, 1, "a", "1"), { result: ["a", "OK"] });
      assertEquals(await run("EVALSHA", sha1(text).toUpperCase(), 1, "a", "2"), { result: ["a", "OK"] });
      assertEquals(await run("SCRIPT", "EXISTS", sha1(text), sha1("no")), { result: [1, 0] });
      await run("SCRIPT", "FLUSH");
      assertMatch((await run("EVALSHA", sha1(text), 1, "a", "1")).error!, /^NOSCRIPT/);
      assertEquals(await run("SCRIPT", "LOAD", text), { result: sha1(text) });
      assertEquals(await run("EVALSHA", sha1(text), 1, "a", "3"), { result: ["a", "OK"] });
      assertEquals((await ask<Entry[]>("/multi-exec", [["EVALSHA", sha1(text), 1, "a", "4"]])).body, [{
        result: ["a", "OK"],
      }]);
      assertEquals(await stack.raw("GET", "a"), Buffer.from("4"));
      await stack.redis.restart();
      assertMatch((await run("EVALSHA", sha1(text), 1, "a", "1")).error!, /^NOSCRIPT/);
    });

    it("keeps the other flags, and read-only scripts read-only", async () => {
      const script = "#!lua flags=no-writes,allow-key-locking\nreturn redis.call('GET', KEYS[1])";
      assertEquals(await run("EVAL_RO", script, 1, "a"), { result: null });
      assertEquals(await run("EVALSHA_RO", sha1(script), 1, "a"), { result: null });
      const write = script.replace("'GET', KEYS[1]", "'SET', KEYS[1], 1");
      assertMatch((await run("EVAL", write, 1, "a")).error!, /^ERR Write commands are not allowed from read-only/);
    });

    it("lets a script touch declared keys only, and names command and key otherwise", async () => {
      const error = (command: string, key: string) =>
        `ERR Script with allow-key-locking attempted to access an undeclared key: command ${command}, key ${key}`;
      const touch = async (call: string, ...keys: string[]) => {
        const reply = await run("EVAL", `${LOCKED}local r = ${call}\nreturn type(r)`, keys.length, ...keys);
        return reply.error?.replace(/ script: .*/, "") ?? reply.result;
      };
      assertEquals(await touch("redis.call('get', 'b')", "a"), error("get", "b"));
      assertEquals(await touch("redis.call('MGET', 'a', 'b', 'c')", "a", "b"), error("MGET", "c"));
      assertEquals(await touch("redis.call('MGET', 'a', 'b', 'c')", "a", "b", "c"), "table");
      assertEquals(await touch("redis.call('MSET', 'a', 'x', 'b', 'y')", "a"), error("MSET", "b"));
      assertEquals(await touch("redis.call('MSET', 'a', 'x', 'b', 'y')", "a", "b"), "table");
      assertEquals(await touch("redis.call('RENAME', 'a', 'c')", "a"), error("RENAME", "c"));
      assertEquals(await touch("redis.call('UNLINK', 'a', 'zz')", "a"), error("UNLINK", "zz"));
      assertEquals(await touch("redis.call('ZUNION', 2, 'z', 'a')", "z"), error("ZUNION", "a"));
      assertEquals(await touch("redis.call('ZUNIONSTORE', 'z', 1, 'y', 'WEIGHTS', 1)", "z"), error("ZUNIONSTORE", "y"));
      assertEquals(await touch("redis.call('OBJECT', 'ENCODING', 'a')", "b"), error("OBJECT", "a"));
      assertEquals(await touch("redis.call('BITOP', 'AND', 'd', 'e')", "d"), error("BITOP", "e"));
      assertEquals(await touch("redis.call('SET', 7, 1)", "7"), "table");
      assertEquals(await touch("redis.call('SET', 7, 1)", "a"), error("SET", "7"));
      assertEquals(await touch("redis.call('TIME')"), "table");
      for (const command of ["KEYS", "SCAN", "FLUSHALL", "SORT"]) {
        assertEquals(
          await touch(`redis.call('${command}', 'a')`, "a"),
          `ERR Script with allow-key-locking cannot call ${command} as its keys are not known here`,
        );
      }
      assertEquals(await touch("redis.call('FLUSHALL')").then(String).then((text) => text.slice(0, 3)), "ERR");
    });

    it("gives a violation inside pcall to the script, and checks nothing in a script without the flag", async () => {
      const body = "local r = redis.pcall('GET', 'undeclared')\nreturn r and r.err or 'allowed'";
      assertMatch(
        (await run("EVAL", LOCKED + body, 1, "a")).result as string,
        /undeclared key: command GET, key undeclared/,
      );
      await stack.raw("SET", "undeclared", "1");
      assertEquals(await run("EVAL", "local r = redis.call('GET', 'undeclared')\nreturn r", 0), { result: "1" });
    });

    it("reports errors with the script's own SHA-1 and line, as Redis does", async () => {
      await stack.raw("SET", "a", "x");
      const bodies = ["local x = 1\nlocal n = redis.call('INCR', KEYS[1])\nreturn n", "local x = 1\n\nreturn x.y.z"];
      for (const body of bodies) {
        const plain = await stack.raw("EVAL", `#!lua\n${body}`, 1, "a").catch((error: Error) => error.message);
        const text = LOCKED + body;
        const { error } = await run("EVAL", text, 1, "a");
        assertEquals(error, String(plain).replaceAll(sha1(`#!lua\n${body}`), sha1(text)));
        assertMatch(error!, /@user_script:[34]\.$/);
      }
    });

    it("costs no command and next to no time", async () => {
      const keys = Array.from({ length: 1000 }, (_, i) => `key:${i}`);
      const body = "\nfor i = 1, #KEYS do redis.call('SET', KEYS[i], i) end\nreturn #redis.call('MGET', unpack(KEYS))";
      const time = async (shebang: string) => {
        let best = Infinity;
        for (let i = 0; i < 8; i++) {
          const start = performance.now();
          assertEquals(await run("EVAL", shebang + body, keys.length, ...keys), { result: 1000 });
          best = Math.min(best, performance.now() - start);
        }
        return best;
      };
      const plain = await time("#!lua");
      await stack.server.resetCounters();
      const checked = await time("#!lua flags=allow-key-locking");
      assertEquals(await stack.server.billable(), 8 * 1002);
      assertEquals(checked - plain < 10, true, `checked ${checked} ms, plain ${plain} ms`);
    });

    it("can be off: the flag is refused as plain Redis refuses it", async () => {
      const plain = await startUpstash({ redisPort: stack.redis.port, keyLocking: false });
      const headers = { authorization: `Bearer ${plain.token}` };
      const body = JSON.stringify(["EVAL", LOCKED + "return 1", 0]);
      const response = await fetch(plain.url, { method: "POST", headers, body });
      assertEquals([response.status, await response.json()], [400, {
        error: "ERR Unexpected flag in script shebang: allow-key-locking",
      }]);
      await plain.stop();
    });
  });

  describe("event streams", () => {
    const listen = async (path: string) => {
      const stop = new AbortController();
      const { url, token } = stack.server;
      const response = await fetch(url + path, {
        method: "POST",
        headers: { authorization: `Bearer ${token}`, accept: "text/event-stream" },
        body: "[]",
        signal: stop.signal,
      });
      assertEquals(response.headers.get("content-type"), "text/event-stream");
      const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      const next = async () => {
        while (!text.includes("\n\n")) {
          const { value, done } = await reader.read();
          if (done) return "the end";
          text += value;
        }
        const event = text.slice(0, text.indexOf("\n\n"));
        text = text.slice(event.length + 2);
        return event;
      };
      return { next, stop: () => stop.abort() };
    };
    const listeners = async (channel: string) => (await stack.raw("PUBSUB", "NUMSUB", channel) as unknown[])[1];

    it("carry what is published to a channel, and end with the client", async () => {
      const { next, stop } = await listen("/subscribe/news/other");
      assertEquals(await next(), "data: subscribe,news,1");
      assertEquals(await next(), "data: subscribe,other,2");
      assertEquals(await run("PUBLISH", "news", "a,b ä"), { result: 1 });
      assertEquals(await next(), "data: message,news,a,b ä");
      stop();
      for (let i = 0; i < 100 && await listeners("news") !== 0; i++) await new Promise((go) => setTimeout(go, 20));
      assertEquals(await listeners("news"), 0);
    });

    it("carry what is published to a pattern", async () => {
      const { next, stop } = await listen("/psubscribe/n%2A");
      assertEquals(await next(), "data: psubscribe,n*,1");
      await run("PUBLISH", "news", "x");
      assertEquals(await next(), "data: pmessage,n*,news,x");
      stop();
    });

    it("show every command that Redis runs", async () => {
      const { next, stop } = await listen("/monitor");
      assertEquals(await next(), 'data: "OK"');
      await run("SET", "a", "1");
      assertMatch(JSON.parse((await next()).slice(6)), /^\d+\.\d+ \[0 127\.0\.0\.1:\d+\] "SET" "a" "1"$/);
      stop();
    });

    it("serve the stock client's subscriber", async () => {
      const redis = new Redis({ ...stack.connection, enableTelemetry: false });
      const subscriber = redis.subscribe<{ hello: string }>("chat");
      const heard = new Promise((resolve) => subscriber.on("message", resolve));
      await new Promise((resolve) => subscriber.on("subscribe", resolve));
      assertEquals(await redis.publish("chat", { hello: "you" }), 1);
      assertEquals(await heard, { channel: "chat", message: { hello: "you" } });
      await subscriber.unsubscribe();
    });

    it("end when the endpoint stops", async () => {
      const other = await startUpstash({ redisPort: stack.redis.port });
      const response = await fetch(`${other.url}/subscribe/x?_token=${other.token}`, {
        headers: { accept: "text/event-stream" },
      });
      const text = response.text().catch(() => "cut off");
      await other.stop();
      assertNotEquals(await text, "");
      await assertRejects(() => fetch(other.url));
    });
  });
});
