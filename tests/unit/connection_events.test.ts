import { describe, it } from "node:test";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { TundraError } from "../../src/base/errors.ts";
import { connect, type RedisOptions } from "../../src/upstash/connection.ts";
import { type FakeCall, fakeFetch, hanging } from "../support/fake_fetch.ts";
import { until } from "../support/waiting.ts";

const SSE = { Accept: "text/event-stream", "Cache-Control": "no-cache" };
const utf8 = new TextEncoder();

/** An event stream that the test feeds. */
function source() {
  let controller!: ReadableStreamDefaultController<Uint8Array>;
  const seen = { cancelled: false };
  const body = new ReadableStream<Uint8Array>({
    start(given) {
      controller = given;
    },
    cancel() {
      seen.cancelled = true;
    },
  });
  return {
    seen,
    response: new Response(body, { headers: { "content-type": "text/event-stream" } }),
    send: (text: string) => controller.enqueue(utf8.encode(text)),
    sendBytes: (bytes: Uint8Array) => controller.enqueue(bytes),
    fail: (error: Error) => controller.error(error),
    end: () => controller.close(),
  };
}

function requester(answer: (call: FakeCall) => unknown, options: Partial<RedisOptions> = {}) {
  const fake = fakeFetch(answer);
  const retry = { retries: 2, backoff: () => 0 };
  const { requester } = connect({ url: "https://db.example", token: "tok", fetch: fake.fetch, retry, ...options });
  return { requester, calls: fake.calls };
}

/** The errors that `act` printed. */
async function printed(act: () => Promise<void>): Promise<string> {
  const stock = console.error;
  const lines: string[] = [];
  console.error = (...args: unknown[]) => void lines.push(args.map(String).join(" "));
  try {
    await act();
  } finally {
    console.error = stock;
  }
  return lines.join("\n");
}

describe("an event stream", () => {
  it("resolves as soon as it is open and hands over each data line, whole", async () => {
    const stream = source();
    const { requester: client, calls } = requester(() => stream.response);
    const got: string[] = [];
    const path = ["subscribe", "a/b c:é"];
    const answer = await client.request({ path, body: [], headers: SSE, onMessage: (data) => void got.push(data) });
    assertEquals(answer, { result: 1 });
    const [{ url, headers }] = calls as [FakeCall];
    assertEquals(decodeURIComponent(url), "https://db.example/subscribe/a/b c:é");
    assertEquals(url.split("/").length, 5);
    assertEquals([headers.get("accept"), headers.get("authorization")], ["text/event-stream", "Bearer tok"]);

    const bytes = utf8.encode('data: message,ch,"é😀"\r\n\r\n: a comment\nevent: x\ndata:tight\ndata: \n');
    for (const byte of bytes) stream.sendBytes(Uint8Array.of(byte));
    stream.send("data: one\ndata: two\ndata: unfinish");
    await until("five events came", () => got.length === 5);
    assertEquals(got, ['message,ch,"é😀"', "tight", "", "one", "two"]);
    stream.send("ed\n");
    await until("the sixth came", () => got.length === 6);
    assertEquals(got[5], "unfinished");
    stream.end();
  });

  it("outlives the time limit of other requests", async () => {
    const stream = source();
    const { requester: client } = requester(() => stream.response, { timeoutMs: 10 });
    const got: string[] = [];
    await client.request({ path: ["monitor"], headers: SSE, onMessage: (data) => void got.push(data) });
    await new Promise((resolve) => setTimeout(resolve, 40));
    stream.send("data: late\n");
    await until("an event came", () => got.length === 1);
    assertEquals(got, ["late"]);
    stream.end();
  });

  it("ends when its signal is aborted: nothing more is handed over, nothing is printed", async () => {
    const stream = source();
    const controller = new AbortController();
    const { requester: client } = requester(() => stream.response);
    const got: string[] = [];
    const errors = await printed(async () => {
      const onMessage = (data: string): void => {
        got.push(data);
        controller.abort();
      };
      await client.request({ path: ["subscribe", "a"], headers: SSE, onMessage, signal: controller.signal });
      stream.send("data: one\ndata: two\n");
      await until("the stream is cancelled", () => stream.seen.cancelled);
    });
    assertEquals([got, errors], [["one"], ""]);
  });

  it("ends with the connection's signal too", async () => {
    const stream = source();
    const controller = new AbortController();
    const { requester: client } = requester(() => stream.response, { signal: controller.signal });
    await client.request({ path: ["subscribe", "a"], headers: SSE, onMessage: () => {} });
    controller.abort();
    await until("the stream is cancelled", () => stream.seen.cancelled);
    assert(stream.seen.cancelled);
  });

  it("rejects with the signal's reason if it is aborted before it is open", async () => {
    const controller = new AbortController();
    const { requester: client, calls } = requester((call) => {
      controller.abort();
      return hanging(call);
    });
    const request = { path: ["subscribe", "a"], headers: SSE, onMessage: () => {}, signal: controller.signal };
    const error = await assertRejects(() => client.request(request)) as DOMException;
    assertEquals([error.name, calls.length], ["AbortError", 1]);
  });

  it("goes on if a listener throws", async () => {
    const stream = source();
    const { requester: client } = requester(() => stream.response);
    const got: string[] = [];
    const errors = await printed(async () => {
      const onMessage = (data: string): void => {
        got.push(data);
        if (data === "one") throw new Error("the listener's own");
      };
      await client.request({ path: ["subscribe", "a"], headers: SSE, onMessage });
      stream.send("data: one\ndata: two\n");
      await until("two events came", () => got.length === 2);
    });
    assertEquals(got, ["one", "two"]);
    assertStringIncludes(errors, "the listener's own");
    stream.end();
  });

  it("that breaks is printed and rejects nowhere", async () => {
    const stream = source();
    const { requester: client } = requester(() => stream.response);
    const errors = await printed(async () => {
      await client.request({ path: ["subscribe", "a"], headers: SSE, onMessage: () => {} });
      stream.fail(new TypeError("terminated"));
      await new Promise((resolve) => setTimeout(resolve, 20));
    });
    assertStringIncludes(errors, "The event stream from Redis ended: TypeError: terminated");
  });

  it("does not fill the memory with one endless line", async () => {
    const stream = source();
    const { requester: client } = requester(() => stream.response, { maxReplyBytes: 5000 });
    const errors = await printed(async () => {
      await client.request({ path: ["subscribe", "a"], headers: SSE, onMessage: () => {} });
      for (let i = 0; i < 6; i++) stream.send("x".repeat(1000));
      await until("the stream is cancelled", () => stream.seen.cancelled);
    });
    assertStringIncludes(errors, "5000");
  });

  it("is opened again and again until it is open, then never", async () => {
    const stream = source();
    const { requester: client, calls } = requester(({ n }) => {
      if (n === 0) throw new TypeError("fetch failed");
      return n === 1 ? new Response("", { status: 503 }) : stream.response;
    });
    assertEquals(await client.request({ path: ["subscribe", "a"], headers: SSE, onMessage: () => {} }), { result: 1 });
    stream.end();
    await new Promise((resolve) => setTimeout(resolve, 20));
    assertEquals(calls.length, 3);
  });

  it("that the server refuses is an answer with the error, without the channel's name", async () => {
    const refused = Response.json({ error: "NOPERM no access to 'secret-channel'" }, { status: 400 });
    const { requester: client } = requester(() => refused);
    const path = ["subscribe", "secret-channel"];
    const answer = await client.request({ path, headers: SSE, onMessage: () => {} });
    assertEquals(answer.error, "NOPERM no access to '...', command was: SUBSCRIBE");
  });

  it("is refused for a channel that a URL would lose", async () => {
    const { requester: client, calls } = requester(() => ({ result: 1 }));
    for (const channel of ["", ".", "..", "\ud800"]) {
      const request = { path: ["subscribe", channel], headers: SSE, onMessage: () => {} };
      const error = await assertRejects(() => client.request(request), TundraError);
      assertEquals(error.code, "BAD_ARGUMENT");
    }
    assertEquals(calls.length, 0);
  });
});
