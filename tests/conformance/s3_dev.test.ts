/** `s3Datastore` on the S3 server for development, and what only that one can be told to do. */
import { request } from "node:http";
import { describe, it } from "node:test";
import { assertEquals, assertInstanceOf, assertRejects, assertStringIncludes } from "@std/assert";
import { TundraError } from "../../src/base/errors.ts";
import { s3Datastore } from "../../src/datastores/s3/datastore.ts";
import { startS3 } from "../../src/testing/s3.ts";
import { codeOf } from "./datastore.ts";
import { s3Conformance } from "./s3.ts";

s3Conformance("the development S3", () => startS3());

/** A `fetch` that connects to 127.0.0.1 whatever the host of the URL, as DNS would do for a bucket's host. */
const toThisMachine: typeof fetch = (input, init) => {
  const url = new URL(input as string);
  const headers = { ...Object.fromEntries(new Headers(init?.headers)), host: url.host };
  const body = init?.body as Uint8Array | undefined;
  return new Promise((resolve, reject) => {
    const { port, pathname, search } = url;
    const sent = request(
      { host: "127.0.0.1", port, path: pathname + search, method: init?.method, headers },
      (reply) => {
        const chunks: Uint8Array[] = [];
        reply.on("data", (chunk) => chunks.push(chunk));
        reply.on("end", () => {
          const bytes = new Uint8Array(chunks.flatMap((chunk) => [...chunk]));
          const status = reply.statusCode!;
          resolve(new Response(status === 204 ? null : bytes, { status, headers: reply.headers as HeadersInit }));
        });
      },
    );
    sent.on("error", reject);
    sent.end(body);
  });
};

describe("s3Datastore on the development S3, further", () => {
  it("sends a session token with every request, and says when it is wrong", async () => {
    const server = await startS3({ sessionToken: "session-token-0123456789" });
    const { url: endpoint, region, accessKeyId, secretAccessKey, sessionToken } = server;
    const options = { endpoint, region, bucket: "tundra", accessKeyId, secretAccessKey };
    try {
      const store = s3Datastore({ ...options, sessionToken });
      await store.putKey("a", Uint8Array.from([1]));
      assertEquals(await store.fetchKeys(["a", "b"]).then((slots) => slots.map(codeOf)), [
        Uint8Array.from([1]),
        "NOT_FOUND",
      ]);
      assertEquals(await store.hasKeys(["a"]), [true]);
      assertEquals((await store.listKeys("")).names, ["a"]);
      for (const wrong of ["another-session-token", undefined]) {
        const [error] = await s3Datastore({ ...options, sessionToken: wrong }).fetchKeys(["a"]);
        assertInstanceOf(error, TundraError);
        assertEquals([error.code, error.retryable], ["UNAVAILABLE", false]);
        assertEquals(error.message.includes("another-session-token"), false);
      }
      await store.deleteKeys(["a"]);
      assertEquals(server.objects("tundra").size, 0);
    } finally {
      await server.stop();
    }
  });

  it("speaks to a bucket's own host", async () => {
    const server = await startS3({ buckets: ["my-bucket"] });
    const { region, accessKeyId, secretAccessKey, port } = server;
    try {
      const store = s3Datastore({
        endpoint: `http://localhost:${port}`,
        style: "virtual-host",
        fetch: toThisMachine,
        ...{ region, bucket: "my-bucket", accessKeyId, secretAccessKey, prefix: "x/" },
      });
      await store.putKey("a~/b.C3", Uint8Array.from([1, 2]));
      assertEquals([...server.objects("my-bucket").keys()], ["x/a~/b.C3"]);
      assertEquals(await store.fetchKeys(["a~/b.C3"]), [Uint8Array.from([1, 2])]);
      assertEquals(await store.listKeys("a~"), { names: ["a~/b.C3"] });
      await store.deleteKeys(["a~/b.C3"]);
      assertEquals(server.objects("my-bucket").size, 0);
    } finally {
      await server.stop();
    }
  });

  it("says TOO_LARGE if S3 does, and that no retry mends it", async () => {
    const server = await startS3({ maxObjectBytes: 1000 });
    const { url: endpoint, region, accessKeyId, secretAccessKey } = server;
    try {
      const store = s3Datastore({ endpoint, region, bucket: "tundra", accessKeyId, secretAccessKey });
      await store.putKey("small", new Uint8Array(1000));
      const error = await assertRejects(() => store.putKey("large", new Uint8Array(1001)), TundraError);
      assertEquals([error.code, error.retryable], ["TOO_LARGE", false]);
      assertStringIncludes(error.message, "400 EntityTooLarge");
      assertEquals(server.operations, { PutObject: 2 });
    } finally {
      await server.stop();
    }
  });

  it("works with a server whose clock is hours away", async () => {
    const server = await startS3({ clockOffsetMs: 5 * 3_600_000 });
    const { url: endpoint, region, accessKeyId, secretAccessKey } = server;
    try {
      const store = s3Datastore({ endpoint, region, bucket: "tundra", accessKeyId, secretAccessKey });
      await store.putKey("a", Uint8Array.from([1]));
      assertEquals(await store.fetchKeys(["a"]), [Uint8Array.from([1])]);
      assertEquals(server.operations, { PutObject: 2, GetObject: 1 });
    } finally {
      await server.stop();
    }
  });

  it("asks again when the server is gone, and says so", async () => {
    const server = await startS3();
    await server.stop();
    const { url: endpoint, region, accessKeyId, secretAccessKey } = server;
    const store = s3Datastore({ endpoint, region, bucket: "tundra", accessKeyId, secretAccessKey, retries: 2 });
    let requests = 0;
    const slots = await store.fetchKeys(["a"], { onRequest: () => void requests++ });
    assertEquals([slots.map(codeOf), requests], [["UNAVAILABLE"], 3]);
  });
});
