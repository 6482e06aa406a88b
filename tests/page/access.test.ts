/** Who may see the page, and what it never lets through: secrets, forms of other sites, changes that are not allowed. */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertInstanceOf, assertMatch, assertThrows } from "@std/assert";
import { TundraError, type TundraStore } from "../../mod.ts";
import { PLATFORM, setPlatform } from "../../src/base/platform.ts";
import { pageHandler, type PageOptions } from "../../src/page/mod.ts";
import { withArchive } from "../support/fixtures.ts";
import { ADDRESS, ask, formBody, handleOf, SECRET, signIn } from "./page.ts";

const HOUR_MS = 3_600_000;

describe("access to the page", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());
  const page = (options: Partial<PageOptions> = {}) => pageHandler(stack.store(), { secret: SECRET, ...options });

  it("is refused without the secret, with a wrong one, and with a cookie that nobody has signed; nothing is asked", async () => {
    const handle = page();
    const before = stack.server.requests;
    const wrong: RequestInit[] = [
      {},
      ...["", "Bearer", `Bearer ${SECRET}x`, `Bearer ${SECRET.slice(1)}`, SECRET, `Basic ${btoa(SECRET)}`].map(
        (authorization) => ({ headers: { authorization } }),
      ),
      { headers: { cookie: `secret=${SECRET}` } },
    ];
    for (const init of wrong) {
      for (const view of ["?", "?view=keys", "?view=dead", "?view=history", "?view=help", "?view=nothing"]) {
        const { status, headers, text } = await ask(handle, view, init);
        assertEquals([status, headers.get("www-authenticate")], [401, "Bearer"]);
        assertMatch(text, /<h1>Sign in<\/h1>/);
        assert(!text.includes(SECRET));
      }
    }
    for (const secret of ["", "x", SECRET.toUpperCase(), SECRET + " "]) {
      const { status, headers } = await ask(handle, "?view=login", formBody([["secret", secret]]));
      assertEquals([status, headers.get("set-cookie")], [401, null]);
    }
    assertEquals(stack.server.requests, before);
  });

  it("is given to a bearer, and to a browser that has sent the secret; the cookie does not hold it", async () => {
    const handle = page();
    assertEquals((await ask(handle, "?", { headers: { authorization: `Bearer ${SECRET}` } })).status, 200);
    const { headers } = await ask(handle, "?view=login", formBody([["secret", SECRET]]));
    const cookie = headers.get("set-cookie")!;
    assertMatch(cookie, /^tundra_\w{1,8}=[^;]+; Max-Age=28800; HttpOnly; SameSite=Strict; Secure$/);
    assert(!cookie.includes(SECRET) && !cookie.includes(btoa(SECRET).slice(0, 12)));
    const visitor = await signIn(handle);
    const { status, text } = await visitor.get("?");
    assertEquals(status, 200);
    assert(!text.includes(SECRET));
  });

  it("has a secure cookie where the browser speaks https, also behind a proxy, and works without", async () => {
    const login = (url: string, extra: Record<string, string> = {}) => {
      const { headers, ...form } = formBody([["secret", SECRET]]);
      return page()(new Request(url, { ...form, headers: { ...headers as Record<string, string>, ...extra } }));
    };
    const isSecure = async (response: Promise<Response>) =>
      (await response).headers.get("set-cookie")!.endsWith("; Secure");
    assertEquals(await isSecure(login("https://a.example/x?view=login")), true);
    assertEquals(await isSecure(login("http://a.example/x?view=login")), false);
    assertEquals(await isSecure(login("http://a.example/x?view=login", { "x-forwarded-proto": "https" })), true);
  });

  it("ends with the session, when it is signed out, and with another secret", async () => {
    let now = 1_800_000_000_000;
    setPlatform({ ...PLATFORM, wallClockMs: () => now });
    try {
      const handle = page();
      const visitor = await signIn(handle);
      assertEquals((await visitor.get("?view=help")).status, 200);
      assertEquals(
        (await ask(page({ secret: `another-${SECRET}` }), "?view=help", { headers: { cookie: visitor.cookie } }))
          .status,
        401,
      );
      now += 8 * HOUR_MS - 1;
      assertEquals((await visitor.get("?view=help")).status, 200);
      now += 2;
      assertEquals((await visitor.get("?view=help")).status, 401);
      const again = await signIn(handle);
      await again.get("?view=help");
      const { status, headers } = await again.post("?view=leave");
      assertEquals([status, headers.get("location")], [303, "?"]);
      assertMatch(headers.get("set-cookie")!, /^tundra_\w+=; Max-Age=0;/);
    } finally {
      setPlatform();
    }
  });

  it("is not given for a cookie that was changed in any part", async () => {
    const handle = page();
    const { cookie } = await signIn(handle);
    const [name, value] = cookie.split("=") as [string, string];
    const [until, nonce, signature] = value.split(".") as [string, string, string];
    const later = (parseInt(until, 36) + 1).toString(36);
    const flipped = signature.startsWith("A") ? "B" : "A";
    for (
      const forged of [
        `${later}.${nonce}.${signature}`,
        `${until}.${nonce.split("").reverse().join("")}x`.slice(0, until.length + 17) + `.${signature}`,
        `${until}.${nonce}.${flipped}${signature.slice(1)}`,
        `${until}.${nonce}.`,
        `${until}..${signature}`,
        "",
      ]
    ) {
      assertEquals((await ask(handle, "?view=help", { headers: { cookie: `${name}=${forged}` } })).status, 401, forged);
    }
    const among = `a=b; ${cookie}; c="d"`;
    assertEquals((await ask(handle, "?view=help", { headers: { cookie: among } })).status, 200);
  });

  it("takes no form without its session's token, and none that comes from another site", async () => {
    await stack.raw("SET", "a", "1");
    const handle = page({ allow: { retry: true, restore: true, peek: true } });
    const visitor = await signIn(handle);
    const other = await signIn(handle);
    await visitor.get("?view=help");
    const foreign = /name="token" value="([^"]+)"/.exec((await other.get("?view=help")).text)![1]!;
    const fields: [string, string][] = [["key", handleOf("a")]];
    const before = stack.server.requests;
    for (const view of ["keys", "key", "peek", "retry", "restore", "leave"]) {
      const { headers, ...form } = formBody([["token", foreign], ...fields]);
      const init = { ...form, headers: { ...headers as Record<string, string>, cookie: visitor.cookie } };
      assertEquals((await ask(handle, `?view=${view}`, init)).status, 403, view);
      const none = { ...formBody(fields), headers: { ...headers as Record<string, string>, cookie: visitor.cookie } };
      assertEquals((await ask(handle, `?view=${view}`, none)).status, 403, view);
      for (
        const from of [
          { "sec-fetch-site": "cross-site" },
          { "sec-fetch-site": "same-site" },
          { "origin": "https://evil.example" },
          { "origin": "https://shop.example.evil.example" },
          { "origin": "nonsense" },
        ]
      ) {
        assertEquals(
          (await visitor.post(`?view=${view}`, fields, from as unknown as Record<string, string>)).status,
          403,
          JSON.stringify(from),
        );
      }
    }
    assertEquals(stack.server.requests, before);
    for (
      const from of [{}, { "origin": "null" }, { "sec-fetch-site": "same-origin", "origin": "null" }, {
        "origin": "https://shop.example",
      }]
    ) {
      assertEquals(
        (await visitor.post("?view=keys", [], from as Record<string, string>)).status,
        200,
        JSON.stringify(from),
      );
    }
  });

  it("signs nobody in by a form of another site", async () => {
    const { headers, ...form } = formBody([["secret", SECRET]]);
    const init = { ...form, headers: { ...headers as Record<string, string>, "sec-fetch-site": "cross-site" } };
    const { status, headers: answered } = await ask(page(), "?view=login", init);
    assertEquals([status, answered.get("set-cookie")], [403, null]);
  });

  it("only reads unless it is told otherwise, and shows no value", async () => {
    await stack.raw("SET", "a", "the value of a");
    const store = stack.store();
    await store.dirty("a");
    await store.tick();
    const visitor = await signIn(page());
    const { text } = await visitor.get("?");
    assert(!text.includes("the value of a"));
    const key = await visitor.post("?view=key", [["key", handleOf("a")]]);
    assertEquals(key.status, 200);
    assert(!/>(Restore|Show its value|Retry)</.test(key.text));
    const before = await stack.everything();
    const [{ ver }] = [(await stack.record("a"))!];
    const fields: [string, string][] = [["key", handleOf("a")], ["version", ver.split("@")[0]!], ["sure", "yes"]];
    for (const view of ["peek", "retry", "restore"]) {
      const { status, text } = await visitor.post(`?view=${view}`, fields);
      assertEquals(status, 403);
      assert(text.includes(`allow: { ${view}: true }`) && !text.includes("the value of a"));
    }
    assertEquals(await stack.everything(), before);
  });

  it("lets no address change anything: what a form does, a link does not", async () => {
    const visitor = await signIn(page({ allow: { retry: true, restore: true, peek: true } }));
    for (const view of ["key", "peek", "retry", "restore", "leave", "login", "constructor", "__proto__"]) {
      assertEquals((await visitor.get(`?view=${view}&key=${handleOf("a")}`)).status, 404, view);
    }
    for (const method of ["PUT", "DELETE", "PATCH", "OPTIONS"]) {
      const { status, headers } = await ask(page(), "?", { method });
      assertEquals([status, headers.get("allow")], [405, "GET, HEAD, POST"]);
    }
  });

  it("has the headers of a page that nothing may be put into, on every answer", async () => {
    const handle = page();
    const visitor = await signIn(handle);
    const answers = [
      await ask(handle, "?"),
      await visitor.get("?"),
      await visitor.get("?view=nothing"),
      await visitor.post("?view=keys", [["match", "*"]]),
      await ask(handle, "?", { method: "DELETE" }),
    ];
    const nonces = new Set<string>();
    for (const { headers, text } of answers) {
      const policy = headers.get("content-security-policy")!;
      assertMatch(policy, /default-src 'none'/);
      assertMatch(policy, /frame-ancestors 'none'/);
      assertMatch(policy, /base-uri 'none'/);
      assertMatch(policy, /form-action 'self'/);
      assert(!policy.includes("unsafe"), policy);
      const nonce = /script-src 'nonce-([\w-]{22})'/.exec(policy)![1]!;
      nonces.add(nonce);
      for (const [element] of text.matchAll(/<(?:script|link)\b[^>]*>/g)) assert(element.includes(`nonce="${nonce}"`));
      assert(!/<style|<script(?![^>]*src)|\son\w+=|\sstyle=/.test(text));
      assertEquals(
        ["cache-control", "x-content-type-options", "referrer-policy", "x-frame-options"].map((name) =>
          headers.get(name)
        ),
        ["no-store", "nosniff", "no-referrer", "DENY"],
      );
    }
    assertEquals(nonces.size, answers.length);
  });

  it("refuses a form that is larger than any of its own", async () => {
    const visitor = await signIn(page());
    await visitor.get("?view=help");
    assertEquals((await visitor.post("?view=keys", [["match", "x".repeat(4 * 1024 * 1024)]])).status, 413);
    const { status } = await ask(page(), "?view=login", formBody([["secret", "x".repeat(20_000)]]));
    assertEquals(status, 401);
  });

  it("is refused by pageHandler itself with a secret that is missing, short or not visible ASCII, and other wrong options", () => {
    const store = stack.store();
    for (const secret of [undefined, "", "fifteen-letters", "with a space in it", "müde-müde-müde-müde", 12345]) {
      const error = assertThrows(() => pageHandler(store, { secret: secret as string }), TundraError);
      assertInstanceOf(error, TundraError);
      assertEquals(error.code, "BAD_ARGUMENT");
      assert(!secret || !error.message.includes(String(secret)), error.message);
    }
    const wrong: [unknown, unknown][] = [
      [undefined, { secret: SECRET }],
      [{}, { secret: SECRET }],
      [store, undefined],
      ...[
        { secrets: "x" },
        { allow: { retries: true } },
        { allow: { peek: "yes" } },
        { title: "x".repeat(61) },
        { title: 5 },
        { lateMs: 10 },
        { sessionMs: 10 },
        { sessionMs: 31 * 24 * HOUR_MS },
        { onError: "log" },
      ].map((options): [unknown, unknown] => [store, { secret: SECRET, ...options }]),
    ];
    for (const [given, options] of wrong) {
      const error = assertThrows(() => pageHandler(given as TundraStore, options as PageOptions));
      assertEquals((error as TundraError).code, "BAD_ARGUMENT", JSON.stringify(options));
    }
  });

  it("makes the store of each request if it is given a function, and none for who may not see it", async () => {
    const asked: string[] = [];
    const handle = pageHandler((request) => {
      asked.push(request.url);
      return Promise.resolve(stack.store());
    }, { secret: SECRET });
    const headers = { authorization: `Bearer ${SECRET}` };
    assertEquals([(await ask(handle, "?")).status, (await ask(handle, "?", { headers })).status], [401, 200]);
    assertEquals(asked, [`${ADDRESS}?`]);
  });
});
