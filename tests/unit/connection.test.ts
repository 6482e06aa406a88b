import { describe, it } from "node:test";
import { assert, assertEquals, assertFalse, assertInstanceOf, assertRejects, assertThrows } from "@std/assert";
import { TundraError } from "../../src/base/errors.ts";
import { binary, bytes, connect, type RedisOptions, text } from "../../src/upstash/connection.ts";
import { type FakeCall, fakeFetch, hanging } from "../support/fake_fetch.ts";

const TOKEN = "the-token-0123456789";
const NO_WAIT = { retries: 5, backoff: (): number => 0 };

function connected(answer: (call: FakeCall) => unknown, options: Partial<RedisOptions> = {}) {
  const fake = fakeFetch(answer);
  const connection = connect({
    url: "https://db.example/",
    token: TOKEN,
    fetch: fake.fetch,
    retry: NO_WAIT,
    ...options,
  });
  return { connection, calls: fake.calls };
}

function status(code: number, body: unknown = { error: "ERR trouble" }, headers: Record<string, string> = {}) {
  return new Response(typeof body === "string" ? body : JSON.stringify(body), { status: code, headers });
}

async function failure(promise: Promise<unknown>, code: string): Promise<TundraError> {
  const error = await assertRejects(() => promise, TundraError);
  assertEquals(error.code, code);
  assertFalse(error.message.includes(TOKEN));
  return error;
}

/** A body that comes in pieces; says whether it was cancelled. */
function streamed(pieces: Uint8Array[], failAtEnd?: Error) {
  const seen = { pulled: 0, cancelled: false };
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const piece = pieces[seen.pulled++];
      if (piece) controller.enqueue(piece);
      else if (failAtEnd) controller.error(failAtEnd);
      else controller.close();
    },
    cancel() {
      seen.cancelled = true;
    },
  }, { highWaterMark: 0 });
  return { response: new Response(body), seen };
}

describe("binary strings", () => {
  const all = Uint8Array.from({ length: 256 }, (_, i) => i);

  it("carry every byte both ways", () => {
    assertEquals(bytes(binary(all)), all);
    assertEquals(binary(all).charCodeAt(255), 255);
    assertEquals(bytes(""), new Uint8Array());
    assertEquals(binary(new Uint8Array()), "");
  });

  it("carry megabytes, of any length around a chunk", () => {
    for (const length of [8191, 8192, 8193, 3_000_001]) {
      const large = Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8)) & 255);
      assertEquals(bytes(binary(large)), large);
    }
  });

  it("become text if they are UTF-8, a byte order mark kept", () => {
    assertEquals(text("plain"), "plain");
    assertEquals(text(binary(new TextEncoder().encode("\uFEFFé€😀"))), "\uFEFFé€😀");
    assertEquals(text("\xff"), "\uFFFD");
  });

  it("are refused as bytes if a character is none", () => {
    assertEquals(assertThrows(() => bytes("aĀ"), TundraError).code, "BAD_ARGUMENT");
  });
});

describe("connect", () => {
  const good = { url: "https://db.example", token: TOKEN };
  const refused = (options: unknown, contains: string) => {
    const error = assertThrows(() => connect(options as RedisOptions), TundraError, contains);
    assertEquals(error.code, "BAD_ARGUMENT");
    return error.message;
  };

  it("refuses an URL that is not http(s), has credentials, query or spaces, without showing it", () => {
    for (
      const url of [
        undefined,
        "",
        "db.example",
        "ftp://db.example",
        "https://",
        "https://a b",
        " https://a",
        "https://a\n",
      ]
    ) {
      refused({ ...good, url }, "redis.url");
    }
    for (
      const url of [
        "https://user:hunter22@db.example",
        "https://db.example?_token=hunter22",
        "https://db.example/#hunter22",
      ]
    ) {
      assertFalse(refused({ ...good, url }, "redis.url").includes("hunter22"));
    }
    assertFalse(refused({ url: TOKEN, token: "https://db.example" }, "redis.url").includes(TOKEN));
  });

  it("refuses a token that is empty or has spaces or line ends, without showing it", () => {
    for (const token of [undefined, null, 7, "", " ", "hunter22 ", "hunter22\n", "hunter22é"]) {
      assertFalse(refused({ ...good, token }, "redis.token").includes("hunter22"));
    }
  });

  it("refuses a Redis client and says what to pass instead", () => {
    refused({ pipeline() {}, set() {} }, "pass { url, token } and use store.redis");
    refused(connect(good).requester, "pass { url, token } and use store.redis");
  });

  it("refuses options out of range", () => {
    refused(undefined, "an object");
    refused({ ...good, fetch: "fetch" }, "redis.fetch");
    refused({ ...good, retry: true }, "redis.retry");
    refused({ ...good, retry: { retries: -1 } }, "redis.retry.retries");
    refused({ ...good, retry: { retries: 1.5 } }, "redis.retry.retries");
    refused({ ...good, retry: { backoff: 5 } }, "redis.retry.backoff");
    refused({ ...good, timeoutMs: 0 }, "redis.timeoutMs");
    refused({ ...good, timeoutMs: Infinity }, "redis.timeoutMs");
    refused({ ...good, maxReplyBytes: NaN }, "redis.maxReplyBytes");
    refused({ ...good, signal: {} }, "redis.signal");
  });

  it("sends nothing", () => {
    const { calls } = connected(() => ({ result: 1 }));
    assertEquals(calls.length, 0);
  });
});

describe("a command", () => {
  it("goes up as JSON with the bearer token, base64 asked for, never cached", async () => {
    const { connection, calls } = connected(() => ({ result: "OK" }));
    const answer = await connection.command(["SET", "k\u0000\ud83d\ude00\u00ff", 1.5, "\u2028"]);
    assertEquals(answer, { result: "OK" });
    const [{ url, json, headers, init }] = calls as [FakeCall];
    assertEquals(url.replace(/\/$/, ""), "https://db.example");
    assertEquals(json, ["SET", "k\u0000\ud83d\ude00\u00ff", 1.5, "\u2028"]);
    assertEquals(init.method, "POST");
    assertEquals(init.cache, "no-store");
    assertEquals(headers.get("authorization"), `Bearer ${TOKEN}`);
    assertEquals(headers.get("upstash-encoding"), "base64");
    assertFalse([...headers.keys()].some((name) => name.startsWith("upstash-telemetry")));
  });

  it("sets no cache mode on Cloudflare Workers, which used to refuse it, unless told", async () => {
    const stock = Object.getOwnPropertyDescriptor(globalThis, "navigator");
    Object.defineProperty(globalThis, "navigator", { value: { userAgent: "Cloudflare-Workers" }, configurable: true });
    try {
      const quiet = connected(() => ({ result: 1 }));
      await quiet.connection.command(["PING"]);
      const told = connected(() => ({ result: 1 }), { cache: "no-cache", keepAlive: true });
      await told.connection.command(["PING"]);
      const sent = [quiet, told].map(({ calls }) => [calls[0]!.init.cache, calls[0]!.init.keepalive]);
      assertEquals(sent, [[undefined, undefined], ["no-cache", true]]);
    } finally {
      if (stock) Object.defineProperty(globalThis, "navigator", stock);
      else Reflect.deleteProperty(globalThis, "navigator");
    }
  });

  it("is answered with the bytes that Redis holds, nested as they are", async () => {
    const all = binary(Uint8Array.from({ length: 256 }, (_, i) => i));
    const { connection } = connected(() => ({ result: [btoa(all), null, 7, "OK", [btoa("OK"), []], ""] }));
    assertEquals(await connection.command(["EVAL"]), { result: [all, null, 7, "OK", ["OK", []], ""] });
  });

  it("may be answered with null, 0 and the empty string", async () => {
    const replies = [null, 0, ""];
    const { connection } = connected(({ n }) => ({ result: replies[n] }));
    assertEquals(await connection.command(["GET", "a"]), { result: null });
    assertEquals(await connection.command(["GET", "a"]), { result: 0 });
    assertEquals(await connection.command(["GET", "a"]), { result: "" });
  });

  it("that Redis refuses is an answer, with 400 and with 200, and isn't repeated", async () => {
    const { connection, calls } = connected(({ n }) => status(n === 0 ? 400 : 200, { error: "WRONGTYPE Operation" }));
    assertEquals(await connection.command(["GET", "a"]), { error: "WRONGTYPE Operation" });
    assertEquals(await connection.command(["GET", "a"]), { error: "WRONGTYPE Operation" });
    assertEquals(calls.length, 2);
  });

  it("uses the global fetch of the moment, as a plain function", async () => {
    const stock = globalThis.fetch;
    const connection = connect({ url: "https://db.example", token: TOKEN });
    let receiver: unknown = "not called";
    try {
      globalThis.fetch = function (this: unknown) {
        receiver = this;
        return Promise.resolve(Response.json({ result: 1 }));
      } as typeof fetch;
      assertEquals(await connection.command(["PING"]), { result: 1 });
    } finally {
      globalThis.fetch = stock;
    }
    assertEquals(receiver, undefined);
  });

  it("never calls an injected fetch as a method", async () => {
    const receivers: unknown[] = [];
    const given = function (this: unknown) {
      receivers.push(this);
      return Promise.resolve(Response.json({ result: 1 }));
    } as typeof fetch;
    const { connection } = connected(() => 0, { fetch: given });
    await connection.command(["PING"]);
    await connection.requester.request({ body: ["PING"] }).catch(() => {});
    assertEquals(receivers, [undefined, undefined]);
  });
});

describe("a transaction and a pipeline", () => {
  const commands = [["SET", "a", "1"], ["BAD"], ["GET", "a"]];
  const answers = [{ result: "OK" }, { error: "ERR unknown command 'BAD'" }, { result: btoa("1") }];

  it("travel in one request and keep each command's error", async () => {
    const { connection, calls } = connected(() => answers);
    const expected = [{ result: "OK" }, { error: "ERR unknown command 'BAD'" }, { result: "1" }];
    assertEquals(await connection.multi(commands), expected);
    assertEquals(await connection.pipeline(commands), expected);
    assertEquals(calls.map((call) => call.path), ["/multi-exec", "/pipeline"]);
    assertEquals(calls[0]!.json, commands);
  });

  it("that are refused as a whole reject and name the commands", async () => {
    for (const code of [200, 400]) {
      const { connection, calls } = connected(() => status(code, { error: "EXECABORT Transaction discarded" }));
      for (const call of [() => connection.multi(commands), () => connection.pipeline(commands)]) {
        const error = await failure(call(), "UNAVAILABLE");
        assert(error.message.includes("SET, BAD, GET") && error.message.includes("EXECABORT Transaction discarded"));
      }
      assertEquals(calls.length, 2);
    }
  });

  it("with an answer too few are asked for again", async () => {
    const { connection, calls } = connected(({ n }) => n === 0 ? answers.slice(1) : answers);
    assertEquals((await connection.multi(commands)).length, 3);
    assertEquals(calls.length, 2);
  });
});

describe("retries", () => {
  for (const code of [408, 429, 500, 502, 503, 504]) {
    it(`follow HTTP ${code}`, async () => {
      const { connection, calls } = connected(({ n }) => n < 2 ? status(code) : { result: 5 });
      assertEquals(await connection.command(["GET", "a"]), { result: 5 });
      assertEquals(calls.length, 3);
    });
  }

  const broken: Record<string, (call: FakeCall) => unknown> = {
    "a rejected fetch": () => {
      throw new TypeError("fetch failed");
    },
    "a body cut short": () => new Response('{"result":"aGVs'),
    "a body that fails while it is read": () => streamed([new Uint8Array([123])], new Error("terminated")).response,
    "an empty body": () => new Response(""),
    "a body that is no JSON": () => new Response("<html>", { headers: { "content-type": "text/html" } }),
    "JSON that is no answer": () => ({ hello: 1 }),
    "a string that is no base64": () => ({ result: "@@@@" }),
    "a reply of no known type": () => ({ result: { a: 1 } }),
  };
  for (const [what, answer] of Object.entries(broken)) {
    it(`follow ${what}`, async () => {
      const { connection, calls } = connected((call) => call.n === 0 ? answer(call) : { result: 5 });
      assertEquals(await connection.command(["GET", "a"]), { result: 5 });
      assertEquals(calls.length, 2);
    });
  }

  it("are five by default, then UNAVAILABLE names the command, the status and the attempts", async () => {
    const { connection, calls } = connected(() => status(503, { error: "ERR busy" }), { retry: { backoff: () => 0 } });
    const error = await failure(connection.command(["hset", "a", "s3cret-value"]), "UNAVAILABLE");
    assertEquals(calls.length, 6);
    assertEquals(error.retryable, true);
    assertEquals(
      error.message,
      "Cannot run HSET as the server must answer: current value is HTTP 503 (ERR busy) after 6 attempts",
    );
  });

  it("are none with retry: false", async () => {
    const { connection, calls } = connected(() => status(500), { retry: false });
    await failure(connection.command(["GET", "a"]), "UNAVAILABLE");
    assertEquals(calls.length, 1);
  });

  it("ask the given backoff, 0 first, and survive nonsense from it", async () => {
    const asked: number[] = [];
    const backoff = (n: number): number => {
      asked.push(n);
      return [1, -5, NaN, undefined as unknown as number][n]!;
    };
    const { connection } = connected(() => status(500), { retry: { retries: 4, backoff } });
    await failure(connection.command(["GET", "a"]), "UNAVAILABLE");
    assertEquals(asked, [0, 1, 2, 3]);
  });

  it("wait by default a random time, under 3.6 s in all", async () => {
    const stock = Math.random;
    const { defaultBackoff } = await import("../../src/upstash/transport.ts");
    try {
      Math.random = () => 1;
      const longest = [0, 1, 2, 3, 4].map(defaultBackoff);
      assertEquals(longest.map(Math.round), [50, 136, 369, 1004, 2000]);
      Math.random = () => 0;
      assertEquals(defaultBackoff(4), 0);
    } finally {
      Math.random = stock;
    }
  });

  it("wait as long as Retry-After says", async () => {
    const { connection, calls } = connected(({ n }) =>
      n === 0 ? status(429, {}, { "retry-after": "1" }) : { result: 1 }
    );
    const from = performance.now();
    assertEquals(await connection.command(["GET", "a"]), { result: 1 });
    assert(performance.now() - from >= 990);
    assertEquals(calls.length, 2);
  });

  it("are given up at once if Retry-After asks for more than 5 s", async () => {
    for (const later of ["3600", new Date(Date.now() + 60_000).toUTCString()]) {
      const { connection, calls } = connected(() => status(429, {}, { "retry-after": later }));
      const from = performance.now();
      await failure(connection.command(["GET", "a"]), "UNAVAILABLE");
      assert(performance.now() - from < 2_000);
      assertEquals(calls.length, 1);
    }
  });

  it("are not made for a refused token", async () => {
    for (const code of [401, 403]) {
      const { connection, calls } = connected(() => status(code, { error: `WRONGPASS invalid ${TOKEN}` }));
      const error = await failure(connection.command(["GET", "a"]), "UNAVAILABLE");
      assertEquals(error.retryable, false, "a person has to change the token");
      assert(
        error.message.includes(`HTTP ${code}: the server refused the token (WRONGPASS invalid ...)`),
        error.message,
      );
      assertEquals(calls.length, 1);
    }
  });

  it("are not made for other refusals of HTTP", async () => {
    for (const code of [404, 405, 400]) {
      const { connection, calls } = connected(() => status(code, "<html>not here</html>"));
      const error = await failure(connection.command(["GET", "a"]), "UNAVAILABLE");
      assert(error.message.includes(`HTTP ${code}`));
      assertEquals(calls.length, 1);
    }
  });

  for (
    const [what, body] of [
      ["in its middle", '{"error":"NOSCRIPT No matching scr'],
      ["at its beginning", ""],
      ["by the network", new ReadableStream({ pull: (c) => c.error(new TypeError("terminated")) })],
    ] as const
  ) {
    it(`follow an error of Redis that is cut short ${what}`, async () => {
      const whole = () => status(400, { error: "NOSCRIPT No matching script." });
      const { connection, calls } = connected(({ n }) => n === 0 ? new Response(body, { status: 400 }) : whole());
      assertEquals(await connection.command(["EVALSHA", "f0"]), { error: "NOSCRIPT No matching script." });
      assertEquals(calls.length, 2);
    });
  }

  it("are announced by onRequest each, which may stop them", async () => {
    let requests = 0;
    const { connection, calls } = connected(() => status(500));
    await failure(connection.command(["GET", "a"], { onRequest: () => void requests++ }), "UNAVAILABLE");
    assertEquals([requests, calls.length], [6, 6]);
    const spent = new Error("spent");
    const onRequest = (): void => {
      if (++requests > 8) throw spent;
    };
    assertEquals(await assertRejects(() => connection.multi([["GET", "a"]], { onRequest })), spent);
    assertEquals(calls.length, 8);
  });
});

describe("a time limit", () => {
  it("ends an attempt, which counts as a failed one", async () => {
    const { connection, calls } = connected((call) => call.n === 0 ? hanging(call) : { result: 1 }, { timeoutMs: 20 });
    assertEquals(await connection.command(["GET", "a"]), { result: 1 });
    assertEquals(calls.length, 2);
  });

  it("of a call outranks the connection's, and is named at the end", async () => {
    const { connection, calls } = connected(hanging, { retry: { retries: 1, backoff: () => 0 } });
    const error = await failure(connection.command(["GET", "a"], { timeoutMs: 15 }), "UNAVAILABLE");
    assert(error.message.includes("no answer within 15 ms after 2 attempts"), error.message);
    assertEquals(calls.length, 2);
  });

  it("covers a body that stalls, and a fetch that ignores its signal", async () => {
    const stalled = () => new Response(new ReadableStream({ start: (c) => c.enqueue(new Uint8Array([123])) }));
    for (const answer of [stalled, () => new Promise(() => {})]) {
      const { connection } = connected(answer, { retry: false, timeoutMs: 20 });
      const error = await failure(connection.command(["GET", "a"]), "UNAVAILABLE");
      assert(error.message.includes("no answer within 20 ms"), error.message);
    }
  });
});

describe("an aborted signal", () => {
  const reason = new Error("enough");

  it("stops a call before its first request", async () => {
    const { connection, calls } = connected(() => ({ result: 1 }));
    const error = await failure(connection.command(["GET", "a"], { signal: AbortSignal.abort(reason) }), "UNAVAILABLE");
    assertEquals([error.cause, error.retryable, calls.length], [reason, true, 0]);
  });

  it("stops a request under way, and is not retried", async () => {
    const controller = new AbortController();
    const { connection, calls } = connected((call) => {
      controller.abort(reason);
      return hanging(call);
    });
    const error = await failure(connection.multi([["GET", "a"]], { signal: controller.signal }), "UNAVAILABLE");
    assertEquals([error.cause, calls.length], [reason, 1]);
  });

  it("is what the call says also at its last attempt, and if the reason is a TundraError itself", async () => {
    for (const reason of [new Error("enough"), new TundraError("BAD_ARGUMENT", "Cannot go on")]) {
      const controller = new AbortController();
      const { connection } = connected((call) => {
        controller.abort(reason);
        return hanging(call);
      }, { retry: false });
      const error = await failure(connection.command(["GET", "a"], { signal: controller.signal }), "UNAVAILABLE");
      assertEquals(error.cause, reason);
      assert(error.message.includes("current value is aborted"), error.message);
    }
  });

  it("stops a wait between attempts", async () => {
    const controller = new AbortController();
    const { connection, calls } = connected(() => {
      setTimeout(() => controller.abort(reason), 10);
      return status(500);
    }, { retry: { backoff: () => 60_000 } });
    const from = performance.now();
    const error = await failure(connection.command(["GET", "a"], { signal: controller.signal }), "UNAVAILABLE");
    assert(performance.now() - from < 5_000);
    assertEquals([error.cause, calls.length], [reason, 1]);
  });

  it("of the connection stops every call, as a function it is asked each time", async () => {
    const aborted = AbortSignal.abort(reason);
    const fixed = connected(() => ({ result: 1 }), { signal: aborted });
    assertEquals((await failure(fixed.connection.command(["GET", "a"]), "UNAVAILABLE")).cause, reason);
    let asked = 0;
    const signal = (): AbortSignal => ++asked === 2 ? aborted : new AbortController().signal;
    const { connection, calls } = connected(() => ({ result: 1 }), { signal });
    assertEquals(await connection.command(["GET", "a"]), { result: 1 });
    await failure(connection.command(["GET", "a"]), "UNAVAILABLE");
    assertEquals([asked, calls.length], [2, 1]);
  });

  it("leaves no listener behind after a call", async () => {
    const controller = new AbortController();
    let listeners = 0;
    const { signal } = controller;
    const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)];
    signal.addEventListener = (...args: Parameters<typeof add>) => (listeners++, add(...args));
    signal.removeEventListener = (...args: Parameters<typeof remove>) => (listeners--, remove(...args));
    const { connection } = connected(({ n }) => n < 3 ? status(500) : { result: 1 });
    await connection.command(["GET", "a"], { signal });
    assertEquals(listeners, 0);
  });
});

describe("what is too large", () => {
  const message = "ERR max request size exceeded. Limit: 1048576 bytes, Actual: 1277695 bytes.";

  it("is TOO_LARGE if the server says so, and isn't sent again", async () => {
    for (
      const answer of [
        () => status(413, "too large"),
        () => status(400, { error: message }),
        () => ({ error: message }),
      ]
    ) {
      const { connection, calls } = connected(answer);
      await failure(connection.command(["SET", "a", "v"]), "TOO_LARGE");
      await failure(connection.multi([["SET", "a", "v"]]), "TOO_LARGE");
      assertEquals(calls.length, 2);
    }
    const { connection } = connected(() => [{ result: 1 }, { error: "ERR max response size exceeded" }]);
    await failure(connection.multi([["GET", "a"], ["DUMP", "a"]]), "TOO_LARGE");
  });

  it("is one command's error in a pipeline: the others took effect", async () => {
    const { connection } = connected(() => [{ result: 1 }, { error: message }]);
    const answers = await connection.pipeline([["INCR", "a"], ["SET", "b", "v"]]);
    assertEquals(answers, [{ result: 1 }, { error: message }]);
  });

  it("is no longer read: a reply over maxReplyBytes is cancelled", async () => {
    const piece = new Uint8Array(1000).fill(32);
    const { response, seen } = streamed(Array.from({ length: 100 }, () => piece));
    const { connection, calls } = connected(() => response, { maxReplyBytes: 2500 });
    const error = await failure(connection.command(["DUMP", "a"]), "TOO_LARGE");
    assert(error.message.includes("DUMP") && error.message.includes("2500 bytes"), error.message);
    assertEquals([seen.pulled, seen.cancelled, calls.length], [3, true, 1]);
  });

  it("is not read at all if Content-Length says it", async () => {
    const { response, seen } = streamed([new Uint8Array(10)]);
    const headers = { "content-length": String(17 * 1024 * 1024) };
    const { connection } = connected(() => new Response(response.body, { headers }));
    await failure(connection.command(["DUMP", "a"]), "TOO_LARGE");
    assertEquals([seen.pulled, seen.cancelled], [0, true]);
  });

  it("does not fill the memory as an error page either", async () => {
    const { response, seen } = streamed(Array.from({ length: 1000 }, () => new Uint8Array(1024).fill(32)));
    const { connection } = connected(() => new Response(response.body, { status: 404 }));
    await failure(connection.command(["GET", "a"]), "UNAVAILABLE");
    assertEquals([seen.pulled, seen.cancelled], [65, true]);
  });
});

describe("an error", () => {
  const secret = "hunter22-is-secret";
  const said: Record<string, string> = {
    [`ERR unknown command 'FOO', with args beginning with: '${secret}' 'x'`]: "ERR unknown command 'FOO'",
    [`ERR bad, command was: ["FOO","${secret}"]`]: "ERR bad",
    [`ERR user_script:1: ${secret} script: f_1`]: "ERR user_script:1: ... script: f_1",
    [`ERR value '${secret}'\r\nis not "${secret}"`]: `ERR value '...' is not "..."`,
    [`ERR unknown subcommand 'abc'. Try ABC HELP.`]: "ERR unknown subcommand '...'. Try ABC HELP.",
    [`ERR 'key' is a word, key too`]: "ERR '...' is a word, key too",
    [`ERR unexpected flag in script shebang: allow-key-locking`]:
      "ERR unexpected flag in script shebang: allow-key-locking",
    [`NOSCRIPT No matching script. Please use EVAL.`]: "NOSCRIPT No matching script. Please use EVAL.",
    [`ERR ${TOKEN} is not valid`]: "ERR ... is not valid",
  };
  for (const [message, shown] of Object.entries(said)) {
    it(`says of its server's message just: ${shown}`, async () => {
      const { connection } = connected(() => status(400, { error: message }));
      const args = [secret, "abc", "key", "script", "allow-key-locking", 12345678];
      assertEquals(await connection.command(["FOO", ...args]), { error: shown });
    });
  }

  it("shows no rest of an argument that begins like another", async () => {
    const { connection } = connected(() => ({ error: "ERR no such thing: hunter22-and-more" }));
    const answer = await connection.command(["FOO", "hunter22", "hunter22-and-more"]);
    assertEquals(answer, { error: "ERR no such thing: ..." });
  });

  it("quotes nothing of a reply that cannot be read, in its cause neither", async () => {
    const { connection } = connected(() => new Response(secret), { retry: false });
    const error = await failure(connection.command(["GET", "a"]), "UNAVAILABLE");
    assertEquals([String(error.cause).includes("hunter22"), error.message.includes("HTTP 200")], [false, true]);
  });

  it("shows no part of a long argument that the server has cut", async () => {
    const long = "x1-".repeat(100);
    const { connection } = connected(() => ({ error: `ERR unknown option '${long.slice(0, 128)}'` }));
    assertEquals(await connection.command(["SET", "a", long]), { error: "ERR unknown option '..." });
  });

  it("holds no argument and no token, however the request failed", async () => {
    const failures: ((call: FakeCall) => unknown)[] = [
      () => {
        throw new TypeError(`cannot reach https://db.example with ${TOKEN} and ${secret}`);
      },
      () => status(500, { error: `ERR ${secret} ${TOKEN}` }),
      () => status(413, { error: `ERR ${secret} ${TOKEN}` }),
      () => status(401, { error: `ERR ${secret} ${TOKEN}` }),
      () => status(404, { error: `ERR ${secret} ${TOKEN}` }),
      () => new Response(`${secret} ${TOKEN}`),
      () => ({ error: `ERR max request size exceeded ${secret} ${TOKEN}` }),
    ];
    for (const answer of failures) {
      const { connection } = connected(answer, { retry: false });
      const calls = [
        () => connection.command(["SET", "some-key", secret]),
        () => connection.requester.request({ body: ["SET", "some-key", secret] }),
      ];
      for (const call of calls) {
        const error = await assertRejects(call, TundraError, "SET");
        for (const word of [secret, TOKEN, "some-key"]) assertFalse(error.message.includes(word), error.message);
      }
    }
  });

  it("names a network failure by its code", async () => {
    const { connection } = connected(() => {
      throw new TypeError("fetch failed", { cause: Object.assign(new Error("x"), { code: "ECONNREFUSED" }) });
    }, { retry: false });
    const error = await failure(connection.command(["GET", "a"]), "UNAVAILABLE");
    assertEquals(
      error.message,
      "Cannot run GET as the server must answer: current value is a network failure (ECONNREFUSED)",
    );
    assertInstanceOf(error.cause, TypeError);
  });

  it("names four commands of many, and none that is no name", async () => {
    const names = ["a", "b", "b", "c", "d", "e", "x y"].map((name) => [name]);
    const { connection } = connected(() => status(500), { retry: false });
    const error = await failure(connection.multi(names), "UNAVAILABLE");
    assert(error.message.startsWith("Cannot run A, B, C, D and 2 more as"), error.message);
  });
});

describe("the sync token", () => {
  const tokens = ["", "one", "two", "three"];
  const answer = ({ n }: FakeCall) =>
    status(n === 1 ? 400 : 200, n === 1 ? { error: "ERR x" } : n === 2 ? [{ result: 1 }] : { result: 1 }, {
      ...(n < 3 && { "upstash-sync-token": tokens[n + 1]! }),
    });

  it("of the last reply, an error's too, goes with the next request of either path", async () => {
    const { connection, calls } = connected(answer);
    await connection.command(["SET", "a", "1"]);
    await connection.requester.request({ body: ["GET", "a"] });
    await connection.multi([["GET", "a"]]);
    await connection.command(["GET", "a"]);
    await connection.command(["GET", "a"]);
    assertEquals(calls.map((call) => call.headers.get("upstash-sync-token")), ["", "one", "two", "three", "three"]);
    assertEquals(connection.requester.upstashSyncToken, "three");
  });

  it("of the request that was sent last stays, however replies overtake each other", async () => {
    const gates: (() => void)[] = [];
    const { connection, calls } = connected(({ n }) => {
      const reply = status(n === 2 ? 400 : 200, { result: 1, error: n === 2 ? "ERR x" : undefined }, {
        ...(n !== 3 && { "upstash-sync-token": `of ${n}` }),
      });
      return n > 4 ? reply : new Promise((resolve) => gates[n] = () => resolve(reply));
    });
    const all = [0, 1, 2, 3, 4].map(() => connection.command(["SET", "a", "1"]));
    while (calls.length < 5) await Promise.resolve();
    const after = async (n: number, token: string) => {
      gates[n]!();
      await all[n];
      assertEquals(connection.requester.upstashSyncToken, token);
    };
    await after(1, "of 1");
    await after(0, "of 1");
    await after(3, "of 1");
    await after(2, "of 2");
    connection.requester.upstashSyncToken = "from elsewhere";
    await after(4, "from elsewhere");
    await connection.command(["GET", "a"]);
    assertEquals(calls[5]!.headers.get("upstash-sync-token"), "from elsewhere");
    assertEquals(connection.requester.upstashSyncToken, "of 5");
  });

  it("can be carried from one connection to another", async () => {
    const { connection, calls } = connected(() => ({ result: 1 }));
    connection.requester.upstashSyncToken = "from-elsewhere";
    await connection.command(["GET", "a"]);
    assertEquals(calls[0]!.headers.get("upstash-sync-token"), "from-elsewhere");
  });

  it("stays at home with readYourWrites: false", async () => {
    const { connection, calls } = connected(answer, { readYourWrites: false });
    await connection.command(["GET", "a"]);
    await connection.requester.request({ body: ["GET", "a"] });
    assertEquals(calls.map((call) => call.headers.has("upstash-sync-token")), [false, false]);
    assertEquals(connection.requester.readYourWrites, false);
  });
});
