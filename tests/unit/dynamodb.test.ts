/** `dynamodbDatastore` without a server: its options, its requests, and what each answer means. */
import { after, before, describe, it } from "node:test";
import { assert, assertEquals, assertFalse, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { TundraError } from "../../src/base/errors.ts";
import { PLATFORM, setPlatform } from "../../src/base/platform.ts";
import { dynamodbDatastore, type DynamodbDatastoreOptions } from "../../src/datastores/dynamodb/datastore.ts";
import { fromBase64, toBase64 } from "../../src/datastores/dynamodb/base64.ts";
import {
  headKey,
  type Item,
  itemBytes,
  MAX_ITEM_BYTES,
  partKeys,
  partRoom,
  roomIn,
  shardOf,
  SHARDS,
  shardsUnder,
} from "../../src/datastores/dynamodb/items.ts";
import { codeOf } from "../../src/testing/conformance/assertions.ts";
import { base64, fakeFetch } from "../support/fake_fetch.ts";

const OPTIONS = {
  region: "eu-central-1",
  table: "cold",
  accessKeyId: "AKIAEXAMPLE012345678",
  secretAccessKey: "secret/access+key/0123456789012345678901",
};
const SECRETS = [OPTIONS.accessKeyId, OPTIONS.secretAccessKey];
const ONE = Uint8Array.from([1]);

// waits before retries are none
before(() => setPlatform({ ...PLATFORM, random: () => 0 }));
after(() => setPlatform());

interface Sent {
  n: number;
  operation: string;
  headers: Headers;
  // deno-lint-ignore no-explicit-any
  json: any;
}

/** A store whose requests `answer` answers, and what it sent. */
function fake(answer: (sent: Sent) => unknown, options: Partial<DynamodbDatastoreOptions> = {}) {
  const sent: Sent[] = [];
  const { fetch } = fakeFetch(({ n, headers, json, url }) => {
    assertEquals(url, "https://dynamodb.eu-central-1.amazonaws.com/");
    const operation = headers.get("x-amz-target")!.replace("DynamoDB_20120810.", "");
    const request = { n, operation, headers, json };
    sent.push(request);
    return answer(request);
  });
  const store = dynamodbDatastore({ ...OPTIONS, fetch, retries: 0, ...options });
  return { sent, store, operations: () => sent.map(({ operation }) => operation) };
}

const refusal = (code: string, message = "", status = 400, headers: HeadersInit = {}) =>
  Response.json({ __type: `com.amazonaws.dynamodb.v20120810#${code}`, message }, { status, headers });
const failure = (act: () => Promise<unknown>) => assertRejects(act, TundraError);

/** The head of an object as it lies in the table. */
async function headOf(name: string, value: Uint8Array, more: Item = {}): Promise<Item> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", value as Uint8Array<ArrayBuffer>));
  return { ...headKey(name), h: { B: toBase64(hash) }, t: { S: "00000000" }, v: { B: toBase64(value) }, ...more };
}

describe("the options of dynamodbDatastore", () => {
  const wrong: [string, Record<string, unknown>][] = [
    ["no region", { region: undefined }],
    ["a region that is none", { region: "eu central" }],
    ["no table", { table: undefined }],
    ["a table's ARN", { table: "arn:aws:dynamodb:eu-central-1:1:table/cold" }],
    ["no secret", { secretAccessKey: undefined }],
    ["an endpoint that is no URL", { endpoint: "dynamodb" }],
    ["an endpoint with another protocol", { endpoint: "ftp://host" }],
    ["an endpoint with credentials", { endpoint: "http://user:hidden-password@host" }],
    ["an endpoint with a path", { endpoint: "http://host/table" }],
    ["keys beside credentials", { credentials: () => OPTIONS }],
    ["retries that are too many", { retries: 11 }],
    ["an option that there is not", { prefix: "a/" }],
    ["a fetch that is no function", { fetch: "fetch" }],
  ];
  for (const [what, options] of wrong) {
    it(`refuse ${what}, and show no secret`, () => {
      const error = assertThrows(
        () => dynamodbDatastore({ ...OPTIONS, ...options } as DynamodbDatastoreOptions),
        TundraError,
      );
      assertEquals(error.code, "BAD_ARGUMENT");
      for (const secret of [...SECRETS, "hidden-password"]) assertFalse(error.message.includes(secret), error.message);
    });
  }

  it("name the table and no secret in place, and make no request", () => {
    const { store, sent } = fake(() => ({}));
    assertEquals([store.place, store.timeoutMs, sent.length], ['table "cold" in eu-central-1', 15_000, 0]);
  });
});

describe("base64 of items", () => {
  it("is that of the standard, of any length", () => {
    for (const length of [0, 1, 2, 3, 8192, 8193, 8194, 24_580]) {
      const bytes = Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) % 256);
      const text = toBase64(bytes);
      assertEquals(atob(text).length, length);
      assertEquals(fromBase64(text), bytes);
    }
    assertEquals(toBase64(Uint8Array.from([255, 239, 190, 0])), "/+++AA==");
    assertThrows(() => fromBase64("%"));
  });
});

describe("the size of an item", () => {
  // https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
  it("is that of names and values: strings in UTF-8, bytes as they are and not as base64, sets by their elements", () => {
    const sizes: [Item, number][] = [
      [{}, 0],
      [{ a: { S: "" } }, 1],
      [{ name: { S: "abc" } }, 7],
      [{ é: { S: "日本" } }, 2 + 6],
      [{ b: { B: toBase64(new Uint8Array(0)) } }, 1],
      [{ b: { B: toBase64(new Uint8Array(1)) } }, 2],
      [{ b: { B: toBase64(new Uint8Array(2)) } }, 3],
      [{ b: { B: toBase64(new Uint8Array(3)) } }, 4],
      [{ b: { B: toBase64(new Uint8Array(1000)) } }, 1001],
      [{ set: { SS: ["ab", "cde"] } }, 8],
      [{ p: { S: "12" }, s: undefined, v: { B: toBase64(new Uint8Array(10)) } }, 3 + 1 + 11],
    ];
    for (const [item, bytes] of sizes) assertEquals([item, itemBytes(item)], [item, bytes]);
  });

  it("leaves an object 409,600 bytes without what stands beside it, whatever its name", () => {
    for (const name of ["a", "default/user.3A1/1764000000000001-0a1b2c3d", "x".repeat(900)]) {
      const head = { ...headKey(name), h: { B: toBase64(new Uint8Array(32)) }, t: { S: "00000000" } };
      // p and 2, s and the name, h and 32, t and 8, v
      assertEquals(roomIn(head), 409_600 - (1 + 2) - (1 + name.length) - (1 + 32) - (1 + 8) - 1);
      const full = { ...head, v: { B: toBase64(new Uint8Array(3)) } };
      assertEquals(itemBytes(full) + roomIn(head) - 3, MAX_ITEM_BYTES);
      // p and the name and "!" and 5 digits, s and 32 digits, v
      assertEquals(partRoom(name), 409_600 - (1 + name.length + 6) - (1 + 32) - 1);
    }
  });

  it("of keys is below DynamoDB's limits, 2,048 and 1,024 bytes, for the longest name", () => {
    const name = "x".repeat(900);
    for (const { p, s } of [headKey(name), ...partKeys(name, "f".repeat(64), 99_999).slice(-1)]) {
      assert(p.S.length <= 2048 && s.S.length <= 1024, `${p.S.length} ${s.S.length}`);
    }
  });
});

describe("the shards of names", () => {
  it("are the same in every version: an archive's layout", () => {
    const names = ["", "a", "a/b", "default/user.3A1/1764000000000001-0a1b2c3d", "default/~owner/first"];
    assertEquals(names.map(shardOf), ["!1", "!d", "!2", "!e", "!e"]);
  });

  it("hold all versions of a key together, and keys evenly", () => {
    const counts = new Map<string, number>();
    for (let i = 0; i < 16_000; i++) {
      const shard = shardOf(`default/user.3A${i}/1764000000000001-0a1b2c3d`);
      if (i < 100) assertEquals(shardOf(`default/user.3A${i}/1864000000000001-ffffffff`), shard);
      if (i < 100) assertEquals(shardsUnder(`default/user.3A${i}/17`), [shard]);
      counts.set(shard, (counts.get(shard) ?? 0) + 1);
    }
    assertEquals([...counts.keys()].sort(), [...SHARDS]);
    for (const count of counts.values()) assert(count > 850 && count < 1150, String(count));
    for (const prefix of ["", "default", "default/", "default/user"]) assertEquals(shardsUnder(prefix), SHARDS);
  });
});

describe("a request of dynamodbDatastore", () => {
  it("is signed for DynamoDB with its body and its session token, and read with ConsistentRead", async () => {
    const { store, sent, operations } = fake(({ operation, json }) => {
      if (operation === "BatchGetItem") return { Responses: { cold: [] }, UnprocessedKeys: {} };
      if (operation === "Query") return { Items: [], Count: 0 };
      assertEquals(json.ConditionExpression, "attribute_not_exists(p) OR t = :t OR h = :h");
      return {};
    }, { sessionToken: "session-token-0123456789" });
    await store.putKey("a/b/c", ONE);
    await store.fetchKeys(["a/b/c"]);
    await store.hasKeys(["a/b/c"]);
    await store.listKeys("a/b/");
    await store.listKeys("a/");
    assertEquals(operations(), ["PutItem", "BatchGetItem", "BatchGetItem", ...Array(17).fill("Query")]);
    for (const { operation, headers, json } of sent) {
      assertStringIncludes(headers.get("authorization")!, "/eu-central-1/dynamodb/aws4_request, SignedHeaders=host;");
      assertStringIncludes(headers.get("authorization")!, "x-amz-date;x-amz-security-token;x-amz-target");
      assertEquals(headers.get("content-type"), "application/x-amz-json-1.0");
      assertEquals(headers.get("x-amz-security-token"), "session-token-0123456789");
      if (operation === "Query") assertEquals(json.ConsistentRead, true);
      if (operation === "BatchGetItem") assertEquals(json.RequestItems.cold.ConsistentRead, true);
    }
  });

  const codes: [
    status: number,
    code: string,
    message: string,
    expected: string,
    retryable: boolean,
    requests: number,
  ][] = [
    [400, "ProvisionedThroughputExceededException", "", "UNAVAILABLE", true, 3],
    [400, "ThrottlingException", "", "UNAVAILABLE", true, 3],
    [400, "RequestLimitExceeded", "", "UNAVAILABLE", true, 3],
    [500, "InternalServerError", "", "UNAVAILABLE", true, 3],
    [503, "", "", "UNAVAILABLE", true, 3],
    [429, "", "", "UNAVAILABLE", true, 3],
    [501, "", "", "UNAVAILABLE", false, 1],
    [400, "ResourceNotFoundException", "Requested resource not found", "UNAVAILABLE", false, 1],
    [400, "AccessDeniedException", "User is not authorized", "UNAVAILABLE", false, 1],
    [400, "UnrecognizedClientException", "The security token is invalid", "UNAVAILABLE", false, 1],
    [400, "InvalidSignatureException", "The signature does not match", "UNAVAILABLE", false, 1],
    [400, "MissingAuthenticationTokenException", "", "UNAVAILABLE", false, 1],
    [400, "ExpiredTokenException", "The security token is expired", "UNAVAILABLE", false, 1],
    [400, "ValidationException", "Something else", "UNAVAILABLE", false, 1],
    [400, "ValidationException", "Item size has exceeded the maximum allowed size", "TOO_LARGE", false, 1],
    [
      400,
      "ValidationException",
      "Size of hashkey has exceeded the maximum size limit of2048 bytes",
      "UNSUPPORTED",
      false,
      1,
    ],
    [400, "UnknownOperationException", "", "UNAVAILABLE", false, 1],
    [302, "", "", "UNAVAILABLE", false, 1],
    [404, "", "", "UNAVAILABLE", false, 1],
  ];
  for (const [status, code, message, expected, retryable, requests] of codes) {
    it(`that is refused by ${status} ${code || "without a code"}${message && `: ${message}`} is ${expected}`, async () => {
      const { store, sent } = fake(() => code ? refusal(code, message, status) : new Response("", { status }), {
        retries: 2,
      });
      let announced = 0;
      const options = { onRequest: () => void announced++ };
      const error = await failure(() => store.putKey("a", ONE, options));
      assertEquals([error.code, error.retryable, sent.length], [expected, retryable, requests]);
      assertEquals(announced, requests);
      assertStringIncludes(error.message, `${status} ${code}`);
      const [slot] = await store.fetchKeys(["a"]);
      assertEquals([codeOf(slot), (slot as TundraError).retryable], [expected, retryable]);
    });
  }

  it("that is refused says what to do, and never a secret", async () => {
    const advice: [string, string][] = [
      ["ResourceNotFoundException", "ensureTable()"],
      ["AccessDeniedException", "allow dynamodb:PutItem"],
      ["UnrecognizedClientException", "check accessKeyId"],
      ["ExpiredTokenException", "newer credentials"],
    ];
    for (const [code, says] of advice) {
      const said = `the key ${OPTIONS.accessKeyId} and ${OPTIONS.secretAccessKey}\n`;
      const { store } = fake(() => refusal(code, said));
      const { message } = await failure(() => store.putKey("a", ONE));
      assertStringIncludes(message, says);
      for (const secret of SECRETS) assertFalse(message.includes(secret), message);
    }
  });

  it("goes on after throttling as soon as there is capacity", async () => {
    const { store, sent } = fake(({ n }) => n < 2 ? refusal("ThrottlingException") : {}, { retries: 4 });
    assertEquals(await store.putKey("a", ONE), true);
    assertEquals(sent.length, 3);
  });

  it("corrects a wrong clock from the server's, once", async () => {
    const date = new Date(Date.now() + 3_600_000).toUTCString();
    const { store, sent } = fake(({ headers }) =>
      headers.get("x-amz-date")!.slice(9, 11) === date.slice(17, 19)
        ? {}
        : refusal("InvalidSignatureException", "Signature expired: ... is now earlier than ...", 400, { date })
    );
    assertEquals(await store.putKey("a", ONE), true);
    assertEquals(await store.putKey("b", ONE), true);
    assertEquals(sent.length, 3);
    const always = fake(() => refusal("InvalidSignatureException", "Signature not yet current", 400, { date }));
    assertEquals((await failure(() => always.store.putKey("a", ONE))).code, "UNAVAILABLE");
    assertEquals(always.sent.length, 2);
  });

  it("is signed by newer credentials if the first ones have expired", async () => {
    let asked = 0;
    const credentials = () => ({ ...OPTIONS, sessionToken: `session-token-${asked++}` });
    const { store, sent } = fake(
      ({ headers }) =>
        headers.get("x-amz-security-token") === "session-token-0" ? refusal("ExpiredTokenException") : {},
      { accessKeyId: undefined, secretAccessKey: undefined, credentials },
    );
    assertEquals(await store.putKey("a", ONE), true);
    assertEquals([sent.length, asked], [2, 2]);
  });

  it("is never taken for a success if the reply is none of DynamoDB's", async () => {
    const replies: [string, () => Response][] = [
      ["a web page", () => new Response("<html></html>", { headers: { "content-type": "text/html" } })],
      ["nothing", () => new Response("")],
      ["an array", () => Response.json([])],
      ["null", () => Response.json(null)],
      ["a part of it", () => new Response('{"Responses":{"cold":[', { headers: { "content-length": "22" } })],
      ["fewer bytes", () => new Response("{}", { headers: { "content-length": "200" } })],
      ["no content", () => new Response(null, { status: 204 })],
    ];
    for (const [what, reply] of replies) {
      const { store, sent } = fake(reply, { retries: 1 });
      const errors = [
        await failure(() => store.putKey("a", ONE)),
        await failure(() => store.listKeys("a/b/")),
        await failure(() => store.deleteKeys(["a"])),
        ...await store.fetchKeys(["a"]),
        ...await store.hasKeys(["a"]),
      ];
      assertEquals([what, ...errors.map(codeOf)], [what, ...Array(5).fill("UNAVAILABLE")]);
      if (what !== "no content") assertEquals([what, sent.length], [what, 10]);
    }
  });
});

describe("a batch of dynamodbDatastore", () => {
  const keysOf = ({ json }: Sent) => json.RequestItems.cold.Keys as { p: { S: string }; s: { S: string } }[];

  it("has at most 100 items, each once, and answers in the order of the names", async () => {
    const names = Array.from({ length: 250 }, (_, i) => `order/${i}`);
    const { store, sent } = fake(async (request) => {
      const items = await Promise.all(keysOf(request).map(({ s }) => headOf(s.S, new TextEncoder().encode(s.S))));
      return { Responses: { cold: items.reverse() }, UnprocessedKeys: {} };
    });
    const asked = [...names, ...names.slice(0, 7)];
    const slots = await store.fetchKeys(asked);
    assertEquals(slots.map((slot) => new TextDecoder().decode(slot as Uint8Array)), asked);
    assertEquals(sent.map((request) => keysOf(request).length).sort(), [100, 100, 50]);
  });

  it("asks again for keys that were left, and takes none of them for absent", async () => {
    const names = ["left/a", "left/b", "left/c"];
    const { store, sent } = fake(async (request) => {
      const [first, ...others] = keysOf(request);
      const item = await headOf(first!.s.S, ONE);
      const left = others.length > 0 ? { cold: { Keys: others, ConsistentRead: true } } : {};
      return { Responses: { cold: first!.s.S === "left/b" ? [] : [item] }, UnprocessedKeys: left };
    });
    assertEquals((await store.fetchKeys(names)).map(codeOf), [ONE, "NOT_FOUND", ONE]);
    assertEquals(sent.map((request) => keysOf(request).length), [3, 2, 1]);
  });

  it("gives up if nothing comes, and says why", async () => {
    const { store, sent } = fake((request) => ({
      Responses: {},
      UnprocessedKeys: { cold: { Keys: keysOf(request) } },
    }), { retries: 2 });
    const slots = await store.fetchKeys(["a", "b"]);
    assertEquals(slots.map(codeOf), ["UNAVAILABLE", "UNAVAILABLE"]);
    assertStringIncludes((slots[0] as Error).message, "it left 2 of 2 items undone");
    assertEquals([(slots[0] as TundraError).retryable, sent.length], [true, 3]);
  });

  it("fails alone: the slots of others hold their objects", async () => {
    const names = Array.from({ length: 101 }, (_, i) => `alone/${i}`);
    const { store } = fake(async (request) => {
      if (keysOf(request).length === 1) return refusal("ThrottlingException");
      const items = await Promise.all(keysOf(request).map(({ s }) => headOf(s.S, ONE)));
      return { Responses: { cold: items }, UnprocessedKeys: {} };
    });
    const slots = await store.fetchKeys(names);
    assertEquals(slots.map(codeOf), [...Array(100).fill(ONE), "UNAVAILABLE"]);
  });

  it("never answers that an object is absent if the reply is of another shape", async () => {
    const other = await headOf("other", ONE);
    const mine = await headOf("mine", ONE);
    const shapes: unknown[] = [
      {},
      { Responses: {} },
      { Responses: { other: [] }, UnprocessedKeys: {} },
      { Responses: { cold: {} }, UnprocessedKeys: {} },
      { Responses: { cold: [other] }, UnprocessedKeys: {} },
      { Responses: { cold: [mine, mine] }, UnprocessedKeys: {} },
      { Responses: { cold: [mine] }, UnprocessedKeys: { cold: { Keys: [headKey("mine")] } } },
      { Responses: { cold: [] }, UnprocessedKeys: { cold: { Keys: [headKey("other")] } } },
      { Responses: { cold: [] }, UnprocessedKeys: { cold: { Keys: {} } } },
      { Responses: { cold: [{}] }, UnprocessedKeys: {} },
      { Responses: { cold: [null] }, UnprocessedKeys: {} },
    ];
    for (const shape of shapes) {
      const { store } = fake(() => shape);
      const slots = [...await store.fetchKeys(["mine"]), ...await store.hasKeys(["mine"])];
      assertEquals([shape, ...slots.map(codeOf)], [shape, "UNAVAILABLE", "UNAVAILABLE"]);
    }
  });

  it("never answers another object's bytes, or changed ones", async () => {
    const right = await headOf("a", ONE);
    const wrong: Item[] = [
      { ...right, v: { B: toBase64(Uint8Array.from([2])) } },
      { ...right, v: undefined },
      { ...right, h: undefined },
      { ...right, h: { B: "AAAA" } },
      { ...right, v: { B: "%%%" } },
      { ...right, v: undefined, n: { S: "two" }, z: { S: "9" } },
      { ...right, v: undefined, n: { S: "2" } },
    ];
    for (const item of wrong) {
      const { store } = fake(() => ({ Responses: { cold: [item] }, UnprocessedKeys: {} }));
      assertEquals([item, ...(await store.fetchKeys(["a"])).map(codeOf)], [item, "CORRUPT"]);
    }
    // damaged on its way: it is read once more
    const { store, sent } = fake(({ n }) => ({
      Responses: { cold: [n === 0 ? wrong[0] : right] },
      UnprocessedKeys: {},
    }));
    assertEquals([await store.fetchKeys(["a"]), sent.length], [[ONE], 2]);
  });

  it("of deletions has at most 25, and sends those again that were left", async () => {
    const names = Array.from({ length: 30 }, (_, i) => `delete/${i}`);
    const deleted = new Set<string>();
    const { store, operations } = fake(({ operation, json }) => {
      if (operation === "BatchGetItem") return { Responses: { cold: [] }, UnprocessedKeys: {} };
      const [first, ...others] = json.RequestItems.cold;
      assert(others.length < 25);
      for (const each of [first, ...others.slice(10)]) deleted.add(each.DeleteRequest.Key.s.S);
      const left = others.slice(0, 10);
      return { UnprocessedItems: left.length > 0 ? { cold: left } : {} };
    });
    await store.deleteKeys(names);
    assertEquals([...deleted].sort(), [...names].sort());
    assert(operations().length > 4);
  });

  it("of deletions fails with the names that may still be there", async () => {
    const names = Array.from({ length: 30 }, (_, i) => `delete/${i}`);
    const { store } = fake(({ operation, json }) => {
      if (operation === "BatchGetItem") return { Responses: { cold: [] }, UnprocessedKeys: {} };
      return json.RequestItems.cold.length === 5 ? refusal("ThrottlingException") : { UnprocessedItems: {} };
    });
    const error = await failure(() => store.deleteKeys(names));
    assertEquals([error.code, error.retryable, error.keys], ["UNAVAILABLE", true, names.slice(25)]);
    for (const shape of [{}, { UnprocessedItems: { cold: [{ DeleteRequest: { Key: headKey("other") } }] } }]) {
      const strange = fake(({ operation }) =>
        operation === "BatchGetItem" ? { Responses: { cold: [] }, UnprocessedKeys: {} } : shape
      );
      assertEquals((await failure(() => strange.store.deleteKeys(["a"]))).code, "UNAVAILABLE");
    }
  });
});

describe("an object in parts", () => {
  const value = Uint8Array.from({ length: 1_000_000 }, (_, i) => (i * 31 + (i >> 8)) % 256);

  /** A table in memory, as far as these tests need it. */
  function table(options: { refuse?: (sent: Sent) => unknown } = {}) {
    const items = new Map<string, Item>();
    const id = ({ p, s }: Item) => `${p!.S} ${s!.S}`;
    const made = fake((sent) => {
      const refused = options.refuse?.(sent);
      if (refused) return refused;
      const { operation, json } = sent;
      if (operation === "PutItem") {
        const there = items.get(id(json.Item));
        const { ":t": t, ":h": h } = json.ExpressionAttributeValues;
        if (there && there.t?.S !== t.S && there.h?.B !== h?.B) return refusal("ConditionalCheckFailedException");
        items.set(id(json.Item), json.Item);
      }
      if (operation === "UpdateItem") {
        const words = [...items.get(id(json.Key))?.b?.SS ?? [], ...json.ExpressionAttributeValues[":b"].SS];
        items.set(id(json.Key), { ...json.Key, b: { SS: words } });
      }
      if (operation === "BatchGetItem") {
        const found = keysOf(json).flatMap((key) => items.get(id(key)) ?? []);
        return { Responses: { cold: found }, UnprocessedKeys: {} };
      }
      if (operation !== "BatchWriteItem") return {};
      for (const { PutRequest, DeleteRequest } of json.RequestItems.cold) {
        if (PutRequest) items.set(id(PutRequest.Item), PutRequest.Item);
        else items.delete(id(DeleteRequest.Key));
      }
      return { UnprocessedItems: {} };
    });
    return { items, ...made };
  }
  // deno-lint-ignore no-explicit-any
  const keysOf = (json: any) => json.RequestItems.cold.Keys as Item[];

  it("is put part by part, and its head last, which counts them", async () => {
    const { store, items, operations } = table();
    await store.putKey("large/a", value);
    assertEquals(operations(), ["UpdateItem", "BatchWriteItem", "PutItem"]);
    const sizes = [...items.values()].map(itemBytes);
    assertEquals([items.size, Math.max(...sizes)], [1 + 3 + 1, MAX_ITEM_BYTES]);
    const head = items.get(`${shardOf("large/a")} large/a`)!;
    assertEquals([head.n?.S, head.z?.S, head.v], ["3", "1000000", undefined]);
    assertEquals(await store.fetchKeys(["large/a"]), [value]);
    await store.deleteKeys(["large/a"]);
    assertEquals(items.size, 0);
  });

  it("is absent as long as its head is, and unknown if a part is missing behind it", async () => {
    const { store, items } = table();
    await store.putKey("large/a", value);
    const [part] = [...items.keys()].filter((key) => key.startsWith("large/a!00001"));
    const gone = items.get(part!)!;
    items.delete(part!);
    const [slot] = await store.fetchKeys(["large/a"]);
    assertEquals([codeOf(slot), (slot as TundraError).retryable], ["UNAVAILABLE", true]);
    assertStringIncludes((slot as Error).message, "a part is missing");
    items.set(part!, gone);
    assertEquals(await store.fetchKeys(["large/a"]), [value]);
    items.delete(`${shardOf("large/a")} large/a`);
    assertEquals((await store.fetchKeys(["large/a"])).map(codeOf), ["NOT_FOUND"]);
  });

  it("is NOT_FOUND if it is deleted between its head and its parts", async () => {
    let deleted = false;
    const { store, items } = table({
      refuse: ({ operation, json }) => {
        if (operation !== "BatchGetItem" || deleted || !keysOf(json)[0]!.p!.S!.includes("large")) return undefined;
        deleted = true;
        items.clear();
      },
    });
    await store.putKey("large/a", value);
    assertEquals((await store.fetchKeys(["large/a"])).map(codeOf), ["NOT_FOUND"]);
    assert(deleted);
  });

  it("is CORRUPT if its head or a part is damaged, and the others of the call come all the same", async () => {
    const { store, items } = table();
    await store.putKey("large/a", value);
    await store.putKey("large/b", ONE);
    const headId = `${shardOf("large/a")} large/a`;
    const [partId] = [...items.keys()].filter((key) => key.startsWith("large/a!00001"));
    const [head, part] = [items.get(headId)!, items.get(partId!)!];
    const wrong: [string, Item][] = [
      ...["1000001", "999999", "2", "0", "-1", "10e5", "99999999999", "999999999999999", ""].map((
        z,
      ): [string, Item] => [headId, { ...head, z: { S: z } }]),
      ...["2", "4", "30", "99999", "1e9", ""].map((n): [string, Item] => [headId, { ...head, n: { S: n } }]),
      [headId, { ...head, t: undefined }],
      ...[base64("short"), toBase64(new Uint8Array(partRoom("large/a")).fill(1)), "%%%"].map((
        B,
      ): [string, Item] => [partId!, { ...part, v: { B } }]),
    ];
    for (const [id, item] of wrong) {
      items.set(headId, head).set(partId!, part).set(id, item);
      const slots = await store.fetchKeys(["large/a", "large/b"]);
      assertEquals([item.n, item.z, ...slots.map(codeOf)], [item.n, item.z, "CORRUPT", ONE]);
    }
  });

  const namesNote = ([id]: [string, Item]) => id.endsWith("!");

  it("leaves nothing but its note if its put fails, whatever the request, and even if no more may be made", async () => {
    const large = new Uint8Array(5_000_000).fill(7);
    for (const at of [1, 2, 3, 4]) {
      for (const refused of ["by the server", "by the caller"]) {
        const { store, items, sent } = table({
          refuse: ({ n }) => refused === "by the server" && n === at - 1 && refusal("ThrottlingException"),
        });
        let made = 0;
        const onRequest = () => {
          if (++made >= at && refused === "by the caller") throw new Error("used up");
        };
        await assertRejects(() => store.putKey("large/a", large, { onRequest }));
        assertEquals([at, refused, [...items].filter((each) => !namesNote(each))], [at, refused, []]);
        assert(items.size <= 1 && sent.length <= at + 2, `${sent.length} requests`);
        assert(made >= sent.length, "each is announced");
      }
    }
  });

  it("keeps its parts if nobody knows whether its head has come", async () => {
    for (const answer of [() => new Response("", { status: 503 }), () => new Response("<html>")]) {
      const { store, items } = table({ refuse: ({ operation }) => operation === "PutItem" && answer() });
      assertEquals((await failure(() => store.putKey("large/a", value))).code, "UNAVAILABLE");
      assertEquals(items.size, 1 + 3);
      await store.deleteKeys(["large/a"]);
      assertEquals(items.size, 0);
    }
  });

  it("is put by two calls at once: the one that fails deletes no part of the other's", async () => {
    const { store, items } = table();
    const ifAbsent = { ifAbsent: true };
    const both = await Promise.allSettled([1, 2].map(() => store.putKey("large/a", value, ifAbsent)));
    assertEquals(both.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
    assertEquals(await store.fetchKeys(["large/a"]), [value]);
    assertEquals(items.size, 1 + 3 + 1);
    // the same bytes again, by a call that does not ask for it to be absent
    assertEquals(await store.putKey("large/a", value), true);
    assertEquals((await failure(() => store.putKey("large/a", value.toReversed()))).code, "CONFLICT");
    assertEquals([await store.fetchKeys(["large/a"]), items.size], [[value], 1 + 3 + 1]);
    await store.deleteKeys(["large/a"]);
    assertEquals(items.size, 0);
  });

  it("can be put again after a put that failed half-way, and a deletion removes what either has left", async () => {
    let writes = 0;
    const { store, items } = table({
      refuse: ({ operation }) => operation === "BatchWriteItem" && ++writes > 1 && writes < 9 && refusal("Throttling"),
    });
    const large = new Uint8Array(5_000_000).fill(7);
    assertEquals((await failure(() => store.putKey("large/a", large))).code, "UNAVAILABLE");
    assertEquals((await store.fetchKeys(["large/a"])).map(codeOf), ["NOT_FOUND"]);
    assert([1 + 8, 1 + 5].includes(items.size), "one of two requests has put its parts");
    writes = 9;
    await store.putKey("large/a", large);
    assertEquals(await store.fetchKeys(["large/a"]), [large]);
    await store.deleteKeys(["large/a"]);
    assertEquals(items.size, 0);
  });
});

describe("a listing of dynamodbDatastore", () => {
  /** Answers queries of these names, a few at a time. */
  const listing = (names: string[], pages = 3) =>
    fake(({ json }) => {
      const { ":p": shard, ":s": prefix } = json.ExpressionAttributeValues;
      const from = json.ExclusiveStartKey?.s.S ?? "";
      if (from !== "") assert(from.startsWith(prefix?.S ?? ""), "DynamoDB refuses a start outside of the prefix");
      const all = names.filter((name) =>
        shardOf(name.replace("!", "")) === shard.S && name.startsWith(prefix?.S ?? "") && name > from
      ).sort();
      const some = all.slice(0, Math.min(json.Limit, pages));
      const Items = some.map((name) => ({ s: { S: name } }));
      return some.length < all.length ? { Items, LastEvaluatedKey: { p: shard, s: { S: some.at(-1) } } } : { Items };
    });
  const all = async ({ store }: ReturnType<typeof listing>, prefix: string) => {
    const names: string[] = [];
    for (let cursor: string | undefined, pages = 0; pages < 500; pages++) {
      const page = await store.listKeys(prefix, cursor);
      names.push(...page.names);
      cursor = page.cursor;
      if (cursor === undefined) return names;
      assert(page.names.length > 0, "no page but the last is empty");
    }
    throw new Error("it must end");
  };

  it("comes in ascending order out of all shards, whole, without notes", async () => {
    const names = Array.from({ length: 300 }, (_, i) => `default/key-${i * 7919 % 300}/1764000000000001`);
    const notes = names.filter((_, i) => i % 3 === 0).map((name) => `${name}!`);
    const alone = names.map((name) => `${name.replace("key", "note")}!`);
    assertEquals(await all(listing([...names, ...notes, ...alone]), "default/"), [...names].sort());
    assertEquals(await all(listing(["default/a/1", "default/a/1!", "default/a/2"], 1), "default/a/"), [
      "default/a/1",
      "default/a/2",
    ]);
    assertEquals(await all(listing([]), ""), []);
  });

  it("names puts that have a note and no object, each once, and none that has both", async () => {
    const names = Array.from({ length: 200 }, (_, i) => `default/key-${i}/1764000000000001`);
    const notes = names.map((name) => `${name}!`);
    const alone = names.map((name, i) => name.replace("0001", i % 2 === 0 ? "0000" : "0002")).filter((_, i) =>
      i % 3 === 0
    );
    for (const pages of [1, 2, 3, 64]) {
      const { store } = listing([...names, ...notes, ...alone.map((name) => `${name}!`)], pages);
      const found: string[] = [];
      for (let cursor: string | undefined, isFirst = true; isFirst || cursor !== undefined; isFirst = false) {
        const page = await store.listKeys("default/", cursor);
        found.push(...page.unfinished ?? []);
        cursor = page.cursor;
      }
      assertEquals(found.toSorted(), alone.toSorted());
    }
    assertEquals(await listing(["default/a/1!"]).store.listKeys("default/a/"), {
      names: [],
      unfinished: ["default/a/1"],
    });
  });

  it("of one key is one Query, of anything else one for each shard", async () => {
    const one = listing(["default/a/1", "default/b/1"], 100);
    assertEquals(await one.store.listKeys("default/a/"), { names: ["default/a/1"] });
    assertEquals(one.sent.length, 1);
    assertEquals(await one.store.listKeys("default/"), { names: ["default/a/1", "default/b/1"] });
    assertEquals(one.sent.length, 1 + 16);
  });

  it("refuses a cursor of another listing", async () => {
    const { store, sent } = listing([]);
    for (const cursor of ["default/b/1", "", "default/a/ ", "default/a/1!!"]) {
      assertEquals((await failure(() => store.listKeys("default/a/", cursor))).code, "BAD_ARGUMENT");
    }
    assertEquals(sent.length, 0);
  });

  it("is refused as a whole if the reply is of another shape, or out of order", async () => {
    const shapes: unknown[] = [
      {},
      { Items: {} },
      { Items: [{}] },
      { Items: [{ s: { S: "default/b/1" } }] },
      { Items: [{ s: { S: "default/a/2" } }, { s: { S: "default/a/1" } }] },
      { Items: [{ s: { S: "default/a/1" } }, { s: { S: "default/a/1" } }] },
      { Items: [{ s: { S: "default/a/1" } }], LastEvaluatedKey: {} },
      { Items: [{ s: { S: "default/a/1" } }], LastEvaluatedKey: { s: { S: "default/a/0" } } },
      { Items: [{ s: { S: "default/a/1" } }], LastEvaluatedKey: { s: { S: "else" } } },
    ];
    for (const shape of shapes) {
      const error = await failure(() => fake(() => shape).store.listKeys("default/a/"));
      assertEquals([shape, error.code], [shape, "UNAVAILABLE"]);
    }
  });
});

describe("ensureTable", () => {
  const KeySchema = [{ AttributeName: "p", KeyType: "HASH" }, { AttributeName: "s", KeyType: "RANGE" }];
  const table = (TableStatus: string, more = {}) => ({ Table: { TableStatus, KeySchema, ...more } });
  const ABSENT = () => refusal("ResourceNotFoundException");

  it("makes a table that is not there, on demand, and waits until it is active", async () => {
    const replies = [ABSENT(), {}, table("CREATING"), table("CREATING"), table("ACTIVE")];
    const { store, operations, sent } = fake(({ n }) => replies[n]);
    await store.ensureTable();
    assertEquals(operations().slice(0, 2), ["DescribeTable", "CreateTable"]);
    assertEquals(sent[1]!.json, {
      TableName: "cold",
      AttributeDefinitions: [
        { AttributeName: "p", AttributeType: "S" },
        { AttributeName: "s", AttributeType: "S" },
      ],
      KeySchema,
      BillingMode: "PAY_PER_REQUEST",
    });
    assertEquals(sent.length, 5);
  });

  it("makes it with the capacity that was given", async () => {
    const replies = [ABSENT(), {}, table("ACTIVE")];
    const { store, sent } = fake(({ n }) => replies[n]);
    await store.ensureTable({ capacity: { read: 5, write: 7 } });
    const { BillingMode, ProvisionedThroughput } = sent[1]!.json;
    const expected = { ReadCapacityUnits: 5, WriteCapacityUnits: 7 };
    assertEquals([BillingMode, ProvisionedThroughput], ["PROVISIONED", expected]);
  });

  it("leaves a table that is there, or that another call makes, and waits for one that is being deleted", async () => {
    for (const status of ["ACTIVE", "UPDATING"]) {
      const { store, operations } = fake(() => table(status));
      await store.ensureTable();
      assertEquals(operations(), ["DescribeTable"]);
    }
    const replies = [table("DELETING"), ABSENT(), refusal("ResourceInUseException"), table("ACTIVE")];
    const { store, sent } = fake(({ n }) => replies[n]);
    await store.ensureTable();
    assertEquals(sent.length, 4);
  });

  it("refuses a table with other keys, one that cannot be used, and one that does not come in time", async () => {
    const other = fake(() => table("ACTIVE", { KeySchema: [{ AttributeName: "id", KeyType: "HASH" }] }));
    assertEquals((await failure(() => other.store.ensureTable())).code, "UNSUPPORTED");
    const locked = await failure(() => fake(() => table("INACCESSIBLE_ENCRYPTION_CREDENTIALS")).store.ensureTable());
    assertEquals([locked.code, locked.retryable], ["UNAVAILABLE", false]);
    const late = await failure(() => fake(() => table("CREATING")).store.ensureTable({ waitMs: 1 }));
    assertEquals([late.code, late.retryable], ["UNAVAILABLE", true]);
    const reason = new Error("enough");
    const aborted = fake(() => table("CREATING")).store.ensureTable({ signal: AbortSignal.abort(reason) });
    assertEquals(await assertRejects(() => aborted), reason);
    for (const capacity of [{ read: 0, write: 1 }, { read: 1 }, { read: 1, write: 1.5 }, 5]) {
      const call = fake(() => ({})).store.ensureTable({ capacity: capacity as { read: number; write: number } });
      assertEquals((await failure(() => call)).code, "BAD_ARGUMENT");
    }
  });
});
