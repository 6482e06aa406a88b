import { Buffer } from "node:buffer";
import { after, before, beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  type Fault,
  type FaultLayer,
  type FaultPlan,
  faultyFetch,
  randomFaults,
  startFaultProxy,
} from "../../dev/servers/faults.ts";
import { s3Datastore } from "../../src/datastores/s3/datastore.ts";
import { startS3 } from "../../src/testing/s3.ts";
import { seededRandom } from "../support/random.ts";
import { withStack } from "../support/stack.ts";
import { gate, until } from "../support/waiting.ts";

interface Subject {
  url: string;
  fetch: typeof fetch;
  layer: FaultLayer;
  stop(): Promise<void>;
}

const KINDS: Record<string, (target: string) => Promise<Subject>> = {
  "a faulty fetch": (target) => {
    const faulty = faultyFetch(fetch, []);
    return Promise.resolve({ url: target, fetch: faulty, layer: faulty, stop: () => Promise.resolve() });
  },
  "a fault proxy": async (target) => {
    const proxy = await startFaultProxy({ target });
    return { url: proxy.url, fetch, layer: proxy, stop: () => proxy.stop() };
  },
};

for (const [kind, start] of Object.entries(KINDS)) {
  describe(kind, () => {
    const stack = withStack();
    let subject: Subject;
    before(async () => void (subject = await start(stack.server.url)));
    after(() => subject.stop());
    beforeEach(() => stack.flush());

    const ask = async (command: unknown[], signal?: AbortSignal) => {
      const response = await subject.fetch(subject.url, {
        method: "POST",
        headers: { authorization: `Bearer ${stack.server.token}` },
        body: JSON.stringify(command),
        signal,
      });
      return { status: response.status, text: await response.text() };
    };
    const incr = (signal?: AbortSignal) => ask(["INCR", "n"], signal);
    const count = async () => Number(String(await stack.raw("GET", "n") ?? 0));
    const plan = (plan: FaultPlan) => subject.layer.setPlan(plan);
    const one = (fault: Fault) => plan([{ fault }]);

    it("passes everything on if no fault is planned, and shows what passed", async () => {
      plan([]);
      const text = "ä€😀".repeat(30_000);
      const before = subject.layer.log.length;
      assertEquals(await ask(["SET", "a", text]), { status: 200, text: '{"result":"OK"}' });
      assertEquals(JSON.parse((await ask(["GET", "a"])).text), { result: text });
      const [set, get] = subject.layer.log.slice(before);
      assertEquals([set!.method, set!.n, set!.fault], ["POST", before + 1, undefined]);
      assertEquals(JSON.parse(set!.body), ["SET", "a", text]);
      assertEquals(get!.body, '["GET","a"]');
      const path = await subject.fetch(`${subject.url}/get/a%2Fb?_token=${stack.server.token}`);
      assertEquals(await path.json(), { result: null });
      assert(subject.layer.log.at(-1)!.url.endsWith(`/get/a%2Fb?_token=${stack.server.token}`));
    });

    it("breaks the connection before the request took effect, or after", async () => {
      one({ type: "reset" });
      await assertRejects(() => incr());
      assertEquals(await count(), 0);
      one({ type: "reset", served: true });
      await assertRejects(() => incr());
      assertEquals(await count(), 1);
      assertEquals((await incr()).text, '{"result":2}');
    });

    it("lets a request hang until the client gives up, without or with its effect", async () => {
      for (const served of [false, true]) {
        one({ type: "hang", served });
        const start = performance.now();
        await assertRejects(() => incr(AbortSignal.timeout(150)));
        assert(performance.now() - start > 100);
        assertEquals(await count(), served ? 1 : 0);
      }
    });

    it("answers with another status, without or with the effect", async () => {
      one({ type: "status", status: 503, body: "busy" });
      assertEquals(await incr(), { status: 503, text: "busy" });
      assertEquals(await count(), 0);
      one({ type: "status", status: 500, served: true, headers: { "retry-after": "1" } });
      const response = await subject.fetch(`${subject.url}/incr/n?_token=${stack.server.token}`);
      assertEquals([response.status, response.headers.get("retry-after"), await response.text()], [500, "1", ""]);
      assertEquals(await count(), 1);
    });

    it("delays a request, or its answer, for a time or until the test says so", async () => {
      one({ type: "delay", ms: 120 });
      const start = performance.now();
      assertEquals((await incr()).text, '{"result":1}');
      assert(performance.now() - start > 100);

      const { wait, open } = gate();
      one({ type: "delay", until: wait() });
      const held = incr();
      assertEquals((await incr()).text, '{"result":2}');
      open();
      assertEquals((await held).text, '{"result":3}');

      const second = gate();
      one({ type: "delay", until: second.wait(), served: true });
      const answer = incr();
      await until("it was served", async () => await count() >= 4);
      assertEquals((await incr()).text, '{"result":5}');
      second.open();
      assertEquals((await answer).text, '{"result":4}');
    });

    it("delivers a delayed request although the client has given up", async () => {
      const { wait, open } = gate();
      one({ type: "delay", until: wait() });
      await assertRejects(() => incr(AbortSignal.timeout(60)));
      assertEquals(await count(), 0);
      open();
      await subject.layer.settled();
      assertEquals(await count(), 1);
    });

    it("lets a request come late, long after the client was told that it failed", async () => {
      const { wait, open } = gate();
      one({ type: "late", until: wait() });
      await assertRejects(() => incr());
      assertEquals((await ask(["SET", "n", "10"])).status, 200);
      assertEquals(await count(), 10);
      open();
      await subject.layer.settled();
      assertEquals(await count(), 11);
    });

    it("sends a request twice, the copy at once or late", async () => {
      one({ type: "duplicate" });
      assertEquals((await incr()).text, '{"result":1}');
      assertEquals(await count(), 2);
      const { wait, open } = gate();
      one({ type: "duplicate", until: wait() });
      assertEquals((await incr()).text, '{"result":3}');
      assertEquals(await count(), 3);
      open();
      await subject.layer.settled();
      assertEquals(await count(), 4);
    });

    it("cuts a body short: a broken connection, or a short body that looks whole", async () => {
      one({ type: "truncate", bytes: 5 });
      await assertRejects(() => incr());
      assertEquals(await count(), 1);
      one({ type: "truncate", bytes: 5, clean: true });
      assertEquals(await incr(), { status: 200, text: '{"res' });
      one({ type: "truncate", clean: true });
      assertEquals(await incr(), { status: 200, text: '{"resu' });
    });

    it("flips one bit of a body", async () => {
      one({ type: "corrupt", at: 10 });
      assertEquals(await incr(), { status: 200, text: '{"result":0}' });
      assertEquals(await count(), 1);
    });

    it("strikes the nth request that matches, as often as the rule says", async () => {
      plan([
        { match: /INCR/, nth: 2, times: 2, fault: { type: "status", status: 500 } },
        { match: ({ body }) => body.includes('"GET"'), fault: { type: "status", status: 429 } },
      ]);
      const statuses = [];
      for (
        const command of [["INCR", "n"], ["SET", "a", 1], ["INCR", "n"], ["GET", "a"], ["INCR", "n"], ["INCR", "n"]]
      ) {
        statuses.push((await ask(command)).status);
      }
      assertEquals(statuses, [200, 200, 500, 429, 500, 200]);
      assertEquals((await ask(["GET", "a"])).status, 200);
      assertEquals(await count(), 2);
      plan(({ n, method, url }) => n > 0 && method === "POST" && url ? { type: "status", status: 502 } : undefined);
      assertEquals((await incr()).status, 502);
    });
  });
}

describe("random faults", () => {
  it("are the same again from the same seed, and as frequent as asked for", () => {
    const request = { url: "/", method: "GET", body: "", n: 1 };
    const { seed, next } = seededRandom("random faults");
    const draw = (random: () => number) => {
      const plan = randomFaults({ random, rate: 0.3 });
      return Array.from({ length: 5000 }, () => plan(request));
    };
    const faults = draw(next);
    const share = faults.filter((fault) => fault !== undefined).length / faults.length;
    assert(share > 0.25 && share < 0.35, `share ${share}, seed ${seed}`);
    assertEquals(new Set(faults.map((fault) => fault?.type)).size, 7, `seed ${seed}`);
    const values = [0.1, 0, 0.9, 0.1, 0.99, 0.5];
    const plan = randomFaults({ random: () => values.shift()!, rate: 0.3 });
    assertEquals([plan(request), plan(request), plan(request), plan(request)], [
      { type: "reset" },
      undefined,
      { type: "truncate" },
      undefined,
    ]);
  });
});

describe("a fault proxy in front of S3", () => {
  it("leaves signatures valid, and bodies and unusual names as they are", async () => {
    const s3 = await startS3();
    const proxy = await startFaultProxy({ target: s3.url });
    const store = s3Datastore({
      endpoint: proxy.url,
      region: s3.region,
      bucket: "tundra",
      accessKeyId: s3.accessKeyId,
      secretAccessKey: s3.secretAccessKey,
    });
    const bytes = Uint8Array.from({ length: 300_000 }, (_, i) => i * 7);
    const name = "default/user.3A1.C3.A9~x/0001-_";
    assertEquals(await store.putKey(name, bytes), true);
    const [back] = await store.fetchKeys([name]);
    assertEquals(Buffer.from(back as Uint8Array).equals(bytes), true);
    assertEquals((await store.listKeys!("default/")).names, [name]);
    assertEquals(proxy.log.map(({ method }) => method), ["PUT", "GET", "GET"]);
    await proxy.stop();
    await s3.stop();
  });
});
