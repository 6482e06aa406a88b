/** A store from environment variables. */
import process from "node:process";
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { tundraFromEnv, type TundraStore } from "../../mod.ts";
import { BUCKET, tundraError, withArchive } from "../support/fixtures.ts";

describe("tundraFromEnv", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  type Env = Record<string, string | undefined>;
  const upstash = (): Env => ({
    UPSTASH_REDIS_REST_URL: stack.connection.url,
    UPSTASH_REDIS_REST_TOKEN: stack.connection.token,
  });
  const kv = (): Env => ({ KV_REST_API_URL: stack.connection.url, KV_REST_API_TOKEN: stack.connection.token });
  const s3 = (): Env => ({
    TUNDRA_S3_ENDPOINT: stack.s3.url,
    TUNDRA_S3_REGION: stack.s3.region,
    TUNDRA_S3_BUCKET: BUCKET,
    TUNDRA_S3_ACCESS_KEY_ID: stack.s3.accessKeyId,
    TUNDRA_S3_SECRET_ACCESS_KEY: stack.s3.secretAccessKey,
  });
  /** Variables that Vercel and Lambda inject and that Tundra ignores. */
  const injected: Env = {
    AWS_REGION: "us-west-2",
    AWS_ACCESS_KEY_ID: "INJECTEDKEYID",
    AWS_SECRET_ACCESS_KEY: "injected-secret",
    AWS_SESSION_TOKEN: "injected-session",
  };

  async function roundTrip(store: TundraStore): Promise<void> {
    await stack.raw("SET", "k", "value");
    await store.dirty("k");
    assertEquals((await store.tick()).frozen, 1);
    assertEquals((await store.evict("k")).evicted, ["k"]);
    await store.ensureKs("k");
    assertEquals(await store.redis.get("k"), "value");
  }

  it("UPSTASH_REDIS_REST_* and TUNDRA_S3_*: goes round", () => roundTrip(tundraFromEnv({ ...upstash(), ...s3() })));

  it("KV_REST_API_* in place of UPSTASH_REDIS_REST_*: goes round", () =>
    roundTrip(tundraFromEnv({ ...kv(), ...s3() })));

  it("takes the whole pair if only half of the other is set", async () => {
    await roundTrip(tundraFromEnv({ ...kv(), UPSTASH_REDIS_REST_URL: "https://other.example", ...s3() }));
  });

  it("TUNDRA_S3_PREFIX stands before every object", async () => {
    await roundTrip(tundraFromEnv({ ...upstash(), ...s3(), TUNDRA_S3_PREFIX: "cold/" }));
    assert([...stack.s3.objects(BUCKET).keys()].every((name) => name.startsWith("cold/default/")));
  });

  it("other options of the store stand beside env", async () => {
    await roundTrip(tundraFromEnv({ env: { ...upstash(), ...s3() }, tqname: "mine", freezer: null }));
    assert(stack.objectNames().every((name) => name.startsWith("mine/")));
  });

  it("options without env go with the process environment, and are checked", async () => {
    const { message } = await tundraError("BAD_ARGUMENT", () => tundraFromEnv({ redisTtlMs: 36_000_000 }));
    assertStringIncludes(message, "UPSTASH_REDIS_REST_URL");
    const env = { ...upstash(), ...s3() };
    const wrong: [object, string][] = [
      [{ env, redisTtlMs: 1 }, "redisTtlMs must be"],
      [{ env, redisTtlMS: 36_000_000 }, "an option must be one of env, tqname"],
      [{ redisTtlMs: 36_000_000, ...env }, "an option must be one of env, tqname"],
      [{ env: "UPSTASH_REDIS_REST_URL" }, "env must be an object"],
    ];
    for (const [given, says] of wrong) {
      assertStringIncludes((await tundraError("BAD_ARGUMENT", () => tundraFromEnv(given))).message, says);
    }
  });

  it("names all variables that are missing in one message", async () => {
    const { message } = await tundraError("BAD_ARGUMENT", () => tundraFromEnv({}));
    for (
      const name of [
        ...["UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN", "KV_REST_API_URL", "TUNDRA_S3_BUCKET"],
        ...["TUNDRA_S3_REGION", "TUNDRA_S3_ACCESS_KEY_ID", "TUNDRA_S3_SECRET_ACCESS_KEY"],
      ]
    ) assertStringIncludes(message, name);
    assert(!message.includes("AWS_"), message);
  });

  it("TUNDRA_S3_REGION may be left out with an endpoint, and TUNDRA_S3_STYLE chooses the style", async () => {
    const { TUNDRA_S3_REGION: _, ...env } = s3();
    const { url } = await request({
      ...upstash(),
      ...env,
      TUNDRA_S3_ENDPOINT: "https://s3.example.com",
      TUNDRA_S3_STYLE: "virtual-host",
    });
    assert(url.startsWith(`https://${BUCKET}.s3.example.com/`), url);
    await roundTrip(tundraFromEnv({ ...upstash(), ...env }));
    const wrong = { ...upstash(), ...s3(), TUNDRA_S3_STYLE: "virtual" };
    assertStringIncludes((await tundraError("BAD_ARGUMENT", () => tundraFromEnv(wrong))).message, "style must be");
  });

  it("AWS_ENDPOINT_URL_S3 goes with the AWS_* set, and with no other", async () => {
    const env = { ...upstash(), ...injected, TUNDRA_S3_BUCKET: "cold", AWS_ENDPOINT_URL_S3: "https://fly.example.com" };
    assert((await request(env)).url.startsWith("https://fly.example.com/cold?"));
    const own = await request({ ...env, ...s3(), TUNDRA_S3_ENDPOINT: undefined });
    assert(own.url.startsWith(`https://${BUCKET}.s3.`), own.url);
  });

  it("reads the process environment if it is given none, and only when called", async () => {
    const env = { ...upstash(), ...s3() };
    const before = { ...process.env };
    Object.assign(process.env, env);
    try {
      await roundTrip(tundraFromEnv());
    } finally {
      for (const name of Object.keys(env)) {
        if (before[name] === undefined) delete process.env[name];
        else process.env[name] = before[name];
      }
    }
  });

  it("the TUNDRA_S3_* set is taken as a whole: injected AWS_* beside it are not looked at", async () => {
    await roundTrip(tundraFromEnv({ ...upstash(), ...s3(), ...injected }));
  });

  /** The URL that a store would send an object to, and the key that signs it. */
  async function request(env: Env): Promise<{ url: string; headers: Headers }> {
    const original = globalThis.fetch;
    let seen: { url: string; headers: Headers } | undefined;
    globalThis.fetch = (input, init) => {
      const request = new Request(input, init);
      if (request.url.startsWith(stack.connection.url)) return original(input, init);
      seen = { url: request.url, headers: request.headers };
      return Promise.resolve(new Response("<Error><Code>AccessDenied</Code></Error>", { status: 403 }));
    };
    try {
      await tundraError("UNAVAILABLE", () => tundraFromEnv(env).tick());
    } finally {
      globalThis.fetch = original;
    }
    return seen!;
  }

  it("AWS_* with TUNDRA_S3_BUCKET: AWS in that region, that key, that session", async () => {
    const { url, headers } = await request({
      ...upstash(),
      ...injected,
      TUNDRA_S3_BUCKET: "cold",
      TUNDRA_S3_PREFIX: "p/",
    });
    assertEquals(url, "https://cold.s3.us-west-2.amazonaws.com/?list-type=2&encoding-type=url&prefix=p%2Fdefault%2F");
    assert(/Credential=INJECTEDKEYID\/\d+\/us-west-2\/s3\//.test(headers.get("authorization")!));
    assertEquals(headers.get("x-amz-security-token"), "injected-session");
  });

  it("TUNDRA_S3_SESSION_TOKEN goes with the TUNDRA_S3_* set; without it no session is sent", async () => {
    const with_ = await request({ ...upstash(), ...s3(), ...injected, TUNDRA_S3_SESSION_TOKEN: "mine" });
    assertEquals(with_.headers.get("x-amz-security-token"), "mine");
    const without = await request({ ...upstash(), ...s3(), ...injected });
    assertEquals(without.headers.get("x-amz-security-token"), null);
    assertStringIncludes(without.headers.get("authorization")!, `Credential=${stack.s3.accessKeyId}/`);
  });

  const without = (env: Env, ...names: string[]): Env =>
    Object.fromEntries(Object.entries(env).filter(([name]) => !names.includes(name)));

  for (
    const name of ["TUNDRA_S3_REGION", "TUNDRA_S3_ACCESS_KEY_ID", "TUNDRA_S3_SECRET_ACCESS_KEY", "TUNDRA_S3_BUCKET"]
  ) {
    it(`never mixes the sets: without ${name} it names that, though AWS_* are there`, async () => {
      // with an endpoint the region may be left out
      const set = name === "TUNDRA_S3_REGION" ? without(s3(), "TUNDRA_S3_ENDPOINT") : s3();
      for (const missing of [without(set, name), { ...set, [name]: "" }]) {
        const { message } = await tundraError(
          "BAD_ARGUMENT",
          () => tundraFromEnv({ ...upstash(), ...injected, ...missing }),
        );
        assertStringIncludes(message, name);
        for (const secret of ["injected-secret", stack.connection.token, stack.s3.secretAccessKey]) {
          assert(!message.includes(secret), message);
        }
      }
      assertEquals(stack.server.requests, 0);
    });
  }

  for (const name of ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]) {
    it(`names ${name} if the AWS_* set lacks it`, async () => {
      const env = { ...upstash(), ...without(injected, name), TUNDRA_S3_BUCKET: "cold" };
      assertStringIncludes((await tundraError("BAD_ARGUMENT", () => tundraFromEnv(env))).message, name);
    });
  }

  it("never mixes the pairs of Redis: half of each is none", async () => {
    const { UPSTASH_REDIS_REST_URL } = upstash();
    const { KV_REST_API_TOKEN } = kv();
    for (
      const env of [{}, { UPSTASH_REDIS_REST_URL }, { KV_REST_API_TOKEN }, {
        UPSTASH_REDIS_REST_URL,
        KV_REST_API_TOKEN,
      }]
    ) {
      const { message } = await tundraError("BAD_ARGUMENT", () => tundraFromEnv({ ...s3(), ...env }));
      assertStringIncludes(message, "UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN");
      assertStringIncludes(message, "KV_REST_API_URL and KV_REST_API_TOKEN");
      assert(!message.includes(stack.connection.token));
    }
  });
});
