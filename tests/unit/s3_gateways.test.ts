/** `s3Datastore` with servers, gateways, platforms and settings that are in use. */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { describe, it } from "node:test";
import {
  assert,
  assertEquals,
  assertFalse,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { TundraError } from "../../src/base/errors.ts";
import { s3Datastore, type S3DatastoreOptions } from "../../src/datastores/s3/datastore.ts";
import { contentMd5 } from "../../src/datastores/s3/md5.ts";
import { seededRandom } from "../support/random.ts";

interface Sent {
  url: string;
  method: string;
  headers: Headers;
  init: RequestInit;
  body: string;
}

const KEYS = { accessKeyId: "AKIAEXAMPLE012345678", secretAccessKey: "secret/access+key/0123456789012345678901" };
const PLACE = { region: "eu-central-1", bucket: "my-bucket" };
const ETAG = { etag: '"0"' };
const stored = () => new Response(null, { headers: ETAG });
const refusal = (status: number, code: string, message = "") =>
  new Response(`<Error><Code>${code}</Code><Message>${message}</Message></Error>`, { status });
const one = new Uint8Array(1);

function fake(
  answer: (sent: Sent, n: number) => Response | Promise<Response>,
  options: Partial<S3DatastoreOptions> = KEYS,
) {
  const sent: Sent[] = [];
  const send = ((input: unknown, init: RequestInit = {}) => {
    const body = init.body === undefined ? "" : new TextDecoder().decode(init.body as Uint8Array<ArrayBuffer>);
    const request = { url: String(input), method: init.method!, headers: new Headers(init.headers), init, body };
    sent.push(request);
    return Promise.resolve(answer(request, sent.length - 1));
  }) as typeof fetch;
  return { sent, store: s3Datastore({ ...PLACE, retries: 0, fetch: send, ...options }) };
}

async function failure(promise: Promise<unknown>): Promise<TundraError> {
  return await assertRejects(() => promise, TundraError);
}

function refused(options: Record<string, unknown>): string {
  const error = assertThrows(() => s3Datastore({ ...PLACE, ...KEYS, ...options } as S3DatastoreOptions), TundraError);
  assertEquals(error.code, "BAD_ARGUMENT");
  return error.message;
}

describe("an upload", () => {
  const unproven: [string, () => Response][] = [
    ["202", () => new Response(null, { status: 202, headers: ETAG })],
    ["204", () => new Response(null, { status: 204, headers: ETAG })],
    ["200 without an ETag", () => new Response(null)],
    ["200 with an empty ETag", () => new Response(null, { headers: { etag: "" } })],
    ["200 with a body", () => new Response("ok", { headers: ETAG })],
    ["a web page", () => new Response(null, { headers: { ...ETAG, "content-type": "text/html; charset=utf-8" } })],
  ];
  for (const [what, answer] of unproven) {
    it(`answered by ${what} is not stored`, async () => {
      const { store } = fake(answer);
      const error = await failure(store.putKey("a", one));
      assertEquals([error.code, error.retryable], ["UNAVAILABLE", true]);
    });
  }

  it("is stored if S3 answers 200 and an ETag", async () => {
    assertEquals(await fake(stored).store.putKey("a", one), true);
  });

  it("carries the checksum that it was told to", async () => {
    const cases: [Partial<S3DatastoreOptions>, md5: boolean, sha256: boolean][] = [
      [{}, false, true],
      [{ endpoint: "https://s3.example.com" }, false, false],
      [{ endpoint: "https://s3.example.com", checksum: "md5" }, true, false],
      [{ endpoint: "https://s3.example.com", checksum: "sha256" }, false, true],
      [{ checksum: "md5" }, true, false],
      [{ checksum: "none" }, false, false],
    ];
    for (const [options, md5, sha256] of cases) {
      const { store, sent } = fake(stored, { ...KEYS, ...options });
      await store.putKey("a", new TextEncoder().encode("hello"));
      const { headers } = sent[0]!;
      assertEquals(headers.get("content-md5"), md5 ? "XUFAKrxLKna5cZ2REBfFkg==" : null);
      assertEquals(headers.has("x-amz-checksum-sha256"), sha256);
      if (md5) assertStringIncludes(headers.get("authorization")!, "content-md5;");
    }
  });

  it("brings its headers, signed; other requests do not", async () => {
    const headers = {
      "X-Amz-Storage-Class": "STANDARD_IA",
      "x-amz-tagging": "a=1&b=2",
      "content-type": "application/cbor",
    };
    const { store, sent } = fake(({ method }) => method === "PUT" ? stored() : new Response(one), { ...KEYS, headers });
    await store.putKey("a", one);
    await store.fetchKeys(["a"]);
    const [put, get] = sent as [Sent, Sent];
    assertEquals(put.headers.get("x-amz-storage-class"), "STANDARD_IA");
    assertEquals(put.headers.get("content-type"), "application/cbor");
    assert(/SignedHeaders=[^,]*x-amz-storage-class;x-amz-tagging/.test(put.headers.get("authorization")!));
    assertFalse(get.headers.has("x-amz-storage-class"));
  });

  it("takes no header that is Tundra's own, or that reads would need", () => {
    const bad = [
      ...["host", "authorization", "x-amz-date", "X-Amz-Content-Sha256", "x-amz-security-token", "content-length"],
      ...["x-amz-checksum-crc32", "if-none-match", "range", "content-encoding", "x-amz-copy-source", "", "a b", "x-é"],
      ...["x-amz-server-side-encryption-customer-key", "expect", "content-md5"],
    ];
    for (const name of bad) assertStringIncludes(refused({ headers: { [name]: "v" } }), "a name in headers");
    for (const value of ["", " v", "v\n", "é", 7, undefined]) {
      const message = refused({ headers: { "x-amz-meta-a": value } });
      assertStringIncludes(message, "printable ASCII");
    }
  });
});

describe("MD5", () => {
  it("is what it is: 100 random inputs", () => {
    const random = seededRandom("md5");
    for (let i = 0; i < 100; i++) {
      const bytes = Uint8Array.from({ length: random.int(300) }, () => random.int(256));
      assertEquals(contentMd5(bytes), createHash("md5").update(bytes).digest("base64"));
    }
  });
});

describe("a deletion of many objects", () => {
  const names = (n: number) => Array.from({ length: n }, (_, i) => `n/${i}`);
  const keysOf = (body: string) => [...body.matchAll(/<Key>([^<]+)<\/Key>/g)].map((match) => match[1]!);
  const deleted = (body: string, refusals: Record<string, string> = {}) =>
    new Response(
      `<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${
        keysOf(body).map((key) =>
          refusals[key]
            ? `<Error><Key>${key}</Key><Code>${refusals[key]}</Code><Message>why</Message></Error>`
            : `<Deleted><Key>${key}</Key></Deleted>`
        ).join("")
      }</DeleteResult>`,
    );

  it("is a request for 1,000, with a checksum, prefix included", async () => {
    for (const options of [{}, { endpoint: "https://s3.example.com" }]) {
      const { store, sent } = fake(({ body }) => deleted(body), { ...KEYS, prefix: "t/", ...options });
      await store.deleteKeys(names(1500));
      assertEquals(sent.map(({ method, body }) => [method, keysOf(body).length]), [["POST", 1000], ["POST", 500]]);
      assertEquals(keysOf(sent[1]!.body)[0], "t/n/1000");
      for (const { url, headers, body } of sent) {
        assert(url.endsWith(options.endpoint ? "s3.example.com/my-bucket?delete=" : "amazonaws.com/?delete="), url);
        const { endpoint } = options as { endpoint?: string };
        assertEquals(
          endpoint ? headers.get("content-md5") : headers.get("x-amz-checksum-sha256"),
          createHash(endpoint ? "md5" : "sha256").update(Buffer.from(body)).digest("base64"),
        );
      }
    }
  });

  it("is a DELETE for one", async () => {
    const { store, sent } = fake(() => new Response(null, { status: 204 }));
    await store.deleteKeys(["a"]);
    assertEquals(sent.map(({ method }) => method), ["DELETE"]);
  });

  it("names what S3 refuses, and by its code who must do something; the others are gone", async () => {
    const { store, sent } = fake(({ body }) => deleted(body, { "n/1": "AccessDenied", "n/3": "AccessDenied" }));
    const error = await failure(store.deleteKeys(names(5)));
    assertEquals([error.code, error.retryable, error.keys], ["UNAVAILABLE", false, ["n/1", "n/3"]]);
    assertEquals(Object.keys(error.causes), ["n/1", "n/3"]);
    assertStringIncludes(error.message, 'delete "n/1"');
    assertStringIncludes(error.message, "AccessDenied: why (and 1 more)");
    assertEquals(sent.length, 1);
  });

  it("takes what a gateway does not have for deleted", async () => {
    const { store, sent } = fake(({ body }) => deleted(body, { "n/1": "NoSuchKey" }));
    await store.deleteKeys(names(3));
    assertEquals(sent.length, 1);
  });

  it("tries one by one what failed for a moment, and what was not mentioned", async () => {
    const { store, sent } = fake(
      ({ method, body }) =>
        method === "POST"
          ? deleted(body.replace("<Object><Key>n/2</Key></Object>", ""), { "n/1": "InternalError" })
          : new Response(null, { status: 204 }),
      { ...KEYS, concurrency: 1 },
    );
    await store.deleteKeys(names(4));
    assertEquals(sent.slice(1).map(({ method, url }) => [method, url.slice(-3)]), [["DELETE", "n/1"], [
      "DELETE",
      "n/2",
    ]]);
  });

  const unable: [string, () => Response][] = [
    ["501 NotImplemented", () => refusal(501, "NotImplemented")],
    ["405 without a code", () => new Response(null, { status: 405 })],
    ["400 MissingContentMD5", () => refusal(400, "MissingContentMD5")],
    ["400 MalformedXML", () => refusal(400, "MalformedXML")],
    ["404 without a code", () => new Response("no", { status: 404 })],
    ["another success", () => new Response("<ok/>")],
  ];
  for (const [what, answer] of unable) {
    it(`goes one by one if a gateway cannot (${what}), and remembers that`, async () => {
      const { store, sent } = fake(({ method }) => method === "POST" ? answer() : new Response(null, { status: 204 }));
      await store.deleteKeys(names(3));
      await store.deleteKeys(names(3));
      assertEquals(sent.map(({ method }) => method), ["POST", ...Array(6).fill("DELETE")]);
    });
  }

  it("that failed as a whole deletes nothing one by one: rights, the bucket", async () => {
    for (const [status, code] of [[403, "AccessDenied"], [404, "NoSuchBucket"]] as const) {
      const { store, sent } = fake(() => refusal(status, code));
      const error = await failure(store.deleteKeys(names(3)));
      assertEquals([error.code, error.retryable, sent.length], ["UNAVAILABLE", false, 1]);
    }
  });
});

describe("a listing", () => {
  const listing = (keys: string[], more = "") =>
    new Response(
      `<ListBucketResult>${more}<IsTruncated>false</IsTruncated>${
        keys.map((key) => `<Contents><Key>${key}</Key></Contents>`).join("")
      }</ListBucketResult>`,
    );

  it("whose names are escaped though it does not say so is understood", async () => {
    const { store } = fake(() => listing(["t%2Fq%2Fa.3Ab%7Ec%2F1", "t%2Fq%2Fb%2F1"]), { ...KEYS, prefix: "t/" });
    assertEquals(await store.listKeys("q/"), { names: ["q/a.3Ab~c/1", "q/b/1"] });
    const partly = fake(() => listing(["q/a%7Eb/1", "q/b/1"]));
    assertEquals(await partly.store.listKeys("q/"), { names: ["q/a~b/1", "q/b/1"] });
  });

  it("is refused if a name does not begin as asked for, never partly ignored", async () => {
    for (const names of [["other/1"], ["q/a/1", "r/a/1"], ["Q/a/1"], ["q%2"], ["q%252Fa"]]) {
      for (const more of ["", "<EncodingType>url</EncodingType>"]) {
        const error = await failure(fake(() => listing(names, more)).store.listKeys("q/"));
        assertEquals([error.code, error.retryable], ["UNAVAILABLE", true]);
      }
    }
  });

  it("asks the bucket as SDKs do, without a slash behind its name", async () => {
    const { store, sent } = fake(() => listing([]), { ...KEYS, endpoint: "https://s3.example.com/storage/" });
    await store.listKeys("q/");
    assert(sent[0]!.url.startsWith("https://s3.example.com/storage/my-bucket?list-type=2&"), sent[0]!.url);
  });
});

describe("an endpoint", () => {
  it("that ends or begins with the bucket is refused, with the right value", () => {
    const cases: [string, string][] = [
      ["https://abc.r2.cloudflarestorage.com/my-bucket", "use https://abc.r2.cloudflarestorage.com"],
      ["https://abc.r2.cloudflarestorage.com/my-bucket/", "use https://abc.r2.cloudflarestorage.com"],
      ["https://h.example:9000/storage/my-bucket", "use https://h.example:9000/storage"],
      ["https://my-bucket.s3.eu-central-1.amazonaws.com", "use https://s3.eu-central-1.amazonaws.com"],
      ["https://my-bucket.ams3.digitaloceanspaces.com", "use https://ams3.digitaloceanspaces.com"],
    ];
    for (const [endpoint, says] of cases) assertStringIncludes(refused({ endpoint }), says);
    const fine = [
      "https://my-bucket.example.com",
      "https://s3.example.com/my-bucket-2",
      "https://my-bucket-s3.example.com",
    ];
    for (const endpoint of fine) s3Datastore({ ...PLACE, ...KEYS, endpoint });
  });

  it("without https:// is told so, and shown without credentials", () => {
    const start = "endpoint must be a URL http(s)://host[:port][/path]: current value is ";
    const cases: [string, string][] = [
      ["s3.example.com", "without http:// or https://, such as https://s3.example.com"],
      ["localhost:9000", "without http:// or https://, such as https://localhost:9000"],
      ["user:topsecret@s3.example.com/x?key=topsecret", "without http:// or https://, such as https://s3.example.com"],
      ["https://user:topsecret@s3.example.com", "https://s3.example.com with credentials before it"],
      ["https://s3.example.com/?token=topsecret", "https://s3.example.com with a query or fragment behind it"],
      ["ftp://s3.example.com", "none"],
      ["topsecret topsecret", "none"],
      ["", "empty"],
    ];
    for (const [endpoint, says] of cases) {
      const message = refused({ endpoint });
      assertStringIncludes(message, start + says);
      assertFalse(message.includes("topsecret"));
    }
  });

  it("that redirects: the error shows the new address without its query", async () => {
    const { store } = fake(() =>
      new Response(null, { status: 308, headers: { location: "https://s3.example.com/my-bucket/a?sig=topsecret" } })
    );
    const error = await failure(store.putKey("a", one));
    assertEquals([error.code, error.retryable], ["UNAVAILABLE", false]);
    assertStringIncludes(error.message, "it redirects to https://s3.example.com/my-bucket/a: use that as the endpoint");
    assertFalse(error.message.includes("topsecret"));
  });

  it("that is a web page is no S3: nothing is absent, nothing was stored or deleted", async () => {
    const { store } = fake(() =>
      new Response("<html>Hello</html>", { headers: { "content-type": "text/html", ...ETAG } })
    );
    const errors = [
      await failure(store.putKey("a", one)),
      ...await store.fetchKeys(["a"]),
      ...await store.hasKeys(["a"]),
      await failure(store.deleteKeys(["a"])),
      await failure(store.listKeys("a")),
    ];
    for (const error of errors) {
      assertInstanceOf(error, TundraError);
      assertEquals(error.code, "UNAVAILABLE");
      assertStringIncludes(error.message, "is the endpoint an S3 server?");
    }
  });
});

describe("credentials", () => {
  type Given = { accessKeyId: string; secretAccessKey: string; sessionToken?: string; expiration?: Date };
  const made = (n: number, expiration?: Date): Given => ({
    accessKeyId: `KEY${n}KEY`,
    secretAccessKey: `secret-number-${n}`,
    sessionToken: `token-number-${n}`,
    expiration,
  });
  const keyOf = ({ headers }: Sent) => /Credential=([^/]+)/.exec(headers.get("authorization")!)![1];

  it("from a function are asked for once, also by many requests at once", async () => {
    let asked = 0;
    const { store, sent } = fake(() => new Response(one), {
      credentials: async () => {
        await new Promise((resolve) => setTimeout(resolve, 2));
        return made(++asked);
      },
    });
    assertEquals(asked, 0);
    await store.fetchKeys(["a", "b", "c"]);
    await store.fetchKeys(["a"]);
    assertEquals([asked, sent.length, new Set(sent.map(keyOf))], [1, 4, new Set(["KEY1KEY"])]);
    assertEquals(sent[0]!.headers.get("x-amz-security-token"), "token-number-1");
  });

  it("are asked for again once S3 calls them expired, and before their end", async () => {
    for (const code of ["ExpiredToken", "TokenRefreshRequired"]) {
      let asked = 0;
      const { store, sent } = fake(
        (request) => keyOf(request) === "KEY1KEY" ? refusal(400, code) : stored(),
        { credentials: () => made(++asked) },
      );
      await store.putKey("a", one);
      await store.putKey("b", one);
      assertEquals([asked, sent.map(keyOf)], [2, ["KEY1KEY", "KEY2KEY", "KEY2KEY"]]);
    }
    let asked = 0;
    const minutes = [4, 6, 60];
    const { store } = fake(stored, {
      credentials: () => made(asked, new Date(Date.now() + minutes[asked++]! * 60_000)),
    });
    for (let i = 0; i < 4; i++) await store.putKey("a", one);
    assertEquals(asked, 2);
  });

  it("that are expired when they come are asked for twice, no more, and a person must look", async () => {
    let asked = 0;
    const { store, sent } = fake(() => refusal(400, "ExpiredToken"), { credentials: () => made(++asked) });
    const error = await failure(store.putKey("a", one));
    assertEquals([error.code, error.retryable, asked, sent.length], ["UNAVAILABLE", false, 2, 2]);
  });

  it("that cannot be had, or are none, are UNAVAILABLE, and show nothing", async () => {
    const cases: [() => Given, retryable: boolean][] = [
      [() => {
        throw new Error("STS refuses topsecret");
      }, true],
      [() => undefined as unknown as Given, false],
      [() => ({ accessKeyId: "a", secretAccessKey: "topsecret\n" }), false],
    ];
    for (const [credentials, retryable] of cases) {
      const { store, sent } = fake(stored, { credentials });
      const error = await failure(store.putKey("a", one));
      assertEquals([error.code, error.retryable, sent.length], ["UNAVAILABLE", retryable, 0]);
      assertFalse(error.message.includes("topsecret"));
    }
  });

  it("never come into a message, also those that were replaced", async () => {
    let asked = 0;
    const { store } = fake(() => refusal(403, "ExpiredToken", "secret-number-1 secret-number-2 token-number-1"), {
      credentials: () => made(++asked),
    });
    assertStringIncludes((await failure(store.putKey("a", one))).message, "*** *** ***");
  });

  it("are one or the other", () => {
    assertStringIncludes(refused({ credentials: () => KEYS }), "must not stand beside credentials");
  });
});

describe("s3Datastore", () => {
  it("refuses options that nobody reads", () => {
    assertStringIncludes(refused({ Endpoint: "https://s3.example.com" }), "an option must be one of endpoint, region");
  });

  it("asks for a tenant's bucket", async () => {
    const { store, sent } = fake(stored, { ...KEYS, bucket: "tenant:my-bucket", endpoint: "https://ceph.example.com" });
    await store.putKey("a", one);
    assertEquals(sent[0]!.url, "https://ceph.example.com/tenant:my-bucket/a");
    await fake(stored, { ...KEYS, bucket: ":my-bucket", endpoint: "https://ceph.example.com" }).store.putKey("a", one);
  });

  it("asks not to be cached, but on workerd, which refuses the option", async () => {
    const { store, sent } = fake(() => new Response(one));
    await store.fetchKeys(["a"]);
    assertEquals(sent[0]!.init.cache, "no-store");
    const own = Object.getOwnPropertyDescriptor(globalThis, "navigator");
    Object.defineProperty(globalThis, "navigator", { value: { userAgent: "Cloudflare-Workers" }, configurable: true });
    try {
      await store.fetchKeys(["a"]);
    } finally {
      if (own) Object.defineProperty(globalThis, "navigator", own);
      else delete (globalThis as { navigator?: unknown }).navigator;
    }
    assertFalse("cache" in sent[1]!.init);
  });

  it("says of an object in Glacier what to do, with S3's word", async () => {
    const { store } = fake(() =>
      refusal(403, "InvalidObjectState", "The operation is not valid for the object's storage class")
    );
    const [slot] = await store.fetchKeys(["a"]);
    assertInstanceOf(slot, TundraError);
    assertEquals([slot.code, slot.retryable], ["UNAVAILABLE", false]);
    assertStringIncludes(slot.message, "not valid for the object's storage class");
    assertStringIncludes(slot.message, "restore it (RestoreObject)");
  });
});
