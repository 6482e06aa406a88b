/** A wrong argument is BAD_ARGUMENT, says which one and what it is, and costs no request. */
import { describe, it } from "node:test";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Redis } from "@upstash/redis";
import {
  memoryDatastore,
  s3Datastore,
  TundraError,
  type TundraOptions,
  type TundraStore,
  tundraStore,
} from "../../mod.ts";
import { tundraError } from "../support/fixtures.ts";

const TOKEN = "a-very-secret-token";

/** A store that counts what it would send anywhere. */
function counting(options: Record<string, unknown> = {}): { store: TundraStore; sent: () => number } {
  let sent = 0;
  const count = () => {
    sent++;
    return Promise.reject(new TypeError("no network in this test"));
  };
  const store = tundraStore(
    s3Datastore({ region: "eu-west-1", bucket: "cold", accessKeyId: "id", secretAccessKey: "secret", fetch: count }),
    { redis: { url: "https://db.example", token: TOKEN, fetch: count, retry: false }, ...options } as TundraOptions,
  );
  return { store, sent: () => sent };
}

/** The message of the BAD_ARGUMENT with which `act` fails. */
async function refusal(act: () => unknown): Promise<string> {
  const { message, retryable } = await tundraError("BAD_ARGUMENT", act);
  assertEquals(retryable, false);
  assert(/^Cannot .+ as .+ must be .+: current value is .+$/s.test(message), message);
  assert(!message.includes(TOKEN), message);
  return message;
}

describe("tundraStore refuses", () => {
  const wrong: [string, Record<string, unknown>, string[]][] = [
    [
      "redisTtlMs below 10 hours",
      { redisTtlMs: 35_999_999 },
      ["redisTtlMs", "milliseconds", "36000000", "10 hours", "35999999"],
    ],
    ["redisTtlMs 0", { redisTtlMs: 0 }, ["redisTtlMs", "is 0"]],
    ["redisTtlMs that is negative", { redisTtlMs: -36_000_000 }, ["redisTtlMs", "-36000000"]],
    ["redisTtlMs that is no number", { redisTtlMs: NaN }, ["redisTtlMs", "NaN"]],
    ["redisTtlMs that is text", { redisTtlMs: "1 day" }, ["redisTtlMs", '"1 day"']],
    ["freezeDelayMs that is negative", { freezeDelayMs: -1 }, ["freezeDelayMs", "-1"]],
    ["freezeDelayMs above 12 hours", { freezeDelayMs: 43_200_001 }, ["freezeDelayMs", "43200000", "43200001"]],
    ["minEvictBytes that is negative", { minEvictBytes: -1 }, ["minEvictBytes", "-1"]],
    ["minEvictBytes that is no whole number", { minEvictBytes: 1.5 }, ["minEvictBytes", "1.5"]],
    ["evictable that is no function", { evictable: "cart:*" }, ["evictable", "a function"]],
    ["a databaseId that is a number", { databaseId: 5 }, ["databaseId", "5"]],
    ["an empty tqname", { tqname: "" }, ["tqname", '""']],
    ["a tqname with a colon", { tqname: "a:b" }, ["tqname", '"a:b"']],
    ["a tqname with a slash", { tqname: "a/b" }, ["tqname", '"a/b"']],
    ["a tqname with a line end", { tqname: "a\n" }, ["tqname", '"a\\n"']],
    ["a tqname of 65 characters", { tqname: "q".repeat(65) }, ["tqname", "q".repeat(65)]],
    ["a tqname that is no text", { tqname: 5 }, ["tqname", "is 5"]],
    ["a freezer without thaw", { freezer: { id: "x", freeze: () => {} } }, ["freezer"]],
    ["an option that does not exist", { redisTTLMs: 5 }, ["redisTTLMs"]],
    ["redis.url that is none", { redis: { url: "db.example", token: TOKEN } }, ["redis.url", "10 characters"]],
    ["redis.url for TCP", { redis: { url: `rediss://default:${TOKEN}@db.example:6379`, token: TOKEN } }, [
      "redis.url",
      "rediss://..., an address for TCP; the database's REST URL begins with https://",
    ]],
    ["redis.url of another scheme", { redis: { url: "ftp://db.example", token: TOKEN } }, [
      "redis.url",
      "16 characters",
    ]],
    ["redis.url that is empty", { redis: { url: "", token: TOKEN } }, ["redis.url", "0 characters"]],
    ["redis.url with credentials", { redis: { url: "https://a:b@db.example", token: TOKEN } }, ["redis.url"]],
    ["no redis.token", { redis: { url: "https://db.example" } }, ["redis.token", "undefined"]],
    ["an empty redis.token", { redis: { url: "https://db.example", token: "" } }, ["redis.token", "0 characters"]],
    ["redis.token with a line end", { redis: { url: "https://db.example", token: TOKEN + "\n" } }, ["redis.token"]],
    ["no redis", { redis: undefined }, ["redis", "undefined"]],
  ];
  for (const [name, options, parts] of wrong) {
    it(name, async () => {
      const message = await refusal(() => counting(options));
      for (const part of parts) assertStringIncludes(message, part);
    });
  }

  it("a Redis instance for redis, and says what to pass", async () => {
    const redis = new Redis({ url: "https://db.example", token: TOKEN, enableTelemetry: false });
    const message = await refusal(() => counting({ redis }));
    assertStringIncludes(message, "pass { url, token } and use store.redis");
  });

  it("a datastore without its two functions", async () => {
    const { putKey, fetchKeys } = memoryDatastore();
    const redis = { url: "https://db.example", token: TOKEN };
    for (const datastore of [undefined, null, {}, { putKey }, { fetchKeys }, "s3"]) {
      const message = await refusal(() => tundraStore(datastore as never, { redis }));
      assertStringIncludes(message, "datastore");
    }
  });

  it("nothing of what is allowed: 10 hours, a tqname of 64 characters, no freezer", () => {
    const { store, sent } = counting({ redisTtlMs: 36_000_000, tqname: "Az09_-".padEnd(64, "x"), freezer: null });
    assertEquals([typeof store.tick, sent()], ["function", 0]);
  });
});

describe("s3Datastore refuses", () => {
  const good = { region: "eu-west-1", bucket: "cold", accessKeyId: "id", secretAccessKey: TOKEN };
  const wrong: [string, Record<string, unknown>, string][] = [
    ["an empty bucket", { bucket: "" }, '""'],
    ["no bucket", { bucket: undefined }, "undefined"],
    ["a malformed endpoint", { endpoint: "localhost:9000" }, "endpoint"],
    ["an empty region", { region: "" }, "region"],
    ["no secret", { secretAccessKey: "" }, "secretAccessKey"],
  ];
  for (const [name, options, part] of wrong) {
    it(name, async () => {
      const message = await refusal(() => s3Datastore({ ...good, ...options } as typeof good));
      assertStringIncludes(message, part);
    });
  }
});

describe("every call refuses, before any request,", () => {
  const { store, sent } = counting();
  const calls: ((...keys: never[]) => unknown)[] = [
    (...keys) => store.ensureKs(...keys),
    (...keys) => store.dirty(...keys),
    (...keys) => store.dirty({ overwrite: true }, ...keys),
    (...keys) => store.dirtyIn(store.redis.pipeline(), ...keys),
    (...keys) => store.evict(...keys),
    (...keys) => store.del(...keys),
    (...keys) => store.retryDead(...keys),
  ];
  const wrong: [string, unknown, string][] = [
    ["a key over 32 KB", "k".repeat(32_769), "32769 characters"],
    ["a key over 32 KB of UTF-8", "é".repeat(16_385), "16385 characters"],
    ["a lone surrogate", "a\ud800b", "\\ud800"],
    ["a lone low surrogate at the end", "key\udfff", "\\udfff"],
    ["one of Tundra's own keys", "tundra:default:rec:user:1", '"tundra:default:rec:user:1"'],
    ["one of Tundra's own keys of another tqname", "tundra:other-queue:dirty", '"tundra:other-queue:dirty"'],
    ["what begins like one", "tundra:", '"tundra:"'],
    ["a number", 5, "is 5"],
    ["undefined", undefined, "undefined"],
    ["null", null, "null"],
    ["bytes", new Uint8Array(2), "0"],
    ["an array within an array", ["a", ["b"]], '["b"]'],
  ];
  for (const [name, key, shown] of wrong) {
    it(`${name}, alone, among others and in an array`, async () => {
      for (const act of calls) {
        for (const keys of [[key], ["good", key], [["good", key]]] as never[][]) {
          // one array of keys is what is inside of it; an object before dirty's keys stands for options
          if (keys.length === 1 && keys[0] === key && typeof key === "object") continue;
          const message = await refusal(() => act(...keys));
          assertStringIncludes(message, shown);
        }
      }
      assertEquals(sent(), 0);
    });
  }

  it("options that do not exist or are of another type", async () => {
    const pipeline = store.redis.pipeline();
    const acts: [() => unknown, string][] = [
      [() => store.dirty({ overwrites: true } as never, "a"), "overwrites"],
      [() => store.dirty({ overwrite: 1 } as never, "a"), "overwrite"],
      [() => store.dirty({ missing: "delete" } as never, "a"), '"delete"'],
      [() => store.dirtyIn(pipeline, { missing: true } as never, "a"), "missing"],
      [() => store.dirtyIn({} as never, "a"), "the pipeline"],
      [() => store.dirtyIn(undefined as never, "a"), "the pipeline"],
      [() => store.deadLetters({ limit: 0 }), "is 0"],
      [() => store.deadLetters({ limit: 1001 }), "1001"],
      [() => store.deadLetters({ offset: -1 }), "-1"],
      [() => store.deadLetters({ ofset: 1 } as never), "ofset"],
      [() => store.tick({ nattempts: 0 }), "is 0"],
      [() => store.worker({ nattempts: 0 }), "is 0"],
    ];
    for (const [act, part] of acts) assertStringIncludes(await refusal(act), part);
    assertEquals([sent(), pipeline.length()], [0, 0]);
  });

  it("and takes an array that nobody may write to", async () => {
    const keys: readonly string[] = Object.freeze(["a", "b"]);
    for (
      const act of [() => store.ensureKs(keys), () => store.dirty({ overwrite: true }, keys), () => store.del(keys)]
    ) {
      assertEquals((await tundraError("UNAVAILABLE", act)).keys, ["a", "b"]);
    }
  });

  it("and takes what is just allowed: 32 KB, a key like Tundra's in other letters", async () => {
    const before = sent();
    for (const key of ["k".repeat(32_768), "é".repeat(16_384), "Tundra:default:dirty", "tundra", ""]) {
      const error = await tundraError("UNAVAILABLE", () => store.dirty(key));
      assert(error instanceof TundraError && error.keys[0] === key);
    }
    assertEquals(sent() - before, 5);
  });
});
