/** The views of the page: what each shows and does, that any text is only text there, and what each costs. */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { adviceOfManual } from "../../dev/tools/advice.ts";
import type { TundraError, TundraStore } from "../../mod.ts";
import { ADVICE } from "../../src/page/advice.ts";
import { pageHandler, type PageOptions } from "../../src/page/mod.ts";
import { withArchive } from "../support/fixtures.ts";
import { costOf } from "../support/operations.ts";
import { assertOnlyOwnMarkup, handleOf, readable, SECRET, signIn, type Visitor } from "./page.ts";

/** Names of keys by which others have been broken. */
const ODD = [
  `<script>alert(1)</script>`,
  `"><img src=x onerror=alert(1)>`,
  `' autofocus onfocus='alert(1)`,
  `</button></form></main>&lt;b&gt;&amp;`,
  "invoice\u202egnp.exe",
  "zero\u200bwidth\ufeff\u00ad",
  "tab\tline\r\nfeed\n",
  "nul\u0000bell\u0007escape\u001b[31m\u007f\u0085",
  "javascript:alert(1)",
  " two  spaces, and\u00a0\u3000others ",
  "{{constructor}} ${1} %00 \\u{41}",
  "ключ 键 🧊",
  "x".repeat(10_000),
  "",
];

describe("the page", () => {
  const stack = withArchive();
  let store: TundraStore;
  beforeEach(async () => {
    await stack.flush();
    store = stack.store();
  });

  const visitorOf = (options: Partial<PageOptions> = {}, of: TundraStore | (() => TundraStore) = store) =>
    signIn(pageHandler(of, { secret: SECRET, ...options }));

  /** Archives keys as strings `value of <key>`. */
  async function archived(...keys: string[]): Promise<void> {
    for (const key of keys) await stack.raw("SET", key, `value of ${key}`);
    await store.dirty(keys);
    assertEquals((await store.tick()).frozen, keys.length);
  }

  /** Has a key used up its attempts. */
  async function died(key: string, error = "UNSUPPORTED no such freezer"): Promise<void> {
    await stack.raw("SET", key, "poison");
    await store.dirty(key);
    await stack.editRecord(key, { attempts: 3, error });
    await stack.raw("ZREM", "tundra:default:dirty", key);
    await stack.raw("ZADD", "tundra:default:dead", String(Math.floor(await stack.nowMs()) - 5000), key);
  }

  const verdictOf = async (visitor: Visitor) => {
    const { text } = await visitor.get("?");
    return readable(/<section class="verdict[^]*?<\/section>/.exec(text)![0]);
  };

  it("says at one look if there is nothing, if data waits, is safe, or needs a person", async () => {
    const visitor = await visitorOf();
    assertMatch(await verdictOf(visitor), /^Empty No key has been marked yet/);
    await stack.raw("SET", "a", "1");
    await store.dirty("a");
    assertMatch(await verdictOf(visitor), /^Waiting 1 key holds a change that only Redis has\. No tick has run yet/);
    await store.tick();
    assertMatch(await verdictOf(visitor), /^Safe Every change that was marked is archived\. Last tick: .*ago|just now/);
    await died("b");
    const verdict = await verdictOf(visitor);
    assertMatch(
      verdict,
      /^Needs you 1 thing to do\. 1 key has used up its attempts to be archived\. It stays in Redis\. See why/,
    );
  });

  it("shows counts and sizes of evicted and resident keys, what waits, and totals", async () => {
    const keys = Array.from({ length: 30 }, (_, i) => `cart:${i}`);
    await archived(...keys);
    await store.evict(keys.slice(0, 20));
    await stack.raw("SET", "late", "1");
    await store.dirty("late");
    const text = readable((await (await visitorOf()).get("?")).text);
    assertMatch(text, /Evicted 20 at most 20 KiB out of Redis/);
    assertMatch(text, /Archived and in Redis 10 at most 10 KiB/);
    assertMatch(text, /Waiting 1 1 due, the oldest for/);
    assertMatch(text, /Dead letters 0 none/);
    assertMatch(text, /Archived 30 values, [\d.]+ (bytes|KiB) put into the archive/);
  });

  it("lists dead letters with their reasons, and puts them back into the queue if it may", async () => {
    await died("poison:1", "TOO_LARGE the value has 120 MB");
    await died("poison:2");
    const visitor = await visitorOf({ allow: { retry: true } });
    const { text } = await visitor.get("?view=dead");
    const shown = readable(text);
    assertMatch(
      shown,
      /poison:1 TOO_LARGE the value has 120 MB 3 5 seconds ago|poison:1 TOO_LARGE the value has 120 MB 3 \d+ seconds ago/,
    );
    assertMatch(shown, /What to do .*raise the limit that the message names/);
    assertMatch(text, /href="\?view=help#TOO_LARGE"/);
    const one = await visitor.post("?view=retry", [["key", handleOf("poison:1")]]);
    assertMatch(readable(one.text), /1 key put back into the queue\. The next tick tries again\./);
    assertEquals(await stack.members("dead"), ["poison:2"]);
    assert(!one.text.includes("poison:1"));
    const both = await visitor.post("?view=retry", [["key", handleOf("poison:1")], ["key", handleOf("poison:2")]]);
    assertMatch(readable(both.text), /1 of 2 keys put back; the others were not dead any more/);
    assertEquals((await store.tick()).frozen, 2);
  });

  it("shows dead letters page by page", async () => {
    for (let i = 0; i < 52; i++) await died(`p:${i}`);
    const visitor = await visitorOf();
    const first = await visitor.get("?view=dead");
    assertMatch(readable(first.text), /Dead letters: 50 of 52/);
    const [, next] = /href="(\?view=dead&amp;from=\d+)"/.exec(first.text)!;
    const second = await visitor.get(next!.replace("&amp;", "&"));
    assertMatch(readable(second.text), /Dead letters: 2 of 52/);
    assertEquals((await visitor.get("?view=dead&from=nonsense")).status, 200);
  });

  it("lists keys by pattern and state, wherever they are, and goes on where it stopped", async () => {
    await archived("cart:1", "cart:2", "user:1");
    await store.evict("cart:1");
    const visitor = await visitorOf();
    await visitor.get("?view=keys");
    const all = readable((await visitor.post("?view=keys", [["match", "cart:*"]])).text);
    assertMatch(all, /Keys like cart:\* : 2 keys/);
    assertMatch(all, /cart:1 evicted 1\.0 KiB/);
    assertMatch(all, /cart:2 resident 1\.0 KiB/);
    assert(!all.includes("user:1"));
    assertMatch(all, /less of Redis’ memory: less than a cent a month/);
    const evicted = readable((await visitor.post("?view=keys", [["match", "*"], ["state", "evicted"]])).text);
    assert(evicted.includes("cart:1") && !evicted.includes("cart:2"));
    for (const [field, value] of [["state", "cold"], ["cursor", "x"], ["match", "*".repeat(1025)]] as const) {
      const { status, text } = await visitor.post("?view=keys", Object.entries({ match: "*", [field]: value }));
      assertEquals(status, 400);
      assertMatch(text, /BAD_ARGUMENT/);
    }
    const many = Array.from({ length: 3_000 }, (_, i) => `k:${i}`);
    await stack.raw("MSET", ...many.flatMap((key) => [key, "v"]));
    await store.dirty(many);
    let { text } = await visitor.post("?view=keys", [["match", "k:*"]]);
    let seen = 0;
    for (let pages = 0; pages < 20; pages++) {
      seen += Number(/like [^:]*:\*<\/bdi>: (?:\d+ of )?([\d,]+) key/.exec(text)![1]!.replace(",", ""));
      const [, cursor] = /name="cursor" value="(\d+)"/.exec(text) ?? [];
      if (cursor === undefined) break;
      ({ text } = await visitor.post("?view=keys", [["match", "k:*"], ["cursor", cursor]]));
    }
    assert(seen >= 3_000 && seen < 3_600, String(seen)); // SCAN may answer some twice
  });

  it("shows a key's state and versions, and restores one after a question", async () => {
    await archived("cart:7");
    await stack.raw("SET", "cart:7", "newer");
    await store.dirty("cart:7");
    await store.tick();
    const visitor = await visitorOf({ allow: { restore: true } });
    await visitor.get("?view=keys");
    const byName = await visitor.post("?view=key", [["name", "cart:7"]]);
    const shown = readable(byName.text);
    assertMatch(shown, /State resident all of it is archived; in Redis\./);
    assertMatch(shown, /Versions .* current \d+ bytes none .* Restore .* \d+ bytes none .* Restore/);
    const versions = [...byName.text.matchAll(/name="version" value="([^"]+)"/g)].map(([, version]) => version!);
    assertEquals(versions.length, 2);
    const fields: [string, string][] = [["key", handleOf("cart:7")], ["version", versions[1]!]];
    const asked = await visitor.post("?view=restore", fields);
    assertMatch(readable(asked.text), /Restore this version\? cart:7 Archived .* Size .* Restore it/);
    assertEquals(await stack.get("cart:7"), "newer");
    const done = await visitor.post("?view=restore", [...fields, ["sure", "yes"]]);
    assertMatch(readable(done.text), /The version of .* is the key’s value again/);
    assertEquals(await stack.get("cart:7"), "value of cart:7");
    const twice = await visitor.post("?view=restore", [...fields, ["sure", "yes"]]);
    assertEquals(twice.status, 409);
    assertMatch(readable(twice.text), /Run a tick first/);
    assertEquals((await visitor.post("?view=restore", [["key", handleOf("cart:7")], ["version", "x"]])).status, 400);
  });

  it("shows a key that Tundra does not know, and refuses names that no key has", async () => {
    await stack.raw("SET", "plain", "1");
    const visitor = await visitorOf();
    await visitor.get("?view=keys");
    const shown = readable((await visitor.post("?view=key", [["name", "plain"]])).text);
    assertMatch(shown, /in Redis\. Tundra has no record of it: it was never marked/);
    await stack.raw("SET", "tundra:default:rec:later", "9 of a later version");
    const later = readable((await visitor.post("?view=key", [["name", "later"]])).text);
    assertMatch(later, /not in Redis\. Its record is of another version of Tundra/);
    const wrong: [string, string][] = [["name", "tundra:default:id"], ["key", "%%%"], ["key", "7aCA"], [
      "name",
      "x".repeat(40_000),
    ]];
    for (const [field, value] of wrong) {
      assertEquals((await visitor.post("?view=key", [[field, value]])).status, 400, value);
    }
  });

  it("shows a value of each type if it may, in part if it is large, and an evicted key stays evicted", async () => {
    await stack.raw("SET", "string", "x".repeat(3_000) + "<b>" + "y".repeat(3_000));
    await stack.raw("HSET", "hash", "field", "<i>value</i>", "n", "1e3", "json", `{ "a":1.0 }`);
    await stack.raw("RPUSH", "list", ...Array.from({ length: 60 }, (_, i) => `item ${i}`));
    await stack.raw("SADD", "set", "member");
    await stack.raw("ZADD", "zset", "1.5", "member");
    await stack.raw("XADD", "stream", "1-1", "f", "v");
    await stack.raw("SET", "bytes", new Uint8Array([0xff, 0x3c, 0x62, 0x3e, 0x00, 0xe2, 0x82]));
    await stack.raw("SET", "euros", "€".repeat(2_000)); // 4,000 bytes end within one
    await stack.raw("HSET", "odd", new Uint8Array([0x80]), "a\u202eb");
    const keys = ["string", "hash", "list", "set", "zset", "stream", "bytes", "euros", "odd"];
    await store.dirty(keys);
    await store.tick();
    assertEquals((await store.evict(keys)).evicted.length, 9);
    const visitor = await visitorOf({ allow: { peek: true } });
    await visitor.get("?view=keys");
    const shown: Record<string, string> = {};
    for (const key of [...keys, "absent"]) {
      const { text } = await visitor.post("?view=peek", [["key", handleOf(key)]]);
      assertOnlyOwnMarkup(text);
      shown[key] = readable(text);
    }
    assertMatch(shown.string!, /string, 6,003 bytes: its beginning x+<b>y+ /);
    assertMatch(shown.hash!, /hash, 3 fields .*field <i>value<\/i> n 1e3 json \{ "a":1\.0 \}/);
    assertMatch(shown.list!, /list, 60 items: its beginning .*item 0 .*item 49/);
    assertMatch(shown.set!, /set, 1 member .*member/);
    assertMatch(shown.zset!, /zset, 1 member .*member 1\.5/);
    assertMatch(shown.stream!, /stream, 1 entry .*1-1 f v/);
    assertMatch(shown.bytes!, /string, 7 bytes \\xff ?<b> ?\\x00 ?\\xe2 ?\\x82 /);
    assertMatch(shown.euros!, /string, 6,000 bytes: its beginning €{1333} /);
    assertMatch(shown.odd!, /hash, 1 field .*\\x80 a ?\\u\{202e\} ?b/);
    assertMatch(shown.absent!, /The key is absent/);
    assertEquals((await store.status()).evicted, 9);
  });

  it("shows any name and any message as text, in which nothing is invisible", async () => {
    await archived(...ODD);
    for (const key of ODD) await died(key, `UNSUPPORTED <img src=x onerror=alert(1)> "${"'"}`);
    const visitor = await visitorOf({ allow: { retry: true, restore: true, peek: true }, title: `<b>"shop"</b>` });
    const pages = [
      await visitor.get("?"),
      await visitor.get("?view=dead"),
      await visitor.post("?view=keys", [["match", "*"]]),
    ];
    for (const key of ODD) {
      const key_ = await visitor.post("?view=key", [["key", handleOf(key)]]);
      assertEquals(key_.status, 200, key.slice(0, 40));
      pages.push(key_, await visitor.post("?view=peek", [["key", handleOf(key)]]));
      assert(key_.text.includes(`value="${handleOf(key)}"`), key.slice(0, 40));
    }
    for (const { text } of pages) {
      assertOnlyOwnMarkup(text);
      // deno-lint-ignore no-control-regex
      assert(!/[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ufeff\u00ad]/.test(text));
    }
    const list = readable(pages[1]!.text);
    for (
      const sign of [
        "\\u{202e}",
        "\\u{200b}",
        "\\u{0}",
        "\\u{1b}",
        "\\u{9}",
        "\\u{d}",
        "\\u{a}",
        "\\u{a0}",
        "(the empty key)",
        "… 10,000 characters",
      ]
    ) {
      assert(list.includes(sign.trim()), sign);
    }
  });

  it("takes lone surrogates for text too, wherever a store would give them", async () => {
    const lone = "lone \ud800 surrogate";
    const odd = {
      ...store,
      deadLetters: () => Promise.resolve([{ key: lone, code: "LOST", message: lone, attempts: 1, at: 1 }]),
    };
    const { status, text } = await (await visitorOf({}, odd as unknown as TundraStore)).get("?view=dead");
    assertEquals([status, text.isWellFormed()], [200, true]);
    assert(readable(text).includes("\\u{d800}"));
  });

  it("carries names of keys in forms only: no address of any page has one", async () => {
    await archived("cart:secret-name");
    await died("cart:other-name");
    const visitor = await visitorOf({ allow: { retry: true, restore: true, peek: true } });
    const key: [string, string][] = [["key", handleOf("cart:secret-name")]];
    const pages = [
      await visitor.get("?"),
      await visitor.get("?view=dead"),
      await visitor.post("?view=keys", [["match", "*"]]),
      await visitor.post("?view=key", key),
      await visitor.post("?view=peek", key),
    ];
    for (const { text } of pages) {
      for (const [, address] of text.matchAll(/(?:href|action|src)="([^"]*)"/g)) {
        assertMatch(address!, /^(\?|#main$)/);
        assert(!/name|Y2FydDp/.test(address!), address);
      }
    }
  });

  it("works at any path: each address is one of the same page", async () => {
    const visitor = await visitorOf();
    for (
      const { text } of [
        await visitor.get("?"),
        await visitor.get("/?view=help"),
        await visitor.get("/a/b/c?view=dead"),
      ]
    ) {
      for (const [, address] of text.matchAll(/(?:href|action|src)="([^"]*)"/g)) assertMatch(address!, /^[?#]/);
    }
  });

  it("shows an error as a page with code and what to do, never a secret, an address of a server or a stack", async () => {
    const told: TundraError[] = [];
    const token = "token-of-a-database-that-is-away";
    const away = stack.store({ redis: { url: "http://127.0.0.1:9", token, retry: false } });
    const visitor = await visitorOf({ onError: (error) => told.push(error) }, away);
    for (const view of ["?", "?view=dead"]) {
      const { status, text } = await visitor.get(view);
      assertEquals(status, 503);
      assertMatch(readable(text), /A server does not answer .* UNAVAILABLE .*What to do: retry if retryable/);
      assert(!/127\.0\.0\.1|:9\b|http:\/\/|token-of|at \w+ \(|\.ts:\d/.test(text), text);
      assertOnlyOwnMarkup(text);
    }
    assertEquals([...new Set(told.map(({ code }) => code))], ["UNAVAILABLE"]);
    await archived("a");
    const noArchive = stack.store({ datastore: stack.datastore({ endpoint: "http://127.0.0.1:9" }) });
    const half = await visitorOf({}, noArchive);
    await half.get("?view=keys");
    const key = await half.post("?view=key", [["key", handleOf("a")]]);
    assertEquals(key.status, 200); // the state of the key is known all the same
    assertMatch(readable(key.text), /State resident .* Versions UNAVAILABLE /);
    assert(!/127\.0\.0\.1|:9\b|http:\/\//.test(key.text), key.text);
    assert(!key.text.includes(stack.s3.secretAccessKey) && !key.text.includes(stack.s3.accessKeyId));
    await stack.raw("SET", "tundra:default:id", "1@another.database.example");
    const lost = await (await visitorOf()).post("?view=keys", [["match", "*"]]);
    assertEquals(lost.status, 403); // no token yet
    const again = await visitorOf();
    await again.get("?view=keys");
    const page = await again.post("?view=keys", [["match", "*"]]);
    assertEquals(page.status, 500);
    assertMatch(readable(page.text), /LOST/);
    assert(!page.text.includes("database.example"), page.text);
  });

  it("never shows the message of an error that is not Tundra's, such as that of the function that makes the store", async () => {
    const visitor = await visitorOf({}, () => {
      throw new Error("no such variable, the others are hunter2");
    });
    const { status, text } = await visitor.get("?");
    assertEquals(status, 500);
    assert(!text.includes("hunter2"));
  });

  it("explains each code in the words of docs/errors.md", async () => {
    assertEquals({ ...ADVICE } as Record<string, unknown>, adviceOfManual(), "run: deno run -A dev/tools/advice.ts");
    assert(Object.keys(ADVICE).length > 8);
    const { text } = await (await visitorOf()).get("?view=help");
    for (const code of Object.keys(ADVICE)) assert(text.includes(`id="${code}"`), code);
  });

  it("costs what docs/page.md says", async () => {
    await archived("a", "b");
    await store.evict("a");
    const visitor = await visitorOf({ allow: { retry: true, restore: true, peek: true } });
    await visitor.get("?"); // scripts are known to the server from now on
    const key: [string, string][] = [["key", handleOf("a")]];
    await visitor.post("?view=key", key);
    await visitor.post("?view=retry", key);
    const cost = (act: () => Promise<{ status: number }>) =>
      costOf(stack, async () => assertEquals((await act()).status, 200));
    assertEquals(
      {
        overview: await cost(() => visitor.get("?")),
        keys: await cost(() => visitor.get("?view=keys")),
        "a list of keys": await cost(() => visitor.post("?view=keys", [["match", "*"]])),
        "a key": await cost(() => visitor.post("?view=key", key)),
        "a value": await cost(() => visitor.post("?view=peek", key)),
        "dead letters": await cost(() => visitor.get("?view=dead")),
        history: await cost(() => visitor.get("?view=history")),
        help: await cost(() => visitor.get("?view=help")),
        "a retry": await cost(() => visitor.post("?view=retry", key)),
      },
      {
        overview: { redis: 4, billable: 15 },
        keys: { redis: 0, billable: 0 },
        "a list of keys": { redis: 4, billable: 6 },
        "a key": { redis: 4, billable: 9 },
        "a value": { redis: 6, billable: 12 },
        "dead letters": { redis: 2, billable: 11 },
        history: { redis: 1, billable: 3 },
        help: { redis: 0, billable: 0 },
        "a retry": { redis: 3, billable: 15 },
      },
    );
    await died("dead");
    assertEquals(await cost(() => visitor.get("?")), { redis: 6, billable: 17 });
    assertEquals(await cost(() => visitor.get("?view=dead")), { redis: 3, billable: 12 });
  });
});
