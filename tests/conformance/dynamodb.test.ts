/** `dynamodbDatastore` on dynalite, behind a check of signatures. */
import { after, before, describe, it } from "node:test";
import { AwsV4Signer } from "aws4fetch";
import { assert, assertEquals, assertFalse, assertInstanceOf, assertRejects, assertStringIncludes } from "@std/assert";
import { type DynamodbServer, startDynamodb } from "../../dev/servers/dynamodb.ts";
import { faultyFetch, randomFaults } from "../../dev/servers/faults.ts";
import { TundraError } from "../../src/base/errors.ts";
import { dynamodbDatastore, type DynamodbDatastoreOptions } from "../../src/datastores/dynamodb/datastore.ts";
import { headKey, itemBytes, MAX_ITEM_BYTES, roomIn } from "../../src/datastores/dynamodb/items.ts";
import { seededRandom } from "../support/random.ts";
import { codeOf, datastoreConformance, listAll, randomBytes } from "./datastore.ts";

function optionsFor(server: DynamodbServer, more: Partial<DynamodbDatastoreOptions> = {}): DynamodbDatastoreOptions {
  const { url: endpoint, region, accessKeyId, secretAccessKey } = server;
  return { endpoint, region, table: "tundra", accessKeyId, secretAccessKey, ...more };
}

let conformance: DynamodbServer;
datastoreConformance("in DynamoDB", async () => {
  conformance = await startDynamodb();
  const store = dynamodbDatastore(optionsFor(conformance));
  await store.ensureTable();
  return { store, stop: conformance.stop };
}, {
  fetchRanges: false,
  putParts: false,
  replaces: false,
  onRequest: true,
  unreachable: () => dynamodbDatastore(optionsFor(conformance, { table: "no-such-table" })),
});

/** A `fetch` that may do something else for a request, told by its operation and its number from 0. */
function intercepted(act: (operation: string, n: number, send: () => Promise<Response>) => Promise<Response>) {
  let n = 0;
  return ((input: string, init: RequestInit) => {
    const operation = new Headers(init.headers).get("x-amz-target")!.split(".")[1]!;
    return act(operation, n++, () => fetch(input, init));
  }) as typeof fetch;
}

describe("dynamodbDatastore on dynalite", () => {
  let server: DynamodbServer;
  const make = (more: Partial<DynamodbDatastoreOptions> = {}) => dynamodbDatastore(optionsFor(server, more));
  const large = randomBytes(450_000);
  before(async () => {
    server = await startDynamodb({ createTableMs: 200 });
    await Promise.all([make().ensureTable(), make().ensureTable(), make().ensureTable()]);
  });
  after(() => server?.stop());

  /** The server's answer to an operation that the datastore has no part in. */
  async function ask(operation: string, body: Record<string, unknown>): Promise<Record<string, unknown>> {
    const { accessKeyId, secretAccessKey, region } = server;
    const headers = { "content-type": "application/x-amz-json-1.0", "x-amz-target": `DynamoDB_20120810.${operation}` };
    const own = { accessKeyId, secretAccessKey, region, service: "dynamodb", headers };
    const signed = await new AwsV4Signer({ ...own, method: "POST", url: server.url, body: JSON.stringify(body) })
      .sign();
    return await (await fetch(signed.url, signed as RequestInit)).json();
  }
  async function itemsLeft(): Promise<number> {
    let count = 0;
    for (let from: unknown = null, first = true; first || from; first = false) {
      const start = from ? { ExclusiveStartKey: from } : {};
      const page = await ask("Scan", { TableName: "tundra", Select: "COUNT", ...start });
      count += Number(page.Count);
      from = page.LastEvaluatedKey;
    }
    return count;
  }

  it("makes its table once, on demand, and has waited for it", async () => {
    const { Table } = await ask("DescribeTable", { TableName: "tundra" }) as { Table: Record<string, unknown> };
    assertEquals(Table.TableStatus, "ACTIVE");
    assertEquals(Table.BillingModeSummary !== undefined, true);
    await make({ table: "with-capacity" }).ensureTable({ capacity: { read: 3, write: 4 } });
    const capacity = (await ask("DescribeTable", { TableName: "with-capacity" })).Table as typeof Table;
    const { ReadCapacityUnits, WriteCapacityUnits } = capacity.ProvisionedThroughput as Record<string, number>;
    assertEquals([ReadCapacityUnits, WriteCapacityUnits], [3, 4]);
  });

  it("says whose fault wrong credentials are, and keeps them to itself", async () => {
    const wrong: [string, Partial<DynamodbDatastoreOptions>][] = [
      ["InvalidSignatureException", { secretAccessKey: "wrong-secret-of-40-characters-0123456789" }],
      ["UnrecognizedClientException", { accessKeyId: "WRONGACCESSKEYID" }],
      ["UnrecognizedClientException", { sessionToken: "wrong-session-token" }],
      ["InvalidSignatureException", { region: "eu-west-9" }],
    ];
    for (const [code, options] of wrong) {
      const store = make(options);
      const errors = [
        await assertRejects(() => store.putKey("credentials/new", new Uint8Array(1)), TundraError),
        ...await store.fetchKeys(["credentials/a", "credentials/b"]),
        ...await store.hasKeys(["credentials/a"]),
        await assertRejects(() => store.deleteKeys(["credentials/a"]), TundraError),
        await assertRejects(() => store.listKeys(""), TundraError),
        await assertRejects(() => store.ensureTable(), TundraError),
      ];
      for (const error of errors) {
        assertInstanceOf(error, TundraError);
        assertEquals([error.code, error.retryable], ["UNAVAILABLE", false]);
        assertStringIncludes(error.message, code);
        const { region: _, ...secrets } = options;
        for (const secret of [server.secretAccessKey, ...Object.values(secrets)]) {
          assertFalse(error.message.includes(secret as string), error.message);
        }
      }
    }
    assertEquals(await make().hasKeys(["credentials/new"]), [false]);
  });

  it("sends a session token, and works with a server whose clock is hours away", async () => {
    const other = await startDynamodb({ sessionToken: "session-token-0123456789", clockOffsetMs: 5 * 3_600_000 });
    try {
      const store = dynamodbDatastore(optionsFor(other, { sessionToken: other.sessionToken }));
      await store.ensureTable();
      await store.putKey("a", Uint8Array.from([1]));
      assertEquals(await store.fetchKeys(["a", "b"]).then((slots) => slots.map(codeOf)), [
        Uint8Array.from([1]),
        "NOT_FOUND",
      ]);
    } finally {
      await other.stop();
    }
  });

  it("puts an object of the greatest size in one item, and one byte more in parts", async () => {
    const name = "size/of.an.item";
    const head = { ...headKey(name), h: { B: btoa("h".repeat(32)) }, t: { S: "00000000" } };
    const most = randomBytes(roomIn(head), 7);
    await make().putKey(name, most);
    assertEquals(await itemsLeft(), 1);
    assertEquals(await make().fetchKeys([name]), [most]);
    await make().deleteKeys([name]);
    const more = new Uint8Array([...most, 1]); // a note, a part, the head
    await make().putKey(name, more);
    assertEquals([await itemsLeft(), await make().fetchKeys([name])], [3, [more]]);
    await make().deleteKeys([name]);
    // the server draws the line at the same byte
    const item = { ...headKey("size/raw"), v: { B: btoa("x".repeat(1000)) } };
    const fill = MAX_ITEM_BYTES - itemBytes(item) - "w".length;
    const put = async (bytes: number) =>
      await ask("PutItem", { TableName: "tundra", Item: { ...item, w: { S: "x".repeat(bytes) } } });
    assertEquals(await put(fill), {});
    assertStringIncludes(String((await put(fill + 1)).message), "Item size has exceeded");
    await make().deleteKeys(["size/raw"]);
  });

  it("reads more than one reply holds", async () => {
    const names = Array.from({ length: 16 }, (_, i) => `many/${i}`);
    const values = names.map((_, i) => randomBytes(120_000, i));
    await Promise.all(names.map((name, i) => make().putKey(name, values[i]!)));
    let requests = 0;
    const slots = await make().fetchKeys(names, { onRequest: () => void requests++ });
    for (const [i, slot] of slots.entries()) assertEquals((slot as Uint8Array).length, values[i]!.length);
    assert(requests > 1, `dynalite replies 1.4 MB at most: ${requests} requests`);
    await make().deleteKeys(names);
  });

  it("has stored the same bytes if the answer to a put is lost, also of an object that must be new", async () => {
    for (const ifAbsent of [false, true]) {
      const losing = intercepted(async (_, n, send) => {
        const response = await send();
        await response.clone().arrayBuffer();
        if (n === 0) throw new TypeError("socket hang up");
        return response;
      });
      const name = `lost/${ifAbsent}`;
      assertEquals(await make({ fetch: losing }).putKey(name, Uint8Array.from([1]), { ifAbsent }), true);
      assertEquals(await make().fetchKeys([name]), [Uint8Array.from([1])]);
      const other = make().putKey(name, Uint8Array.from([1]), { ifAbsent: true });
      assertEquals(codeOf(await assertRejects(() => other)), "CONFLICT");
    }
    await make().deleteKeys(["lost/false", "lost/true"]);
  });

  it("shows an object in parts whole or not at all, while it is put and while other bytes are put under its name", async () => {
    const value = randomBytes(600_000, 1);
    const others = [randomBytes(450_000, 2), randomBytes(500_000, 3)];
    let writing = 3;
    const puts = [value, ...others].map((each) =>
      make().putKey("parts/a", each).then(() => each, (error) => codeOf(error)).finally(() => writing--)
    );
    let absent = 0;
    const seen = new Set<number>();
    for (let last = false; !last;) {
      last = writing === 0;
      const [slot] = await make().fetchKeys(["parts/a"]);
      if (slot instanceof Uint8Array) {
        const which = [value, ...others].find(({ length }) => length === slot.length)!;
        assert(which.every((byte, i) => byte === slot[i]), "every byte must be that of one put");
        seen.add(slot.length);
      } else {
        assertEquals([codeOf(slot), seen.size], ["NOT_FOUND", 0]);
        absent++;
      }
    }
    const results = await Promise.all(puts);
    assertEquals(results.filter((each) => each === "CONFLICT").length, 2);
    const stored = results.find((each) => each instanceof Uint8Array) as Uint8Array;
    assertEquals([[...seen], absent > 0], [[stored.length], true]);
    await make().deleteKeys(["parts/a"]);
    assertEquals(await itemsLeft(), 0);
  });

  it("takes an object again whose put has failed at any request, and deletes what that has left", async () => {
    // a note, a batch of parts, the head
    for (const at of [0, 1, 2]) {
      for (const served of [false, true]) {
        const failing = intercepted(async (_, n, send) => {
          if (n < at) return await send();
          if (served && n === at) await (await send()).arrayBuffer();
          throw new TypeError("connection refused");
        });
        const failed = make({ fetch: failing, retries: 0 }).putKey("half/a", large);
        assertEquals(codeOf(await assertRejects(() => failed)), "UNAVAILABLE");
        const isThere = at === 2 && served;
        assertEquals((await make().fetchKeys(["half/a"])).map(codeOf), [isThere ? large : "NOT_FOUND"]);
        assertEquals((await make().listKeys("half/")).names, isThere ? ["half/a"] : []);
        if (at === 1) {
          // other bytes, since nobody has ever seen these
          await make().putKey("half/a", large.subarray(7));
          assertEquals(await make().fetchKeys(["half/a"]), [large.slice(7)]);
        } else {
          await make().putKey("half/a", large);
          assertEquals(await make().fetchKeys(["half/a"]), [large]);
        }
        await make().deleteKeys(["half/a"]);
        assertEquals(await itemsLeft(), 0);
      }
    }
  });

  it("deletes what a put has left that never came to its end", async () => {
    const failing = intercepted((operation, _, send) =>
      operation === "PutItem" ? Promise.reject(new TypeError("connection refused")) : send()
    );
    await assertRejects(() => make({ fetch: failing, retries: 0 }).putKey("left/a", large));
    assertEquals(await itemsLeft(), 1 + 2);
    await make().deleteKeys(["left/a", "left/b"]);
    assertEquals(await itemsLeft(), 0);
  });

  it("still lists an object whose deletion has failed half-way, and deletes the rest", async () => {
    for (let at = 1; at <= 3; at++) {
      await make().putKey("going/a", large);
      const failing = intercepted((_, n, send) => n >= at ? Promise.reject(new TypeError("refused")) : send());
      const failed = make({ fetch: failing, retries: 0 }).deleteKeys(["going/a"]);
      assertEquals((await assertRejects(() => failed, TundraError)).keys, ["going/a"]);
      assertEquals((await make().listKeys("going/")).names, ["going/a"]);
      const [slot] = await make().fetchKeys(["going/a"]);
      if (at > 1) assertEquals(codeOf(slot), "UNAVAILABLE");
      await make().deleteKeys(["going/a"]);
      assertEquals(await itemsLeft(), 0);
    }
  });

  it("lists all that is there from the first page to the last, while others come and go", async () => {
    const { next: random } = seededRandom("a listing while names come and go");
    const stay = Array.from({ length: 80 }, (_, i) => `default/k${Math.floor(random() * 1e9)}/${i}`);
    const go = Array.from({ length: 40 }, (_, i) => `default/k${Math.floor(random() * 1e9)}/go${i}`);
    await Promise.all([...stay, ...go].map((name) => make().putKey(name, new Uint8Array(1))));
    const listed: string[] = [];
    let cursor: string | undefined;
    for (let page = 0; page === 0 || cursor !== undefined; page++) {
      const { names, cursor: next } = await make().listKeys("default/", cursor);
      listed.push(...names);
      cursor = next;
      await make().deleteKeys(go.slice(15 * page, 15 * page + 15));
      await make().putKey(`default/k${Math.floor(random() * 1e9)}/come`, new Uint8Array(1));
    }
    assertEquals(listed, [...new Set(listed)].sort());
    assertEquals(stay.filter((name) => !listed.includes(name)), []);
    const { names } = await listAll(make() as never, "default/");
    assertEquals(names.filter((name) => name.includes("/go")).length < 40, true);
    await make().deleteKeys(names);
    assertEquals([(await listAll(make() as never, "")).names, await itemsLeft()], [[], 0]);
  });

  it("keeps its promises under random faults before and after their effect", async () => {
    const { next: random } = seededRandom("random faults on DynamoDB");
    const faulty = faultyFetch(fetch, randomFaults({ random, rate: 0.15 }));
    const store = make({ fetch: faulty });
    const values = new Map(
      Array.from({ length: 16 }, (_, i) => [`faults/${i}`, randomBytes(i % 8 ? 500 : 450_000, i)]),
    );
    const stored = new Set<string>();
    for (const [name, value] of values) {
      await store.putKey(name, value).then(
        () => stored.add(name),
        (error) => assertEquals(codeOf(error), "UNAVAILABLE"),
      );
    }
    assert(stored.size > 9, `only ${stored.size} of 16 were stored`);
    const names = [...values.keys()];
    for (const [i, slot] of (await store.fetchKeys(names)).entries()) {
      if (slot instanceof Uint8Array) assertEquals(slot, values.get(names[i]!));
      else if (stored.has(names[i]!)) assertEquals(codeOf(slot), "UNAVAILABLE");
    }
    await faulty.settled();
    const { names: listed } = await listAll(make() as never, "faults/");
    assertEquals([...stored].filter((name) => !listed.includes(name)), []);
    await make().deleteKeys(names);
    assertEquals(await itemsLeft(), 0);
  });
});
