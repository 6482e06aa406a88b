/**
 * The promises of `s3Datastore` beyond the common suite, on any S3 server: signatures, damage, retries, clocks.
 * @module
 */
import { after, before, describe } from "node:test";
import { assert, assertEquals, assertFalse, assertInstanceOf, assertRejects, assertStringIncludes } from "@std/assert";
import { TundraError } from "../../src/base/errors.ts";
import { s3Datastore, type S3DatastoreOptions } from "../../src/datastores/s3/datastore.ts";
import {
  caseFor,
  codeOf,
  datastoreConformance,
  type Deviations,
  listAll,
  ODD_NAMES,
  randomBytes,
} from "./datastore.ts";

import { partsConformance } from "./parts.ts";

/** A running S3 server. */
export interface S3Target {
  url: string;
  accessKeyId: string;
  secretAccessKey: string;
  region?: string;
  createBucket(name: string): Promise<void>;
  stop(): Promise<void>;
}

type Fetch = typeof fetch;

/** A `fetch` that may do something else for the request with the number `n`, from 0. */
function intercepted(act: (n: number, send: () => Promise<Response>, init: RequestInit) => Promise<Response>): Fetch {
  let n = 0;
  return (input, init) => act(n++, () => fetch(input, init), init!);
}

/** Starts a server for the common suite and one for the S3 suite. */
export function s3Conformance(
  name: string,
  start: () => Promise<S3Target>,
  deviations: Deviations = {},
): void {
  const { odd = ODD_NAMES } = deviations;
  const it = caseFor(deviations);
  let target: S3Target | undefined;
  const running = async () => target ??= await start();
  const optionsFor = (server: S3Target, bucket: string, more: Partial<S3DatastoreOptions> = {}) => ({
    endpoint: server.url,
    region: server.region ?? "us-east-1",
    bucket,
    accessKeyId: server.accessKeyId,
    secretAccessKey: server.secretAccessKey,
    ...more,
  });

  datastoreConformance(name, async () => {
    const server = await running();
    await server.createBucket("conformance");
    return { store: s3Datastore(optionsFor(server, "conformance")), stop: () => Promise.resolve() };
  }, {
    onRequest: true,
    oddNames: odd,
    wholePuts: deviations.wholePuts,
    deviations: deviations.fails,
    unreachable: async () => s3Datastore(optionsFor(await running(), "no-such-bucket", { retries: 0 })),
  });

  describe(`s3Datastore on ${name}`, () => {
    let server: S3Target;
    const make = (more: Partial<S3DatastoreOptions> = {}) => s3Datastore(optionsFor(server, "archive", more));
    before(async () => {
      server = await running();
      await server.createBucket("archive");
    });
    after(() => target?.stop());

    it("keeps a prefix to itself: names come back without it, and others are out of sight", async () => {
      const prefix = "p".repeat(117) + "/~.";
      const [one, other] = [make({ prefix }), make({ prefix: "other/" })];
      for (const name of odd) await one.putKey(name, new TextEncoder().encode(name));
      await other.putKey("0", new Uint8Array(1));
      assertEquals((await listAll(one, "")).names, [...odd].sort());
      assertEquals(
        (await one.fetchKeys([...odd])).map((value) => new TextDecoder().decode(value as Uint8Array)),
        [...odd],
      );
      assertEquals((await listAll(other, "")).names, ["0"]);
      assertEquals(await make().hasKeys(["0", prefix + "0"]), [false, true]);
    });

    partsConformance(it, make);

    it("says whose fault wrong credentials are, and keeps them to itself", async () => {
      await make().putKey("credentials/there", new Uint8Array(1));
      const wrong: [string, Partial<S3DatastoreOptions>][] = [
        ["SignatureDoesNotMatch", { secretAccessKey: "wrong-secret-of-40-characters-0123456789" }],
        ["InvalidAccessKeyId", { accessKeyId: "WRONGACCESSKEYID" }],
      ];
      for (const [code, options] of wrong) {
        const store = make(options);
        const errors = [
          await assertRejects(() => store.putKey("credentials/new", new Uint8Array(1)), TundraError),
          ...await store.fetchKeys(["credentials/there", "credentials/absent"]),
          ...await store.hasKeys(["credentials/there", "credentials/absent"]),
          await assertRejects(() => store.deleteKeys(["credentials/there"]), TundraError),
          await assertRejects(() => store.listKeys(""), TundraError),
        ];
        assertEquals(errors.length, 7);
        for (const error of errors) {
          assertInstanceOf(error, TundraError);
          assertEquals([error.code, error.retryable], ["UNAVAILABLE", false]);
          assertStringIncludes(error.message, `403 ${code}`);
          for (const secret of [server.secretAccessKey, ...Object.values(options)]) {
            assertFalse(error.message.includes(secret as string));
          }
        }
      }
      assertEquals(await make().hasKeys(["credentials/there", "credentials/new"]), [true, false]);
    });

    it("never takes an absent bucket for absent objects", async () => {
      const store = make({ bucket: "no-such-bucket" });
      const errors = [
        await assertRejects(() => store.putKey("a", new Uint8Array(1)), TundraError),
        ...await store.fetchKeys(["a", "b"]),
        ...await store.hasKeys(["a", "b"]),
        await assertRejects(() => store.deleteKeys(["a"]), TundraError),
        await assertRejects(() => store.listKeys(""), TundraError),
      ];
      assertEquals(errors.map(codeOf), Array(7).fill("UNAVAILABLE"));
      for (const error of errors) {
        assertInstanceOf(error, TundraError);
        assertEquals(error.retryable, false);
        assertStringIncludes(error.message, "404 NoSuchBucket");
      }
    });

    it("has the server refuse an upload that was damaged on its way, and repeats it", async () => {
      const damaging = (times: number) =>
        intercepted((n, send, init) => {
          if (n < times) {
            const body = new Uint8Array(init.body as Uint8Array);
            body[body.length >> 1]! ^= 4;
            init.body = body;
          }
          return send();
        });
      const value = randomBytes(10_000);
      const always = make({ fetch: damaging(Infinity), retries: 2 });
      const error = await assertRejects(() => always.putKey("damage/always", value), TundraError);
      assertEquals([error.code, error.retryable], ["UNAVAILABLE", true]);
      assertEquals(await make().hasKeys(["damage/always"]), [false]);
      // The wrapper damages the request's own copy: the second attempt sends what was given.
      await make({ fetch: damaging(1) }).putKey("damage/once", value);
      assertEquals(await make().fetchKeys(["damage/once"]), [value]);
    });

    it("repeats a request after 503 SlowDown, a lost connection, and a reply that was lost after it took effect", async () => {
      const slowDown = () =>
        new Response("<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>", {
          status: 503,
        });
      let requests = 0;
      const rough = intercepted(async (n, send) => {
        if (n % 4 === 0) return slowDown();
        if (n % 4 === 1) throw new TypeError("connection reset");
        const response = await send();
        if (n % 4 === 3) return response;
        await response.arrayBuffer();
        throw new TypeError("socket hang up");
      });
      const store = make({ fetch: rough });
      const options = { onRequest: () => void requests++ };
      await store.putKey("rough/a", Uint8Array.from([7]), options);
      assertEquals(requests, 4);
      assertEquals(await store.fetchKeys(["rough/a"], options), [Uint8Array.from([7])]);
      assertEquals(await store.hasKeys(["rough/a"], options), [true]);
      assertEquals((await store.listKeys("rough/", undefined, options)).names, ["rough/a"]);
      await store.deleteKeys(["rough/a"], options);
      assertEquals(requests, 20);
      assertEquals(await make().hasKeys(["rough/a"]), [false]);
    });

    it("never takes a reply that was cut off for the whole", async () => {
      const value = randomBytes(50_000);
      await make().putKey("short/a", value);
      const cutting = (times: number) =>
        intercepted(async (n, send) => {
          const response = await send();
          if (n >= times) return response;
          const bytes = await response.arrayBuffer();
          return new Response(bytes.slice(0, 20_000), { headers: { "content-length": String(value.length) } });
        });
      assertEquals(await make({ fetch: cutting(2) }).fetchKeys(["short/a"]), [value]);
      const [error] = await make({ fetch: cutting(Infinity), retries: 1 }).fetchKeys(["short/a"]);
      assertInstanceOf(error, TundraError);
      assertEquals([error.code, error.retryable], ["UNAVAILABLE", true]);
      assertStringIncludes(error.message, '20000 of "50000" bytes');
    });

    it("never takes a range that was cut off for the whole, or another range for it", async () => {
      const value = randomBytes(50_000);
      await make().putKey("short/b", value);
      const read = { name: "short/b", offset: 10_000, length: 20_000 };
      const range = value.slice(10_000, 30_000);
      const cutting = (times: number) =>
        intercepted(async (n, send) => {
          const { status, headers, body } = await send();
          if (n >= times) return new Response(body, { status, headers });
          const bytes = await new Response(body).arrayBuffer();
          const said = headers.get("content-range")!;
          return new Response(bytes.slice(0, 5000), { status, headers: { "content-range": said } });
        });
      assertEquals(await make({ fetch: cutting(2) }).fetchRanges([read]), [range]);
      const moved = intercepted((n, send, init) => {
        // The header is not signed: whoever stands between may change it.
        if (n === 0) (init.headers as Headers).set("range", "bytes=10001-30000");
        return send();
      });
      assertEquals(await make({ fetch: moved }).fetchRanges([read]), [range]);
      const [error] = await make({ fetch: cutting(Infinity), retries: 1 }).fetchRanges([read]);
      assertInstanceOf(error, TundraError);
      assertEquals([error.code, error.retryable], ["UNAVAILABLE", true]);
      assertStringIncludes(error.message, "the reply ended after 5000 bytes");
    });

    it("ends at once when its signal is aborted during a request, and between two", async () => {
      const reason = new Error("enough");
      const from = performance.now();
      const hanging = new AbortController();
      const never = intercepted(() => {
        hanging.abort(reason);
        return new Promise(() => {});
      });
      const slots = make({ fetch: never }).fetchKeys(["a", "b"], { signal: hanging.signal });
      assertEquals(await assertRejects(() => slots), reason);

      const retrying = new AbortController();
      let requests = 0;
      const refused = intercepted(() => {
        requests++;
        setTimeout(() => retrying.abort(reason), 0);
        return Promise.reject(new TypeError("connection refused"));
      });
      const put = make({ fetch: refused, retries: 10 }).putKey("a", new Uint8Array(1), { signal: retrying.signal });
      assertEquals(await assertRejects(() => put), reason);
      assert(requests < 5, "retries must end");
      assert(performance.now() - from < 5000, "no time limit is waited for");
      assertEquals(await make().hasKeys(["a"]), [false]);
    });

    it("corrects a wrong clock from the server's, once", async () => {
      const rightTime = Date.now;
      for (const offsetMs of [3_600_000, -86_400_000]) {
        const wrongTime = () => rightTime() + offsetMs;
        // The server may live in this process: only the client's clock is wrong.
        const fetchInTime = intercepted(async (_, send) => {
          Date.now = rightTime;
          try {
            return await send();
          } finally {
            Date.now = wrongTime;
          }
        });
        let requests = 0;
        const options = { onRequest: () => void requests++ };
        const store = make({ fetch: fetchInTime, retries: 0 });
        try {
          Date.now = wrongTime;
          await store.putKey("clock/a", Uint8Array.from([1]), options);
          assertEquals(requests, 2);
          assertEquals(await store.fetchKeys(["clock/a"], options), [Uint8Array.from([1])]);
          assertEquals(requests, 3);
        } finally {
          Date.now = rightTime;
        }
      }
    });

    it("announces each request, and makes none that was not allowed", async () => {
      let sent = 0;
      const store = make({ fetch: intercepted((_, send) => (sent++, send())), concurrency: 3 });
      let budget = 1000;
      const budgetUsedUp = new Error("budget used up");
      const options = {
        onRequest: () => {
          if (budget-- <= 0) throw budgetUsedUp;
        },
      };
      const names = Array.from({ length: 9 }, (_, i) => `budget/${i}`);
      for (const name of names) await store.putKey(name, new Uint8Array(1), options);
      await store.fetchKeys(names, options);
      await store.fetchRanges(names.map((name) => ({ name, offset: 0, length: 1 })), options);
      await store.hasKeys(names, options);
      await store.listKeys("budget/", undefined, options);
      await store.deleteKeys(names.slice(4), options);
      // those that are deleted together are one
      assertEquals([1000 - budget, sent], [38, 38]);

      for (const call of [store.fetchKeys, store.hasKeys]) {
        budget = 2;
        sent = 0;
        assertEquals(await assertRejects(() => call(names, options) as Promise<unknown>), budgetUsedUp);
        assertEquals(sent, 2);
      }
      budget = 0;
      assertEquals(await assertRejects(() => store.deleteKeys(names, options)), budgetUsedUp);
      assertEquals(await assertRejects(() => store.putKey("budget/x", new Uint8Array(1), options)), budgetUsedUp);
      assertEquals(await assertRejects(() => store.listKeys("", undefined, options)), budgetUsedUp);
      assertEquals(sent, 2);
    });
  });
}
