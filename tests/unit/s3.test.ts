/** `s3Datastore` without a server: its options, its requests, and what each answer means. */
import { describe, it } from "node:test";
import { assert, assertEquals, assertFalse, assertInstanceOf, assertRejects, assertThrows } from "@std/assert";
import { TundraError } from "../../src/base/errors.ts";
import { s3Datastore, type S3DatastoreOptions } from "../../src/datastores/s3/datastore.ts";
import { xmlElements, xmlText } from "../../src/datastores/s3/xml.ts";

interface Sent {
  url: string;
  method: string;
  headers: Headers;
  init: RequestInit;
}

const OPTIONS = {
  region: "eu-central-1",
  bucket: "my-bucket",
  accessKeyId: "AKIAEXAMPLE012345678",
  secretAccessKey: "secret/access+key/0123456789012345678901",
};

/** A store whose requests `answer` answers, and what it sent. */
function fake(
  answer: (sent: Sent, n: number) => Response | Promise<Response>,
  options: Partial<S3DatastoreOptions> = {},
) {
  const sent: Sent[] = [];
  // Called as a method, a real fetch throws on some runtimes.
  const send = function (this: unknown, input: unknown, init: RequestInit = {}): Promise<Response> {
    if (this !== undefined) return Promise.reject(new TypeError("Illegal invocation"));
    const request = { url: String(input), method: init.method!, headers: new Headers(init.headers), init };
    sent.push(request);
    return Promise.resolve(answer(request, sent.length - 1));
  } as typeof fetch;
  return { sent, store: s3Datastore({ ...OPTIONS, fetch: send, ...options }) };
}

/** The answer of S3 to an upload that it has stored. */
const stored = () => new Response(null, { headers: { etag: '"d41d8cd98f00b204e9800998ecf8427e"' } });
const errorXml = (code: string, message = "") =>
  `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${message}</Message></Error>`;
const refusal = (status: number, code: string) => new Response(errorXml(code), { status });
const listing = (inner: string) =>
  new Response(`<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${inner}</ListBucketResult>`);

async function failure(promise: Promise<unknown>): Promise<TundraError> {
  return await assertRejects(() => promise, TundraError);
}

describe("the options of s3Datastore", () => {
  const wrong: [string, Record<string, unknown>][] = [
    ["no region", { region: undefined }],
    ["an empty region", { region: "" }],
    ["a region that is none", { region: "eu central" }],
    ["no bucket", { bucket: undefined }],
    ["an empty bucket", { bucket: "" }],
    ["a bucket with a slash", { bucket: "a/b" }],
    ["a bucket that is a path", { bucket: ".." }],
    ["an empty access key", { accessKeyId: "" }],
    ["no secret", { secretAccessKey: undefined }],
    ["a secret with a line break", { secretAccessKey: "topsecret\n" }],
    ["an empty session token", { sessionToken: "" }],
    ["a session token of another type", { sessionToken: 7 }],
    ["an endpoint without protocol", { endpoint: "s3.example.com" }],
    ["an endpoint that is no URL", { endpoint: "https://" }],
    ["an endpoint that ends with the bucket", { endpoint: "https://s3.example.com/my-bucket" }],
    ["a tenant as a host", { bucket: "tenant:my-bucket", style: "virtual-host" }],
    ["a checksum that is none", { checksum: "crc32" }],
    ["headers that are none", { headers: "x-amz-acl: private" }],
    ["credentials that are no function", { credentials: { accessKeyId: "topsecret" } }],
    ["an empty endpoint", { endpoint: "" }],
    ["an endpoint of another protocol", { endpoint: "ftp://s3.example.com" }],
    ["an endpoint with credentials", { endpoint: "https://user:topsecret@s3.example.com" }],
    ["an endpoint with a query", { endpoint: "https://s3.example.com/?x=1" }],
    ["a prefix that is too long", { prefix: "p".repeat(121) }],
    ["a prefix that would be escaped", { prefix: "a b/" }],
    ["a prefix that begins with a slash", { prefix: "/a" }],
    ["a prefix with an empty segment", { prefix: "a//" }],
    ["a prefix that climbs", { prefix: "a/../" }],
    ["a style that is none", { style: "virtual" }],
    ["no time", { timeoutMs: 0 }],
    ["half a retry", { retries: 0.5 }],
    ["too many retries", { retries: 11 }],
    ["no concurrency", { concurrency: 0 }],
    ["a fetch that is none", { fetch: "fetch" }],
  ];
  for (const [name, options] of wrong) {
    it(`are refused before any request, without showing a secret: ${name}`, () => {
      const error = assertThrows(
        () => s3Datastore({ ...OPTIONS, ...options } as S3DatastoreOptions),
        TundraError,
      );
      assertEquals([error.code, error.retryable], ["BAD_ARGUMENT", false]);
      assert(error.message.startsWith("Cannot make an S3 datastore as "), error.message);
      if (!("bucket" in options && "style" in options)) {
        assert(error.message.includes(Object.keys(options)[0]!), error.message);
      }
      assertFalse(error.message.includes("topsecret"));
      assertFalse(error.message.includes(OPTIONS.secretAccessKey));
    });
  }

  it("decide where requests go", async () => {
    const urls: [string, Partial<S3DatastoreOptions>][] = [
      ["https://my-bucket.s3.eu-central-1.amazonaws.com/a/b", {}],
      ["https://my-bucket.s3.cn-north-1.amazonaws.com.cn/a/b", { region: "cn-north-1" }],
      ["https://s3.eu-central-1.amazonaws.com/my.bucket/a/b", { bucket: "my.bucket" }],
      ["https://s3.eu-central-1.amazonaws.com/my-bucket/a/b", { style: "path" }],
      ["https://my-bucket.s3.eu-central-1.amazonaws.com/x/~.a/b", { prefix: "x/~." }],
      ["https://s3.example.com/my-bucket/a/b", { endpoint: "https://s3.example.com" }],
      ["http://localhost:9000/my-bucket/a/b", { endpoint: "http://localhost:9000/" }],
      ["https://example.com/storage/v1/s3/my-bucket/a/b", { endpoint: "https://example.com/storage/v1/s3/" }],
      ["https://my-bucket.example.com:8443/a/b", { endpoint: "https://example.com:8443", style: "virtual-host" }],
    ];
    for (const [url, options] of urls) {
      const { store, sent } = fake(stored, options);
      await store.putKey("a/b", new Uint8Array(1));
      assertEquals(sent.map((request) => request.url), [url]);
    }
  });
});

describe("the names of s3Datastore", () => {
  it("are refused before any request if a URL would change them", async () => {
    const { store, sent } = fake(() => new Response());
    for (
      const name of ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "a b", "é", "a%2Fb", "a?b", "x".repeat(901)]
    ) {
      for (
        const call of [
          () => store.putKey(name, new Uint8Array(1)),
          () => store.fetchKeys(["good", name]),
          () => store.hasKeys([name]),
          () => store.deleteKeys([name]),
        ]
      ) assertEquals([name, (await assertRejects(call, TundraError)).code], [name, "BAD_ARGUMENT"]);
    }
    assertEquals((await failure(store.putKey("a", "text" as unknown as Uint8Array))).code, "BAD_ARGUMENT");
    assertEquals((await failure(store.listKeys("a b"))).code, "BAD_ARGUMENT");
    assertEquals(sent.length, 0);
  });
});

describe("a request of s3Datastore", () => {
  it("is signed with its payload's hash, so that a server can refuse what was damaged", async () => {
    const { store, sent } = fake(stored, { sessionToken: "token0123" });
    await store.putKey("a", new TextEncoder().encode("hello"));
    const [{ headers, init, method }] = sent as [Sent];
    assertEquals(method, "PUT");
    assertEquals(
      headers.get("x-amz-content-sha256"),
      "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
    );
    assertEquals(headers.get("x-amz-checksum-sha256"), "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=");
    assertEquals(headers.get("x-amz-security-token"), "token0123");
    assert(
      /SignedHeaders=host;x-amz-checksum-sha256;x-amz-content-sha256;x-amz-date;x-amz-security-token,/.test(
        headers.get("authorization")!,
      ),
      headers.get("authorization")!,
    );
    assertEquals(init.redirect, "manual");
    assertFalse(JSON.stringify([...headers]).includes(OPTIONS.secretAccessKey));
  });

  it("brings no checksum that a gateway might not know", async () => {
    const { store, sent } = fake(stored, { endpoint: "https://s3.example.com" });
    await store.putKey("a", new Uint8Array(5));
    assertEquals(sent[0]!.headers.has("x-amz-checksum-sha256"), false);
    assertEquals(sent[0]!.headers.get("x-amz-content-sha256")!.length, 64);
  });

  it("asks for one byte to learn whether an object is there", async () => {
    const { store, sent } = fake(({ url }) => {
      if (url.endsWith("/none")) return refusal(404, "NoSuchKey");
      if (url.endsWith("/empty")) return refusal(416, "InvalidRange");
      if (url.endsWith("/whole")) return new Response(new Uint8Array(1000));
      return new Response(new Uint8Array(1), { status: 206, headers: { "content-range": "bytes 0-0/1000" } });
    });
    assertEquals(await store.hasKeys(["there", "none", "empty", "whole"]), [true, false, true, true]);
    assertEquals(
      sent.map(({ method, headers }) => [method, headers.get("range")]),
      Array(4).fill(["GET", "bytes=0-0"]),
    );
  });

  it("takes one listener of its signal, however many there are, and leaves none", async () => {
    const { store } = fake(async ({ url }, n) => {
      await new Promise((resolve) => setTimeout(resolve, 1));
      return n % 5 === 0 ? refusal(503, "SlowDown") : new Response(url.slice(-1));
    });
    const { signal } = new AbortController();
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    const listeners = new Set<unknown>();
    let most = 0;
    signal.addEventListener = (type: string, listener: EventListener, ...more: unknown[]) => {
      most = Math.max(most, listeners.add(listener).size);
      add(type, listener, ...more as []);
    };
    signal.removeEventListener = (type: string, listener: EventListener) => {
      listeners.delete(listener);
      remove(type, listener);
    };
    const names = Array.from({ length: 40 }, (_, i) => `a${i % 10}`);
    const slots = await store.fetchKeys(names, { signal });
    assertEquals(
      slots.map((slot) => new TextDecoder().decode(slot as Uint8Array)),
      names.map((name) => name.slice(-1)),
    );
    await store.putKey("a", new Uint8Array(1), { signal }).catch(() => {});
    assertEquals([most, listeners.size], [1, 0]);
  });

  it("is one of a bounded number at once; results keep their order, and one failure spoils one slot", async () => {
    let running = 0;
    let most = 0;
    const { store } = fake(async ({ url }) => {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setTimeout(resolve, 2));
      running--;
      const n = Number(url.slice(url.lastIndexOf("/") + 1));
      return n === 13 ? refusal(403, "AccessDenied") : new Response(Uint8Array.from([n]));
    }, { concurrency: 7 });
    const slots = await store.fetchKeys(Array.from({ length: 40 }, (_, i) => `n/${i}`));
    assertEquals(most, 7);
    assertInstanceOf(slots[13], TundraError);
    slots.splice(13, 1, Uint8Array.from([13]));
    assertEquals(slots, Array.from({ length: 40 }, (_, i) => Uint8Array.from([i])));
  });
});

describe("an answer to s3Datastore", () => {
  const cases: [status: number, code: string, error: string, retryable: boolean, requests: number][] = [
    [500, "InternalError", "UNAVAILABLE", true, 3],
    [503, "SlowDown", "UNAVAILABLE", true, 3],
    [503, "ServiceUnavailable", "UNAVAILABLE", true, 3],
    [502, "", "UNAVAILABLE", true, 3],
    [429, "TooManyRequests", "UNAVAILABLE", true, 3],
    [409, "OperationAborted", "UNAVAILABLE", true, 3],
    [400, "RequestTimeout", "UNAVAILABLE", true, 3],
    [400, "BadDigest", "UNAVAILABLE", true, 3],
    [400, "XAmzContentSHA256Mismatch", "UNAVAILABLE", true, 3],
    [401, "", "UNAVAILABLE", false, 1],
    [403, "AccessDenied", "UNAVAILABLE", false, 1],
    [403, "SignatureDoesNotMatch", "UNAVAILABLE", false, 1],
    [403, "InvalidAccessKeyId", "UNAVAILABLE", false, 1],
    [400, "ExpiredToken", "UNAVAILABLE", false, 1],
    [400, "AuthorizationHeaderMalformed", "UNAVAILABLE", false, 1],
    [404, "NoSuchBucket", "UNAVAILABLE", false, 1],
    [404, "", "UNAVAILABLE", false, 1],
    [301, "PermanentRedirect", "UNAVAILABLE", false, 1],
    [307, "TemporaryRedirect", "UNAVAILABLE", true, 3],
    [400, "InvalidArgument", "UNAVAILABLE", false, 1],
    [400, "KeyTooLongError", "UNSUPPORTED", false, 1],
    [400, "InvalidURI", "UNSUPPORTED", false, 1],
    [400, "XMinioInvalidObjectName", "UNSUPPORTED", false, 1],
    [414, "", "UNSUPPORTED", false, 1],
    [400, "MetadataTooLarge", "UNAVAILABLE", false, 1],
    [400, "InvalidStorageClass", "UNAVAILABLE", false, 1],
    [400, "KMS.DisabledException", "UNAVAILABLE", false, 1],
    [403, "QuotaExceeded", "UNAVAILABLE", false, 1],
    [403, "InvalidObjectState", "UNAVAILABLE", false, 1],
    [400, "", "UNAVAILABLE", false, 1],
    [501, "NotImplemented", "UNAVAILABLE", false, 1],
    [400, "InvalidRequest", "UNAVAILABLE", false, 1],
    [405, "MethodNotAllowed", "UNAVAILABLE", false, 1],
    [400, "EntityTooLarge", "TOO_LARGE", false, 1],
    [413, "", "TOO_LARGE", false, 1],
  ];
  for (const [status, code, expected, retryable, requests] of cases) {
    const again = requests > 1 ? "after retries" : "at once";
    it(`${status} ${code || "without a code"} is ${expected}, ${retryable ? "" : "not "}retryable, ${again}`, async () => {
      const { store, sent } = fake(() => code ? refusal(status, code) : new Response("oops", { status }), {
        retries: 2,
      });
      const errors = await Promise.all([
        failure(store.putKey("a", new Uint8Array(1))),
        store.fetchKeys(["a"]).then(([slot]) => slot),
        store.hasKeys(["a"]).then(([slot]) => slot),
        failure(store.deleteKeys(["a"])),
        failure(store.listKeys("")),
      ]);
      for (const error of errors) {
        assertInstanceOf(error, TundraError);
        assertEquals([error.code, error.retryable], [expected, retryable]);
        assert(error.message.includes(`${status} ${code || "without an S3 error code"}`), error.message);
      }
      assertEquals(sent.length, 5 * requests);
    });
  }

  it("404 NoSuchKey means absent, and only there", async () => {
    const { store, sent } = fake(() => refusal(404, "NoSuchKey"));
    const [slot] = await store.fetchKeys(["a/b"]);
    assertInstanceOf(slot, TundraError);
    assertEquals(slot.code, "NOT_FOUND");
    assert(slot.message.includes('"a/b"'), slot.message);
    assertEquals(await store.hasKeys(["a"]), [false]);
    assertEquals(await store.deleteKeys(["a"]), undefined);
    assertEquals((await failure(store.putKey("a", new Uint8Array(1)))).code, "UNAVAILABLE");
    assertEquals((await failure(store.listKeys(""))).code, "UNAVAILABLE");
    assertEquals(sent.length, 5);
  });

  it("to a PUT that is a page proves nothing was stored", async () => {
    const { store, sent } = fake(() => new Response("<html>Welcome to our hotel's network!</html>"), { retries: 1 });
    const error = await failure(store.putKey("a", new Uint8Array(1)));
    assertEquals([error.code, error.retryable, sent.length], ["UNAVAILABLE", true, 2]);
  });

  it("names the region that a bucket is in", async () => {
    const { store } = fake(() =>
      new Response(errorXml("PermanentRedirect"), { status: 301, headers: { "x-amz-bucket-region": "us-west-2" } })
    );
    assert((await failure(store.listKeys(""))).message.includes("the bucket is in region us-west-2"));
  });

  it("never carries a secret into a message, even if a server or fetch repeats it", async () => {
    const { secretAccessKey, accessKeyId } = OPTIONS;
    const text = `denied: ${secretAccessKey} ${accessKeyId} token0123456789`;
    const server = fake(() => new Response(errorXml("AccessDenied", text), { status: 403 }), {
      sessionToken: "token0123456789",
    });
    const network = fake(() => Promise.reject(new TypeError("fetch failed", { cause: new Error(text) })), {
      sessionToken: "token0123456789",
      retries: 0,
    });
    for (const { store } of [server, network]) {
      const { message } = await failure(store.putKey("a", new Uint8Array(1)));
      assert(message.includes("denied: *** *** ***"), message);
    }
  });

  it("that is lost is asked for again, a bounded number of times within seconds", async () => {
    const { store, sent } = fake(() => Promise.reject(new TypeError("connection reset")), { retries: 10 });
    const from = performance.now();
    const error = await failure(store.putKey("a", new Uint8Array(1)));
    const ms = performance.now() - from;
    assertEquals([error.code, error.retryable], ["UNAVAILABLE", true]);
    assert(error.message.includes("connection reset"), error.message);
    assert(sent.length > 4 && sent.length <= 11 && ms < 8000, `${sent.length} requests in ${ms} ms`);
  });

  it("that never comes is given up, even if fetch ignores its signal", async () => {
    const signals: AbortSignal[] = [];
    const { store, sent } = fake(({ init }) => {
      signals.push(init.signal!);
      return new Promise(() => {});
    }, { timeoutMs: 30, retries: 1 });
    const [slot] = await store.fetchKeys(["a"]);
    assertInstanceOf(slot, TundraError);
    assertEquals([slot.code, slot.retryable], ["UNAVAILABLE", true]);
    assert(slot.message.includes("no progress in 30 ms"), slot.message);
    assertEquals([sent.length, signals.map((signal) => signal.aborted)], [2, [true, true]]);
  });

  it("that comes slowly but steadily may take longer than the time limit, one that stops may not", async () => {
    const dripping = (chunks: number) =>
      new ReadableStream<Uint8Array>({
        async pull(controller) {
          if (chunks-- === 0) return await new Promise(() => {});
          await new Promise((resolve) => setTimeout(resolve, 40));
          controller.enqueue(new Uint8Array(10));
          if (chunks === 0 && !stops) controller.close();
        },
      });
    let stops = false;
    const { store } = fake(() => new Response(dripping(6)), { timeoutMs: 150, retries: 0 });
    assertEquals(await store.fetchKeys(["a"]), [new Uint8Array(60)]);
    stops = true;
    const [slot] = await store.fetchKeys(["a"]);
    assertInstanceOf(slot, TundraError);
    assertEquals(slot.code, "UNAVAILABLE");
  });

  it("that says the clock is wrong is believed once; without the server's time not at all", async () => {
    const hour = 3_600_000;
    const at = (offsetMs: number) => new Date(Date.now() + offsetMs).toUTCString();
    const skewed = (date?: string, xmlDate = "") =>
      new Response(
        `<Error><Code>RequestTimeTooSkewed</Code>${xmlDate && `<ServerTime>${xmlDate}</ServerTime>`}</Error>`,
        { status: 403, headers: date ? { date } : {} },
      );
    const never = fake(() => skewed(at(hour)));
    const error = await failure(never.store.putKey("a", new Uint8Array(1)));
    assertEquals([error.code, error.retryable, never.sent.length], ["UNAVAILABLE", true, 2]);
    const signedAt = never.sent.map(({ headers }) =>
      Date.parse(
        headers.get("x-amz-date")!.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, "$1-$2-$3T$4:$5:$6Z"),
      )
    );
    assert(Math.abs(signedAt[1]! - signedAt[0]! - hour) < 10_000, String(signedAt));
    const inBody = fake((_, n) => n === 0 ? skewed(undefined, new Date(Date.now() - hour).toISOString()) : stored());
    await inBody.store.putKey("a", new Uint8Array(1));
    assertEquals(inBody.sent.length, 2);
    const silent = fake(() => skewed());
    await failure(silent.store.putKey("a", new Uint8Array(1)));
    assertEquals(silent.sent.length, 1);
  });
});

describe("a listing of s3Datastore", () => {
  it("asks for its page and reads escaped names and cursors", async () => {
    const { store, sent } = fake(() =>
      listing(
        "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>" +
          "<Contents><Key>t/a%7Eb+c%26</Key><Size>1</Size></Contents><Contents>\n <Key>t/a~d</Key></Contents>" +
          "<NextContinuationToken>1/+=&amp;&#x41;&#66;</NextContinuationToken>",
      ), { prefix: "t/" });
    assertEquals(await store.listKeys("a~", "x/+="), { names: ["a~b c&", "a~d"], cursor: "1/+=&AB" });
    const url = new URL(sent[0]!.url);
    assertEquals(Object.fromEntries(url.searchParams), {
      "list-type": "2",
      "encoding-type": "url",
      prefix: "t/a~",
      "continuation-token": "x/+=",
    });
    assertEquals(url.pathname, "/");
  });

  it("takes names as they are if the server does not escape them", async () => {
    const { store } = fake(() => listing("<IsTruncated>false</IsTruncated><Contents><Key>a%7E+b&lt;</Key></Contents>"));
    assertEquals(await store.listKeys(""), { names: ["a%7E+b<"] });
  });

  it("never passes over a rest in silence", async () => {
    const bad = [
      "",
      "<html>Welcome!</html>",
      '<ListBucketResult xmlns="x"><IsTruncated>false</IsTruncated><Contents><Key>a</Key>',
      "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
      "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken></NextContinuationToken></ListBucketResult>",
      "<ListBucketResult></ListBucketResult>",
      "<ListBucketResult><IsTruncated>false</IsTruncated><Contents></Contents></ListBucketResult>",
      "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated><Contents><Key>%E9</Key></Contents></ListBucketResult>",
    ];
    for (const body of bad) {
      const error = await failure(fake(() => new Response(body)).store.listKeys(""));
      assertEquals([body, error.code, error.retryable], [body, "UNAVAILABLE", true]);
    }
  });
});

describe("the XML reader", () => {
  it("finds elements, and reads text with its entities", () => {
    assertEquals(xmlElements("<a>1</a><ab>2</ab><a></a><a>3", "a"), ["1", ""]);
    assertEquals(
      xmlText("<a>&lt;&amp;lt;&gt;&quot;&apos;&#65;&#x42;&#x1F427;&none;&#x110000;</a>", "a"),
      `<&lt;>"'AB🐧&none;&#x110000;`,
    );
    assertEquals(xmlText("<b>1</b>", "a"), undefined);
  });
});
