/** `fetchRanges` of `s3Datastore`: what each answer of a server or gateway to a range proves. */
import { describe, it } from "node:test";
import { assert, assertEquals, assertInstanceOf, assertLess, assertStringIncludes } from "@std/assert";
import { notFound, TundraError } from "../../src/base/errors.ts";
import { s3Datastore, type S3DatastoreOptions } from "../../src/datastores/s3/datastore.ts";

const OPTIONS = { region: "eu-central-1", bucket: "my-bucket", accessKeyId: "AKIAEXAMPLE", secretAccessKey: "secret" };
const OBJECT = Uint8Array.from({ length: 100 }, (_, i) => i);
const READ = { name: "a/b", offset: 10, length: 5 };
const RANGE = OBJECT.slice(10, 15);

type Answer = (n: number, init: RequestInit, url: string) => Response;

/** A store whose requests `answer` answers, and their Range headers. */
function fake(answer: Answer, options: Partial<S3DatastoreOptions> = {}) {
  const ranges: (string | null)[] = [];
  const send = ((input: unknown, init: RequestInit) => {
    ranges.push(new Headers(init.headers).get("range"));
    return Promise.resolve(answer(ranges.length - 1, init, String(input)));
  }) as typeof fetch;
  return { ranges, store: s3Datastore({ ...OPTIONS, retries: 1, concurrency: 1, fetch: send, ...options }) };
}

const partial = (body: BodyInit | null, contentRange: string | undefined, more: Record<string, string> = {}) =>
  new Response(body, { status: 206, headers: { ...(contentRange && { "content-range": contentRange }), ...more } });
const right = () => partial(RANGE, "bytes 10-14/100");
const refusal = (status: number, code: string) =>
  new Response(code && `<Error><Code>${code}</Code><Message></Message></Error>`, { status });

/** The one error of this answer, and how many requests led to it. */
async function failure(answer: () => Response): Promise<{ error: TundraError; requests: number }> {
  const { store, ranges } = fake(answer);
  const [error] = await store.fetchRanges([READ]);
  assertInstanceOf(error, TundraError);
  return { error, requests: ranges.length };
}

describe("a range of s3Datastore", () => {
  it("is asked for by its first and last byte, one request each, and 206 with that Content-Range is it", async () => {
    const { store, ranges } = fake((_, init) => {
      const [from, to] = /(\d+)-(\d+)/.exec(new Headers(init.headers).get("range")!)!.slice(1).map(Number);
      return partial(OBJECT.slice(from, to! + 1), `bytes ${from}-${to}/100`);
    });
    const slots = await store.fetchRanges([
      READ,
      { ...READ, offset: 0, length: 1 },
      { ...READ, offset: 0, length: 100 },
      { ...READ, offset: 99, length: 1 },
    ]);
    assertEquals(slots, [RANGE, OBJECT.slice(0, 1), OBJECT, OBJECT.slice(99)]);
    assertEquals(ranges, ["bytes=10-14", "bytes=0-0", "bytes=0-99", "bytes=99-99"]);
  });

  it("is believed whatever size of the object the server says or does not know", async () => {
    for (const size of ["100", "15", "*"]) {
      assertEquals(await fake(() => partial(RANGE, `bytes 10-14/${size}`)).store.fetchRanges([READ]), [RANGE]);
    }
  });

  it("is cut out of the whole object if the server does not know ranges, however it arrives", async () => {
    for (const piece of [1, 3, 5, 7, 10, 15, 16, 99, 100]) {
      for (const length of [READ.length, 90]) {
        const { store, ranges } = fake(() => new Response(inPieces(piece), { headers: { "content-length": "100" } }));
        const slots = await store.fetchRanges([{ ...READ, length }]);
        assertEquals([piece, slots, ranges.length], [piece, [OBJECT.slice(10, 10 + length)], 1]);
      }
    }
  });

  it("is all that is read of a whole object: what comes behind it is not waited for", async () => {
    let pulled = 0;
    let cancelled = false;
    const long = new ReadableStream<Uint8Array>({
      pull(controller) {
        controller.enqueue(new Uint8Array(1000).fill(pulled++));
        if (pulled === 100) controller.close();
      },
      cancel() {
        cancelled = true;
      },
    });
    const { store } = fake(() => new Response(long));
    assertEquals(await store.fetchRanges([{ name: "a", offset: 2999, length: 2 }]), [Uint8Array.from([2, 3])]);
    assertLess(pulled, 10);
    assert(cancelled, "the connection must be freed");
  });

  it("that is absent is NOT_FOUND only if S3 says so of the object", async () => {
    const { error, requests } = await failure(() => refusal(404, "NoSuchKey"));
    assertEquals([error.code, error.message, requests], ["NOT_FOUND", notFound("a/b").message, 1]);
    const unknown: [number, string][] = [[404, "NoSuchBucket"], [404, ""]];
    for (const [status, code] of [...unknown, [403, "AccessDenied"]] as [number, string][]) {
      const { error, requests } = await failure(() => refusal(status, code));
      assertEquals([status, error.code, error.retryable, requests], [status, "UNAVAILABLE", false, 1]);
    }
  });

  it("behind the object's end is CORRUPT at once: no retry makes an object longer", async () => {
    for (const [length, size] of [[4, 14], [1, 11], [4, 13]] as const) {
      const { error, requests } = await failure(() =>
        partial(OBJECT.slice(10, 10 + length), `bytes 10-${9 + length}/${size}`)
      );
      assertEquals([error.code, error.retryable, requests], ["CORRUPT", false, 1]);
      assertStringIncludes(error.message, `an object of ${size} bytes`);
    }
    for (const code of ["InvalidRange", ""]) {
      const { error, requests } = await failure(() => refusal(416, code));
      assertEquals([error.code, error.retryable, requests], ["CORRUPT", false, 1]);
    }
    const whole = (bytes: Uint8Array<ArrayBuffer>) =>
      new Response(bytes, { headers: { etag: '"1"', "content-length": String(bytes.length) } });
    const { error, requests } = await failure(() => whole(OBJECT.slice(0, 14)));
    assertEquals([error.code, error.retryable, requests], ["CORRUPT", false, 1]);
    assertStringIncludes(error.message, "an object of 14 bytes");
  });

  const doubtful: [string, () => Response, string][] = [
    ["206 without a Content-Range", () => partial(RANGE, undefined), "206 with the Content-Range null"],
    ["206 of a range that begins elsewhere", () => partial(RANGE, "bytes 9-13/100"), '"bytes 9-13/100"'],
    ["206 of a range that ends earlier", () => partial(RANGE.slice(1), "bytes 10-13/100"), '"bytes 10-13/100"'],
    ["206 of a range that ends later", () => partial(OBJECT.slice(10, 16), "bytes 10-15/100"), '"bytes 10-15/100"'],
    ["206 of a range whose end only begins so", () => partial(RANGE, "bytes 10-140/1000"), '"bytes 10-140/1000"'],
    ["206 of a range in another unit", () => partial(RANGE, "lines 10-14/100"), '"lines 10-14/100"'],
    ["206 of several ranges", () => partial(RANGE, undefined, { "content-type": "multipart/byteranges" }), "null"],
    ["206 with a short body", () => partial(RANGE.slice(1), "bytes 10-14/100"), "ended after 4 bytes: 5 were"],
    ["206 with no body", () => partial(null, "bytes 10-14/100"), "ended after 0 bytes: 5 were"],
    ["206 with a long body", () => partial(OBJECT, "bytes 10-14/100"), "did not end after 5 bytes"],
    [
      "206 with a body that is shorter than it says",
      () => partial(RANGE, "bytes 10-14/100", { "content-length": "6" }),
      'ended after 5 of "6" bytes',
    ],
    ["200 with a Content-Range", () => new Response(RANGE, { headers: { "content-range": "bytes 10-14/100" } }), "200"],
    ["200 with the bytes of the range alone", () => new Response(RANGE), "ended after 5 bytes: 15 were expected"],
    ["200 with an object that is too short", () => new Response(OBJECT.slice(0, 14)), "after 14 bytes: 15 were"],
    ["200 with nothing", () => new Response(null), "after 0 bytes: 15 were expected"],
    [
      "a web page",
      () => new Response("<html>Welcome to our hotel's network!", { headers: { "content-type": "text/html" } }),
      "is the endpoint an S3 server?",
    ],
    ["202", () => new Response(RANGE, { status: 202, headers: { "content-range": "bytes 10-14/100" } }), "202"],
    ["204", () => new Response(null, { status: 204 }), "204"],
    ["503", () => refusal(503, "SlowDown"), "503 SlowDown"],
  ];
  for (const [what, answer, says] of doubtful) {
    it(`answered by ${what} is asked for again, and UNAVAILABLE in the end`, async () => {
      const { error, requests } = await failure(answer);
      assertEquals([error.code, error.retryable, requests], ["UNAVAILABLE", true, 2]);
      assertStringIncludes(error.message, says);
      const { store } = fake((n) => n < 1 ? answer() : right());
      assertEquals(await store.fetchRanges([READ]), [RANGE]);
    });
  }

  it("spoils no other one, and keeps its place", async () => {
    const { store } = fake((_, __, url) => url.endsWith("/none") ? refusal(404, "NoSuchKey") : right());
    const slots = await store.fetchRanges([READ, { ...READ, name: "none" }, READ]);
    assertEquals(slots.map((slot) => slot instanceof TundraError ? slot.code : slot), [RANGE, "NOT_FOUND", RANGE]);
  });
});

function inPieces(size: number): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= OBJECT.length) return controller.close();
      controller.enqueue(OBJECT.slice(at, at + size));
      at += size;
    },
  });
}
