/** The S3 server of the local stack: it must refuse what S3 refuses, or tests against it prove nothing. */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { AwsClient } from "aws4fetch";
import { type S3Options, type S3Server, startS3 } from "../../src/testing/s3.ts";
import { S3Error } from "../../src/testing/s3/error.ts";
import { type SignedRequest, verifySignature } from "../../src/testing/s3/signature.ts";

const sha256 = (body: string | Uint8Array) => createHash("sha256").update(body).digest("hex");
const base64 = (algorithm: string, body: string) => createHash(algorithm).update(body).digest("base64");

interface Answer {
  status: number;
  code: string | undefined;
  text: string;
  headers: Headers;
}

type Init = { method?: string; headers?: Record<string, string>; body?: string };
type Aws = Parameters<AwsClient["sign"]>[1] extends infer I
  ? NonNullable<NonNullable<I> extends { aws?: infer A } ? A : never>
  : never;

async function read(response: Response): Promise<Answer> {
  const text = await response.text();
  return { status: response.status, code: /<Code>(.*?)<\/Code>/.exec(text)?.[1], text, headers: response.headers };
}

function clientOf(server: S3Server): AwsClient {
  const { accessKeyId, secretAccessKey, sessionToken, region } = server;
  return new AwsClient({ accessKeyId, secretAccessKey, sessionToken, region, service: "s3", retries: 0 });
}

/** Signs with aws4fetch, the body's hash included. */
function sign(server: S3Server, path: string, init: Init = {}, aws: Aws = {}): Promise<Request> {
  const headers = { "x-amz-content-sha256": sha256(init.body ?? ""), ...init.headers };
  return clientOf(server).sign(server.url + path, { ...init, headers, aws });
}

async function call(server: S3Server, path: string, init: Init = {}, aws: Aws = {}): Promise<Answer> {
  const signed = await sign(server, path, init, aws);
  // a string's content type would be added behind the signature's back
  return read(await fetch(signed.url, { method: signed.method, headers: signed.headers, body: bytesOf(init.body) }));
}

function bytesOf(body: string | undefined): Uint8Array<ArrayBuffer> | undefined {
  return body === undefined ? undefined : new TextEncoder().encode(body);
}

/** The answer of a socket to exactly these characters; `breakOff` then ends the connection from our side. */
function raw(port: number, request: string, breakOff = false): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    const socket = connect(port, "127.0.0.1", () => breakOff ? socket.end(request) : socket.write(request));
    socket.on("data", (chunk: Uint8Array) => text += Buffer.from(chunk).toString());
    socket.on("close", () => resolve(text));
    socket.on("error", reject);
  });
}

function head(request: Request, extra: string[] = []): string {
  const { pathname, search, host } = new URL(request.url);
  const headers = [...request.headers].map(([name, value]) => `${name}: ${value}`);
  return [`${request.method} ${pathname}${search} HTTP/1.1`, `host: ${host}`, ...headers, ...extra, "", ""].join(
    "\r\n",
  );
}

function amzDate(ms: number): string {
  return new Date(ms).toISOString().replace(/[-:]|\.\d+/g, "");
}

function keysIn(text: string): string[] {
  return [...text.matchAll(/<Key>(.*?)<\/Key>/g)].map((match) => match[1]!);
}

describe("signatures of S3 requests", () => {
  // The examples of the S3 manual, "Signature Calculations for the Authorization Header" and "... Query Parameters".
  const credentials = {
    accessKeyId: "AKIAIOSFODNN7EXAMPLE",
    secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    region: "us-east-1",
  };
  const nowMs = Date.UTC(2013, 4, 24, 0, 0, 30);
  const scope = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request";
  const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
  const example = (
    method: string,
    path: string,
    query: [string, string][],
    extra: [string, string][],
    payload: string,
    signature: string,
  ): SignedRequest => {
    const headers: [string, string][] = [
      ["host", "examplebucket.s3.amazonaws.com"],
      ["x-amz-content-sha256", payload],
      ["x-amz-date", "20130524T000000Z"],
      ...extra,
    ];
    const names = headers.map(([name]) => name).sort().join(";");
    const authorization = `AWS4-HMAC-SHA256 Credential=${scope},SignedHeaders=${names},Signature=${signature}`;
    return { method, path, query, headers: [...headers, ["authorization", authorization]] };
  };
  const examples: Record<string, SignedRequest> = {
    "GET Object": example(
      "GET",
      "/test.txt",
      [],
      [["range", "bytes=0-9"]],
      empty,
      "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ),
    "PUT Object": example(
      "PUT",
      "/test$file.text",
      [],
      [["date", "Fri, 24 May 2013 00:00:00 GMT"], ["x-amz-storage-class", "REDUCED_REDUNDANCY"]],
      "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
      "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    ),
    "GET Bucket Lifecycle": example(
      "GET",
      "/",
      [["lifecycle", ""]],
      [],
      empty,
      "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    ),
    "GET Bucket (List Objects)": example(
      "GET",
      "/",
      [["max-keys", "2"], ["prefix", "J"]],
      [],
      empty,
      "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ),
    "a presigned GET": {
      method: "GET",
      path: "/test.txt",
      query: [
        ["X-Amz-Algorithm", "AWS4-HMAC-SHA256"],
        ["X-Amz-Credential", scope],
        ["X-Amz-Date", "20130524T000000Z"],
        ["X-Amz-Expires", "86400"],
        ["X-Amz-SignedHeaders", "host"],
        ["X-Amz-Signature", "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"],
      ],
      headers: [["host", "examplebucket.s3.amazonaws.com"]],
    },
  };
  const codeOf = (request: SignedRequest, atMs = nowMs) =>
    (assertThrows(() => verifySignature(request, credentials, atMs), S3Error) as S3Error).code;

  for (const [name, request] of Object.entries(examples)) {
    it(`of the manual are right: ${name}`, () => {
      const presigned = name === "a presigned GET";
      const payload = presigned ? "UNSIGNED-PAYLOAD" : request.headers[1]![1];
      assertEquals(verifySignature(request, credentials, nowMs), { payload, presigned });
    });

    it(`cover method, path, query and headers: ${name}`, () => {
      assertEquals(codeOf({ ...request, method: "DELETE" }), "SignatureDoesNotMatch");
      assertEquals(codeOf({ ...request, path: request.path + "x" }), "SignatureDoesNotMatch");
      assertEquals(codeOf({ ...request, query: [...request.query, ["acl", ""]] }), "SignatureDoesNotMatch");
      const headers = request.headers.map(([key, value]): [string, string] => [key, key === "host" ? "other" : value]);
      assertEquals(codeOf({ ...request, headers }), "SignatureDoesNotMatch");
      assertEquals(codeOf({ ...request, headers: [...request.headers, ["x-amz-acl", "public-read"]] }), "AccessDenied");
    });
  }

  it("end: 15 minutes after their time, presigned ones when they say", () => {
    const fifteenMinutesMs = 15 * 60_000;
    const atMs = Date.UTC(2013, 4, 24);
    const { "GET Object": get, "a presigned GET": presigned } = examples;
    assertEquals(verifySignature(get!, credentials, atMs + fifteenMinutesMs).presigned, false);
    assertEquals(codeOf(get!, atMs + fifteenMinutesMs + 1), "RequestTimeTooSkewed");
    assertEquals(codeOf(get!, atMs - fifteenMinutesMs - 1), "RequestTimeTooSkewed");
    assertEquals(verifySignature(presigned!, credentials, atMs + 86_400_000).presigned, true);
    assertEquals(codeOf(presigned!, atMs + 86_400_001), "AccessDenied");
    assertEquals(codeOf(presigned!, atMs - fifteenMinutesMs - 1), "AccessDenied");
  });
});

describe("the S3 server of the local stack", () => {
  let s3: S3Server;
  const others: S3Server[] = [];
  const start = async (options: S3Options) => {
    const server = await startS3(options);
    others.push(server);
    return server;
  };
  before(async () => {
    s3 = await startS3({ buckets: ["archive", "lists"], maxObjectBytes: 1_000_000 });
  });
  after(async () => {
    for (const server of [s3, ...others]) await server.stop();
  });

  it("keeps an object byte by byte until it is deleted", async () => {
    const put = await call(s3, "/archive/a/1", { method: "PUT", body: "h\0é" });
    assertEquals([put.status, put.text], [200, ""]);
    const etag = `"${createHash("md5").update("h\0é").digest("hex")}"`;
    assertEquals(put.headers.get("etag"), etag);
    assertEquals(s3.objects("archive").get("a/1"), new Uint8Array([104, 0, 0xc3, 0xa9]));

    const get = await call(s3, "/archive/a/1");
    assertEquals([get.status, get.text, get.headers.get("etag")], [200, "h\0é", etag]);
    assert(Math.abs(Date.parse(get.headers.get("last-modified")!) - Date.now()) < 10_000);
    const measured = await call(s3, "/archive/a/1", { method: "HEAD" });
    assertEquals([measured.status, measured.text, measured.headers.get("content-length")], [200, "", "4"]);

    assertEquals((await call(s3, "/archive/a/1", { method: "DELETE" })).status, 204);
    assertEquals((await call(s3, "/archive/a/1", { method: "DELETE" })).status, 204);
    assertEquals((await call(s3, "/archive/a/1")).code, "NoSuchKey");
    assertEquals((await call(s3, "/archive/a/1", { method: "HEAD" })).status, 404);
    assertEquals(s3.objects("archive").has("a/1"), false);
  });

  it("shows damage that a test does to its objects", async () => {
    s3.objects("archive").set("damaged", new Uint8Array([120, 121]));
    assertEquals((await call(s3, "/archive/damaged")).text, "xy");
    s3.objects("archive").get("damaged")![1] = 122;
    assertEquals((await call(s3, "/archive/damaged")).text, "xz");
    s3.objects("archive").delete("damaged");
    assertEquals((await call(s3, "/archive/damaged")).status, 404);
    assertThrows(() => s3.objects("nowhere"), Error, "Cannot look into nowhere");
  });

  it("keeps any name apart from any other", async () => {
    const names = ["a b", "a+b", "a%20b", "a%2Fb", "a/b", "a//b", "a/b/", "é", "~!'()*", "..x", "😀", "a&<b>", "a?b=c"];
    const path = (name: string) => "/archive/names/" + name.split("/").map(encodeURIComponent).join("/");
    for (const name of names) {
      assertEquals((await call(s3, path(name), { method: "PUT", body: name })).status, 200, name);
    }
    for (const name of names) assertEquals((await call(s3, path(name))).text, name);
    const kept = [...s3.objects("archive").keys()].filter((key) => key.startsWith("names/"));
    assertEquals(kept, names.map((name) => "names/" + name));
  });

  it("serves ranges", async () => {
    await call(s3, "/archive/range", { method: "PUT", body: "0123456789" });
    const range = async (range: string) => {
      const { status, text, code, headers } = await call(s3, "/archive/range", { headers: { range } });
      return [status, code ?? text, headers.get("content-range")];
    };
    assertEquals(await range("bytes=2-4"), [206, "234", "bytes 2-4/10"]);
    assertEquals(await range("bytes=0-0"), [206, "0", "bytes 0-0/10"]);
    assertEquals(await range("bytes=8-99"), [206, "89", "bytes 8-9/10"]);
    assertEquals(await range("bytes=7-"), [206, "789", "bytes 7-9/10"]);
    assertEquals(await range("bytes=-3"), [206, "789", "bytes 7-9/10"]);
    assertEquals(await range("bytes=-99"), [206, "0123456789", "bytes 0-9/10"]);
    assertEquals(await range("bytes=10-"), [416, "InvalidRange", null]);
    assertEquals(await range("bytes=-0"), [416, "InvalidRange", null]);
    assertEquals(await range("bytes=4-2"), [200, "0123456789", null]);
    assertEquals(await range("lines=1-2"), [200, "0123456789", null]);
  });

  it("measures ranges for a HEAD, and sends none of it", async () => {
    await call(s3, "/archive/range", { method: "PUT", body: "0123456789" });
    const head = async (range: string) => {
      const { status, text, headers } = await call(s3, "/archive/range", { method: "HEAD", headers: { range } });
      return [status, text, headers.get("content-range")];
    };
    assertEquals(await head("bytes=2-4"), [206, "", "bytes 2-4/10"]);
    assertEquals(await head("bytes=10-"), [416, "", null]);
    assertEquals(await head("bytes=4-2"), [200, "", null]);
  });

  it("refuses who has no key, another key, another secret", async () => {
    const anonymous = await read(await fetch(s3.url + "/archive/a"));
    assertEquals([anonymous.status, anonymous.code], [403, "AccessDenied"]);
    const unknown = await call(s3, "/archive/a", {}, { accessKeyId: "AKUNKNOWN" });
    assertEquals([unknown.status, unknown.code], [403, "InvalidAccessKeyId"]);
    assertStringIncludes(unknown.text, "<AWSAccessKeyId>AKUNKNOWN</AWSAccessKeyId>");
    const forger = await call(s3, "/archive/a", { method: "PUT", body: "x" }, { secretAccessKey: "guess" });
    assertEquals([forger.status, forger.code], [403, "SignatureDoesNotMatch"]);
    assert(!forger.text.includes(s3.secretAccessKey));
    assertEquals(s3.objects("archive").has("a"), false);
  });

  it("refuses other regions, services, schemes, and two schemes at once", async () => {
    const region = await call(s3, "/archive/a", {}, { region: "eu-west-1" });
    assertEquals([region.status, region.code], [400, "AuthorizationHeaderMalformed"]);
    assertStringIncludes(region.text, "<Region>us-east-1</Region>");
    assertEquals((await call(s3, "/archive/a", {}, { service: "dynamodb" })).code, "AuthorizationHeaderMalformed");
    const authorized = async (authorization: string, query = "") =>
      (await read(await fetch(`${s3.url}/archive/a${query}`, { headers: { authorization } }))).code;
    assertEquals(await authorized("AWS tundra:c2lnbmF0dXJl"), "InvalidRequest");
    assertEquals(await authorized("AWS4-HMAC-SHA256 Credential=tundra"), "AuthorizationHeaderMalformed");
    assertEquals(await authorized("AWS4-HMAC-SHA256 x", "?X-Amz-Algorithm=AWS4-HMAC-SHA256"), "InvalidArgument");
  });

  it("refuses what was changed after signing", async () => {
    const request = await sign(s3, "/archive/signed", { method: "PUT", body: "x", headers: { "x-amz-meta-a": "1" } });
    const send = async (url: string, changes: Record<string, string>, method = "PUT", body = "x") => {
      const headers = { ...Object.fromEntries(request.headers), ...changes };
      return (await read(await fetch(url, { method, headers, body: bytesOf(body) }))).code;
    };
    assertEquals(await send(request.url + "2", {}), "SignatureDoesNotMatch");
    assertEquals(await send(request.url + "?x-id=PutObject", {}), "SignatureDoesNotMatch");
    assertEquals(await send(request.url, {}, "POST"), "SignatureDoesNotMatch");
    assertEquals(await send(request.url, { "x-amz-meta-a": "2" }), "SignatureDoesNotMatch");
    assertEquals(await send(request.url, { "x-amz-content-sha256": sha256("y") }, "PUT", "y"), "SignatureDoesNotMatch");
    assertEquals(await send(request.url, { "x-amz-meta-b": "2" }), "AccessDenied");
    assertEquals(await send(request.url, {}, "PUT", "y"), "XAmzContentSHA256Mismatch");
    assertEquals(s3.objects("archive").has("signed"), false);
    assertEquals(await send(request.url, {}), undefined);
    assertEquals(s3.objects("archive").get("signed"), new Uint8Array([120]));
  });

  it("refuses clocks that are more than 15 minutes off, and tells its own time", async () => {
    const ahead = await start({ clockOffsetMs: 3_600_000 });
    const late = await call(ahead, "/tundra/a");
    assertEquals([late.status, late.code], [403, "RequestTimeTooSkewed"]);
    const skewMs = Date.parse(late.headers.get("date")!) - Date.now();
    assert(Math.abs(skewMs - 3_600_000) < 10_000, `it says ${skewMs}`);
    assertEquals((await call(ahead, "/tundra/a", {}, { datetime: amzDate(Date.now() + skewMs) })).code, "NoSuchKey");
    for (const [minutes, code] of [[14, "NoSuchKey"], [-14, "NoSuchKey"], [16, "RequestTimeTooSkewed"]] as const) {
      const datetime = amzDate(Date.now() + minutes * 60_000);
      assertEquals((await call(s3, "/archive/a", {}, { datetime })).code, code, `${minutes} minutes`);
    }
  });

  it("wants exactly its session token", async () => {
    const temporary = await start({ sessionToken: "the-token" });
    assertEquals((await call(temporary, "/tundra/a", { method: "PUT", body: "x" })).status, 200);
    const wrong = await call(temporary, "/tundra/a", {}, { sessionToken: "other-token" });
    assertEquals([wrong.status, wrong.code], [400, "InvalidToken"]);
    const { accessKeyId, secretAccessKey, region } = temporary;
    const without = new AwsClient({ accessKeyId, secretAccessKey, region, service: "s3", retries: 0 });
    assertEquals((await read(await without.fetch(temporary.url + "/tundra/a"))).code, "InvalidAccessKeyId");
    assertEquals((await call(s3, "/archive/a", {}, { sessionToken: "the-token" })).code, "InvalidToken");
  });

  it("serves presigned URLs until they expire", async () => {
    const presign = async (path: string, method: string, aws: Aws = {}) => {
      const signed = await clientOf(s3).sign(s3.url + path, { method, aws: { signQuery: true, ...aws } });
      return signed.url;
    };
    const put = await presign("/archive/pre?X-Amz-Expires=60", "PUT");
    assertEquals((await fetch(put, { method: "PUT", body: bytesOf("later") })).status, 200);
    const get = await presign("/archive/pre?X-Amz-Expires=60", "GET");
    assertEquals((await read(await fetch(get))).text, "later");
    assertEquals((await read(await fetch(get, { method: "DELETE" }))).code, "SignatureDoesNotMatch");
    assertEquals((await read(await fetch(get.replace("/pre", "/prf")))).code, "SignatureDoesNotMatch");
    assertEquals((await read(await fetch(get.replace("Expires=60", "Expires=90")))).code, "SignatureDoesNotMatch");
    const old = await presign("/archive/pre?X-Amz-Expires=60", "GET", { datetime: amzDate(Date.now() - 62_000) });
    const expired = await read(await fetch(old));
    assertEquals([expired.status, expired.code], [403, "AccessDenied"]);
    assertStringIncludes(expired.text, "Request has expired");
    const endless = await presign("/archive/pre?X-Amz-Expires=604801", "GET");
    assertEquals((await read(await fetch(endless))).code, "AuthorizationQueryParametersError");
  });

  it("stores no body that differs from what its request says", async () => {
    const put = async (headers: Record<string, string>) => {
      const { status, code } = await call(s3, "/archive/body", { method: "PUT", body: "body", headers });
      return [status, code];
    };
    assertEquals(await put({ "x-amz-content-sha256": sha256("other") }), [400, "XAmzContentSHA256Mismatch"]);
    assertEquals(await put({ "x-amz-content-sha256": "nonsense" }), [400, "InvalidArgument"]);
    assertEquals(await put({ "x-amz-content-sha256": "UNSIGNED-PAYLOAD" }), [403, "AccessDenied"]);
    assertEquals(await put({ "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" }), [501, "NotImplemented"]);
    assertEquals(await put({ "content-md5": base64("md5", "other") }), [400, "BadDigest"]);
    assertEquals(await put({ "content-md5": "bm8=" }), [400, "InvalidDigest"]);
    assertEquals(await put({ "x-amz-checksum-sha256": base64("sha256", "other") }), [400, "BadDigest"]);
    assertEquals(await put({ "x-amz-checksum-sha256": "bm8=" }), [400, "InvalidRequest"]);
    assertEquals(s3.objects("archive").has("body"), false);
    const right = { "content-md5": base64("md5", "body"), "x-amz-checksum-sha256": base64("sha256", "body") };
    assertEquals(await put(right), [200, undefined]);
  });

  it("takes UNSIGNED-PAYLOAD if it was told to, and wants the header", async () => {
    const lax = await start({ allowUnsignedPayload: true });
    const headers = { "x-amz-content-sha256": "UNSIGNED-PAYLOAD" };
    assertEquals((await call(lax, "/tundra/a", { method: "PUT", body: "x", headers })).status, 200);
    assertEquals((await call(s3, "/archive/none", { headers })).code, "NoSuchKey"); // without a body nothing is unsigned
    const signed = await sign(s3, "/archive/none");
    signed.headers.delete("x-amz-content-sha256");
    assertEquals((await read(await fetch(signed.url, { headers: signed.headers }))).code, "InvalidRequest");
  });

  it("overwrites nothing under If-None-Match: *", async () => {
    const headers = { "if-none-match": "*" };
    assertEquals((await call(s3, "/archive/once", { method: "PUT", body: "1", headers })).status, 200);
    const again = await call(s3, "/archive/once", { method: "PUT", body: "2", headers });
    assertEquals([again.status, again.code], [412, "PreconditionFailed"]);
    assertEquals(s3.objects("archive").get("once"), new Uint8Array([49]));
    const racers = await Promise.all(["a", "b", "c", "d"].map((body) => {
      return call(s3, "/archive/race", { method: "PUT", body, headers });
    }));
    assertEquals(racers.map(({ status }) => status).sort(), [200, 412, 412, 412]);
  });

  it("refuses unknown buckets, long names, large bodies, bodies without a length", async () => {
    const nowhere = await call(s3, "/nowhere/a", { method: "PUT", body: "x" });
    assertEquals([nowhere.status, nowhere.code], [404, "NoSuchBucket"]);
    assertEquals((await call(s3, "/nowhere?list-type=2")).code, "NoSuchBucket");

    const longest = "é".repeat(512);
    assertEquals((await call(s3, `/archive/${encodeURI(longest)}`, { method: "PUT", body: "x" })).status, 200);
    const longer = await call(s3, `/archive/${encodeURI(longest)}x`, { method: "PUT", body: "x" });
    assertEquals([longer.status, longer.code], [400, "KeyTooLongError"]);
    assertEquals((await call(s3, `/archive/${encodeURI(longest)}x`)).code, "KeyTooLongError");

    assertEquals((await call(s3, "/archive/large", { method: "PUT", body: "x".repeat(1_000_000) })).status, 200);
    const request = head(await sign(s3, "/archive/large", { method: "PUT" }), ["content-length: 1000001"]);
    const large = await raw(s3.port, request);
    assertMatch(large, /^HTTP\/1.1 400 [\s\S]*<Code>EntityTooLarge<\/Code>/);
    assertMatch(large, /\r\nconnection: close\r\n/i);
    const unmeasured = head(await sign(s3, "/archive/none", { method: "PUT" }), ["connection: close"]);
    assertMatch(await raw(s3.port, unmeasured), /^HTTP\/1.1 411 [\s\S]*<Code>MissingContentLength<\/Code>/);
    assertEquals((await call(s3, "/archive/%ff")).code, "InvalidURI");
  });

  it("stores nothing of a body that breaks off", async () => {
    const request = head(await sign(s3, "/archive/broken", { method: "PUT", body: "whole" }), ["content-length: 5"]);
    await raw(s3.port, request + "who", true);
    assertEquals(s3.objects("archive").has("broken"), false);
    const whole = await raw(s3.port, request.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n") + "whole");
    assertMatch(whole, /^HTTP\/1.1 200 /);
    assertEquals(s3.objects("archive").has("broken"), true);
  });

  it("says that it lacks what it lacks, instead of ignoring it", async () => {
    const put = { method: "PUT", body: "x" };
    for (
      const path of [
        "/archive/a?acl",
        "/archive?versioning",
        "/archive/a?tagging",
        "/archive/a?retention",
      ]
    ) {
      const answer = await call(s3, path, put);
      assertEquals([answer.status, answer.code], [501, "NotImplemented"], path);
    }
    for (const header of ["if-match", "x-amz-copy-source", "x-amz-server-side-encryption"]) {
      assertEquals(
        (await call(s3, "/archive/a", { ...put, headers: { [header]: "x" } })).code,
        "NotImplemented",
        header,
      );
    }
    assertEquals((await call(s3, "/archive")).code, "NotImplemented"); // the first version of the listing
    assertEquals(s3.objects("archive").has("a"), false);
  });

  it("makes buckets, each once", async () => {
    assertEquals((await call(s3, "/fresh-1", { method: "HEAD" })).status, 404);
    assertEquals((await call(s3, "/fresh-1", { method: "PUT" })).status, 200);
    assertEquals((await call(s3, "/fresh-1", { method: "HEAD" })).status, 200);
    const again = await call(s3, "/fresh-1", { method: "PUT" });
    assertEquals([again.status, again.code], [409, "BucketAlreadyOwnedByYou"]);
    assertEquals((await call(s3, "/Fresh_1", { method: "PUT" })).code, "InvalidBucketName");
    await s3.createBucket("fresh-2");
    await s3.createBucket("fresh-2");
    assertEquals(s3.objects("fresh-2").size, 0);
  });

  it("answers virtual-host style as well", async () => {
    const url = s3.url.replace("127.0.0.1", "archive.localhost");
    const body = "virtual";
    const headers = { "x-amz-content-sha256": sha256(body) };
    const put = await clientOf(s3).sign(url + "/v/1", { method: "PUT", body, headers });
    const length = [`content-length: ${body.length}`, "connection: close"];
    assertMatch(await raw(s3.port, head(put, length) + body), /^HTTP\/1.1 200 /);
    assertEquals((await call(s3, "/archive/v/1")).text, body);
    const list = await clientOf(s3).sign(url + "/?list-type=2&prefix=v/", {
      headers: { "x-amz-content-sha256": sha256("") },
    });
    assertEquals(keysIn(await raw(s3.port, head(list, ["connection: close"]))), ["v/1"]);
  });

  it("lists in the order of UTF-8, page by page", async () => {
    // UTF-16 would sort the last two the other way round
    const keys = ["a", "a-", "a/1", "a/2", "aé", "b", "\uff5e", "😀"];
    for (const key of keys.toReversed()) s3.objects("lists").set(key, new Uint8Array(3));
    const all = await call(s3, "/lists?list-type=2");
    assertEquals(keysIn(all.text), keys);
    assertStringIncludes(all.text, "<KeyCount>8</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>");
    assertStringIncludes(all.text, "<Size>3</Size>");

    const pages: string[][] = [];
    let token: string | undefined;
    do {
      const query = token === undefined ? "" : `&continuation-token=${encodeURIComponent(token)}`;
      const page = await call(s3, `/lists?list-type=2&max-keys=3${query}`);
      pages.push(keysIn(page.text));
      token = /<NextContinuationToken>(.*?)</.exec(page.text)?.[1];
      assertEquals(page.text.includes("<IsTruncated>true</IsTruncated>"), token !== undefined);
    } while (token !== undefined);
    assertEquals(pages, [keys.slice(0, 3), keys.slice(3, 6), keys.slice(6)]);

    const list = async (query: string) => keysIn((await call(s3, `/lists?list-type=2&${query}`)).text);
    assertEquals(await list("prefix=a%2F"), ["a/1", "a/2"]);
    assertEquals(await list("start-after=a%2F1&prefix=a"), ["a/2", "aé"]);
    assertEquals(await list("max-keys=0"), []);
    assertEquals(await list("prefix=zzz"), []);
  });

  it("lists groups, encoded names, and refuses wrong parameters", async () => {
    const bucket = await start({ buckets: ["groups"] });
    for (const key of ["x/1", "x/2", "y/1", "z", "s p+%"]) bucket.objects("groups").set(key, new Uint8Array());
    const groups = await call(bucket, "/groups?list-type=2&delimiter=%2F");
    assertEquals(keysIn(groups.text), ["s p+%", "z"]);
    assertEquals([...groups.text.matchAll(/<CommonPrefixes><Prefix>(.*?)</g)].map((match) => match[1]), ["x/", "y/"]);
    assertStringIncludes(groups.text, "<KeyCount>4</KeyCount>");
    const seen: string[] = [];
    let token = "";
    do {
      const { text } = await call(bucket, `/groups?list-type=2&delimiter=%2F&max-keys=1${token}`);
      seen.push(...keysIn(text), ...[...text.matchAll(/<CommonPrefixes><Prefix>(.*?)</g)].map((match) => match[1]!));
      const next = /<NextContinuationToken>(.*?)</.exec(text)?.[1];
      token = next === undefined ? "" : `&continuation-token=${encodeURIComponent(next)}`;
    } while (token !== "");
    assertEquals(seen, ["s p+%", "x/", "y/", "z"]);

    const encoded = await call(bucket, "/groups?list-type=2&encoding-type=url&prefix=s%20p");
    assertEquals(keysIn(encoded.text), ["s+p%2B%25"]);
    assertStringIncludes(encoded.text, "<Prefix>s+p</Prefix><EncodingType>url</EncodingType>");
    for (const wrong of ["max-keys=-1", "max-keys=x", "encoding-type=xml", "continuation-token=x", "list-type=3"]) {
      const query = wrong.startsWith("list-type") ? wrong : `list-type=2&${wrong}`;
      assertEquals((await call(bucket, `/groups?${query}`)).code, "InvalidArgument", wrong);
    }
  });

  it("deletes many objects at once, and says which", async () => {
    const bucket = await start({ buckets: ["many"] });
    const objects = bucket.objects("many");
    const remove = (body: string, headers: Record<string, string> = { "content-md5": base64("md5", body) }) =>
      call(bucket, "/many?delete", { method: "POST", body, headers });
    const request = (keys: string[], quiet = "") =>
      `<?xml version="1.0"?>\n<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${quiet}` +
      keys.map((key) => `<Object><Key>${key}</Key></Object>`).join("") + "</Delete>";

    for (const key of ["a", "b&c", "d\n", "stays"]) objects.set(key, new Uint8Array());
    const loud = await remove(request(["a", "b&amp;c", "d&#10;", "absent", "x".repeat(1025)]));
    assertEquals(loud.status, 200);
    assertEquals([...loud.text.matchAll(/<Deleted><Key>(.*?)<\/Key>/g)].map((match) => match[1]), [
      "a",
      "b&amp;c",
      "d&#xa;",
      "absent",
    ]);
    assertStringIncludes(loud.text, "<Code>KeyTooLongError</Code>");
    assertEquals([...objects.keys()], ["stays"]);
    const quiet = await remove(request(["stays"], "<Quiet>true</Quiet>"));
    assert(!quiet.text.includes("<Deleted>"), quiet.text);
    assertEquals(objects.size, 0);

    assertEquals((await remove(request(["a"]), {})).code, "InvalidRequest");
    assertEquals(
      (await remove(request(["a"]), { "x-amz-checksum-sha256": base64("sha256", request(["a"])) })).status,
      200,
    );
    assertEquals((await remove("<Delete>")).code, "MalformedXML");
    assertEquals((await remove(request([]))).code, "MalformedXML");
    assertEquals((await remove(request(Array.from({ length: 1001 }, (_, i) => `k${i}`)))).code, "MalformedXML");
  });

  it("names each request, and answers errors as XML but for HEAD", async () => {
    const get = await call(s3, "/archive/absent%26");
    assertEquals(get.headers.get("content-type"), "application/xml");
    const id = get.headers.get("x-amz-request-id")!;
    assertMatch(id, /^[0-9A-F]{16}$/);
    assertStringIncludes(
      get.text,
      `<Key>absent&amp;</Key><Resource>/archive/absent%26</Resource><RequestId>${id}</RequestId>`,
    );
    const measured = await call(s3, "/archive/absent", { method: "HEAD" });
    assertEquals([measured.status, measured.text], [404, ""]);
  });

  it("counts requests by operation, refused ones too", async () => {
    const counted = await start({});
    await call(counted, "/tundra/a", { method: "PUT", body: "x" });
    await call(counted, "/tundra/a");
    await call(counted, "/tundra/b");
    await fetch(counted.url + "/tundra/c").then((response) => response.text());
    await call(counted, "/tundra?list-type=2");
    assertEquals(counted.requests, 5);
    assertEquals(counted.operations, { PutObject: 1, GetObject: 3, ListObjectsV2: 1 });
  });

  it("keeps objects in a folder across restarts, whatever their names", async () => {
    const folder = mkdtempSync(join(tmpdir(), "tundra-s3-"));
    try {
      const keys = [
        "a",
        "a/b",
        "a//b",
        "a/",
        "/",
        "..",
        "./.",
        "é+@=%",
        "x".repeat(600),
        "😀/" + "é".repeat(300),
        "A",
        "a@/c",
      ];
      const first = await startS3({ folder, buckets: ["kept"] });
      const path = (key: string) => "/kept/" + key.split("/").map((part) => encodeURIComponent(part)).join("/");
      const sendable = keys.filter((key) => !/(^|\/)\.{1,2}(\/|$)/.test(key)); // fetch would normalise the others
      for (const key of sendable) await call(first, path(key), { method: "PUT", body: key });
      await call(first, path("gone"), { method: "PUT", body: "x" });
      await call(first, path("gone"), { method: "DELETE" });
      await first.stop();
      assertEquals(readdirSync(join(folder, "kept")).includes("a@"), true);

      const second = await startS3({ folder, buckets: ["kept"] });
      const kept = [...second.objects("kept")].map(([key, bytes]) => [key, Buffer.from(bytes).toString()]);
      assertEquals(kept.map(([key]) => key).sort(), sendable.toSorted());
      assertEquals(kept.filter(([key, text]) => key !== text), []);
      assertEquals((await call(second, path("a/b"))).text, "a/b");
      await second.stop();
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("frees its port when it stops, also under open connections", async () => {
    const server = await startS3();
    await call(server, "/tundra/a");
    const idle = connect(server.port, "127.0.0.1", () => idle.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n"));
    await new Promise<void>((resolve) => idle.once("data", () => resolve())); // kept alive from here on
    const closed = new Promise<void>((resolve) => idle.once("close", () => resolve()));
    idle.on("error", () => {});
    await server.stop();
    await closed;
    const successor = await startS3({ port: server.port });
    assertEquals(successor.url, server.url);
    assertEquals((await call(successor, "/tundra/a")).code, "NoSuchKey");
    await successor.stop();
  });
});
