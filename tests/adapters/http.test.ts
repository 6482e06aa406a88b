/** A cron service calls a URL: what each status says, and what no answer ever holds. */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertInstanceOf, assertThrows } from "@std/assert";
import { TundraError, type TundraErrorCode, type TundraStore } from "../../mod.ts";
import { cronHandler } from "../../src/adapters/http.ts";
import { PACKINGS, withArchive } from "../support/fixtures.ts";

const SECRET = "correct-horse-battery";
const URL = "http://app.example/api/cron";

function call(method = "GET", secret: string | undefined = SECRET): Request {
  return new Request(URL, { method, headers: secret === undefined ? {} : { authorization: `Bearer ${secret}` } });
}

/** A store whose tick fails as said. */
function failing(error: unknown): TundraStore {
  return { tick: () => Promise.reject(error) } as unknown as TundraStore;
}

function hasCode(error: unknown, code: TundraErrorCode): void {
  assertInstanceOf(error, TundraError);
  assertEquals(error.code, code);
}

describe("cronHandler", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  for (const [packBytes, how] of PACKINGS) {
    it(`answers 200 with the tick's report, for GET and for POST; ${how}`, async () => {
      const store = stack.store({ packBytes });
      const handle = cronHandler(store, { secret: SECRET });
      await stack.raw("MSET", "a", "1", "b", "2");
      await store.dirty("a", "b");
      const first = await handle(call("GET"));
      assertEquals([first.status, first.headers.get("cache-control")], [200, "no-store"]);
      const report = await first.json();
      assertEquals([report.claimed, report.frozen, report.done, report.errors], [2, 2, true, []]);
      const second = await handle(call("POST"));
      assertEquals([second.status, (await second.json()).claimed], [200, 0]);
      assertEquals([(await stack.versions()).length, stack.objectNames().length], [2, packBytes > 0 ? 1 : 2]);
    });
  }

  it("passes a tick's options on", async () => {
    const store = stack.store();
    await stack.raw("MSET", "a", "1", "b", "2", "c", "3");
    await store.dirty("a", "b", "c");
    const report = await (await cronHandler(store, { secret: SECRET, maxKeys: 2 })(call())).json();
    assertEquals([report.claimed, report.remaining, report.done], [2, 1, false]);
  });

  it("lets a tick end within the shortest common limit of platforms, 10 s, and within the one that it is told", async () => {
    for (const [given, deadlineMs] of [[{}, 8_000], [{ deadlineMs: 50_000 }, 50_000]] as const) {
      let seen: number | undefined;
      const store = { tick: (options: { deadlineMs: number }) => Promise.resolve(seen = options.deadlineMs) };
      const handle = cronHandler(store as unknown as TundraStore, { secret: "s".repeat(16), ...given });
      const headers = { authorization: `Bearer ${"s".repeat(16)}` };
      assertEquals((await handle(new Request("http://a.example/", { headers }))).status, 200);
      assertEquals(seen, deadlineMs);
    }
  });

  it("answers 401 to a missing, wrong, longer, shorter or differently sent secret, and does nothing", async () => {
    const handle = cronHandler(stack.store(), { secret: SECRET });
    const before = stack.server.requests;
    const wrong = [
      call("GET", ""),
      call("GET", SECRET + "x"),
      call("GET", SECRET.slice(1)),
      call("GET", SECRET.toUpperCase()),
      call("GET", SECRET.slice(0, -1) + "x"),
      new Request(URL),
      new Request(URL, { headers: { authorization: SECRET } }),
      new Request(URL, { headers: { authorization: `Basic ${btoa(SECRET)}` } }),
      new Request(`${URL}?secret=${SECRET}`, { headers: { cookie: `authorization=Bearer ${SECRET}` } }),
    ];
    for (const request of wrong) {
      const response = await handle(request);
      assertEquals([response.status, response.headers.get("www-authenticate")], [401, "Bearer"]);
      assert(!(await response.text()).includes(SECRET));
    }
    assertEquals(stack.server.requests, before);
  });

  it("answers 405 to any other method", async () => {
    const handle = cronHandler(stack.store(), { secret: SECRET });
    for (const method of ["PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"]) {
      const response = await handle(call(method));
      assertEquals([response.status, response.headers.get("allow")], [405, "GET, POST"]);
    }
  });

  it("answers 503 with Retry-After while Redis is away, without its token", async () => {
    const token = "token-of-a-database-that-is-away";
    const errors: TundraError[] = [];
    const store = stack.store({ redis: { url: "http://127.0.0.1:9", token, retry: false } });
    const response = await cronHandler(store, { secret: SECRET, onError: (error) => errors.push(error) })(call());
    assertEquals([response.status, response.headers.get("retry-after")], [503, "60"]);
    const text = await response.text();
    assertEquals(JSON.parse(text).error.code, "UNAVAILABLE");
    assert(!text.includes(token) && !text.includes(SECRET));
    assertEquals(errors.map((error) => error.code), ["UNAVAILABLE"]);
  });

  it("answers 200 while only the archive is away: the report says so, and the key stays queued", async () => {
    const store = stack.store({ datastore: stack.datastore({ endpoint: "http://127.0.0.1:9" }) });
    await cronHandler(stack.store(), { secret: SECRET })(call()); // the archive has its owner object
    await stack.raw("SET", "a", "1");
    await store.dirty("a");
    const response = await cronHandler(store, { secret: SECRET })(call());
    const text = await response.text();
    assertEquals(response.status, 200, text);
    const report = JSON.parse(text);
    assertEquals([report.frozen, report.failed, report.errors[0].code], [0, 1, "UNAVAILABLE"]);
    assert(!text.includes(stack.s3.secretAccessKey));
    assertEquals((await store.status()).dirty, 1);
  });

  it("answers 500 to what retrying does not heal, and never with the message of a foreign error", async () => {
    const lost = new TundraError("LOST", "Cannot claim as the index must be there: rebuild first");
    const first = await cronHandler(failing(lost), { secret: SECRET })(call());
    assertEquals([first.status, await first.json()], [500, { error: { code: "LOST", message: lost.message } }]);
    const store = (): TundraStore => {
      throw new Error("no such variable, the others are hunter2");
    };
    const second = await cronHandler(store, { secret: SECRET })(call());
    assertEquals(second.status, 500);
    assert(!(await second.text()).includes("hunter2"));
  });

  it("makes the store of each request if it is given a function", async () => {
    const asked: string[] = [];
    const handle = cronHandler((request) => {
      asked.push(request.url);
      return Promise.resolve(stack.store());
    }, { secret: SECRET });
    assertEquals([(await handle(call())).status, (await handle(call())).status], [200, 200]);
    assertEquals((await handle(call("GET", "x".repeat(20)))).status, 401);
    assertEquals(asked, [URL, URL]);
  });

  for (const [packBytes, how] of PACKINGS) {
    it(`archives each key once if deliveries overlap or come twice; ${how}`, async () => {
      const store = stack.store({ packBytes });
      const keys = Array.from({ length: 60 }, (_, i) => `key ${i}`);
      await stack.raw("MSET", ...keys.flatMap((key) => [key, "value"]));
      await store.dirty(keys);
      const handle = cronHandler(() => stack.store({ packBytes }), { secret: SECRET, batchKeys: 10 });
      const reports = await Promise.all(
        Array.from({ length: 4 }, async () => (await handle(call())).json() as Promise<{ frozen: number }>),
      );
      assertEquals(reports.reduce((sum, { frozen }) => sum + frozen, 0), 60);
      assertEquals([(await stack.versions()).length, stack.objectNames().length], [60, packBytes > 0 ? 6 : 60]);
      assertEquals((await store.status()).dirty, 0);
    });
  }

  it("refuses a secret that is missing, short or not visible ASCII, other options and what is no store", () => {
    const store = stack.store();
    for (const secret of [undefined, "", "fifteen-letters", "with a space in it", "müde-müde-müde-müde", 12345]) {
      const error = assertThrows(() => cronHandler(store, { secret: secret as string }), TundraError);
      hasCode(error, "BAD_ARGUMENT");
      assert(!secret || !error.message.includes(String(secret)), error.message);
    }
    const cases: [unknown, unknown][] = [
      [undefined, { secret: SECRET }],
      [{}, { secret: SECRET }],
      [store, undefined],
      [store, { secret: SECRET, maxKeys: 0 }],
      [store, { secret: SECRET, secrets: "x" }],
    ];
    for (const [given, options] of cases) {
      hasCode(assertThrows(() => cronHandler(given as TundraStore, options as { secret: string })), "BAD_ARGUMENT");
    }
  });
});
