/**
 * DynamoDB in the place of the development S3, for tests that look into a bucket and change it: its objects are a Map
 * that shows what the table holds. What a test changes in the Map is in the table before its next request.
 * @module
 */
import { Buffer } from "node:buffer";
import { type DynamodbServer, startDynamodb } from "../../dev/servers/dynamodb.ts";
import type { Datastore, S3DatastoreOptions } from "../../mod.ts";
import { dynamodbDatastore } from "../../src/datastores/dynamodb/datastore.ts";
import type { S3Server } from "../../src/testing/s3.ts";

const TABLE = "objects";
const UNLESS = "x-past-hooks";

/** The part of a datastore's options that both kinds have. */
type Common = Pick<Partial<S3DatastoreOptions>, "fetch" | "retries" | "timeoutMs" | "concurrency">;

/** A datastore in the server's table. There are no packs, so no call reads ranges. */
export function dynamodbFrom(
  server: Pick<DynamodbServer, "url" | "region" | "accessKeyId" | "secretAccessKey">,
  more: Common = {},
): Required<Datastore> {
  const { url: endpoint, region, accessKeyId, secretAccessKey } = server;
  // undefined stands for the default, as for S3
  const { fetch, retries, timeoutMs, concurrency } = { retries: 0, ...more };
  const options = { endpoint, region, table: TABLE, accessKeyId, secretAccessKey };
  // fetchRanges stays away: stores look for it
  return dynamodbDatastore({ ...options, fetch, retries, timeoutMs, concurrency }) as unknown as Required<Datastore>;
}

/** Starts it. Objects of more than one item are not shown. */
export async function startDynamodbAsS3(): Promise<S3Server> {
  const objects = new Map<string, Uint8Array>();
  const inTable = new Map<string, Uint8Array>();
  let moving: Promise<void> | undefined;

  /** Brings the table to where the Map is. */
  async function move(): Promise<void> {
    const old = [...inTable].filter(([name, bytes]) => objects.get(name) !== bytes).map(([name]) => name);
    if (old.length > 0) await direct.deleteKeys(old);
    for (const name of old) inTable.delete(name);
    for (const [name, bytes] of [...objects].filter(([name]) => !inTable.has(name))) {
      await direct.putKey(name, bytes);
      inTable.set(name, bytes);
    }
  }
  const put = (item: Record<string, { S?: string; B?: string }>) => {
    if (!item.h) return;
    const bytes = new Uint8Array(Buffer.from(item.v?.B ?? "", "base64"));
    const before = objects.get(item.s!.S!);
    // the same bytes again are the same object
    if (before && Buffer.from(before).equals(bytes)) return;
    objects.set(item.s!.S!, bytes);
    inTable.set(item.s!.S!, bytes);
  };
  const remove = (name: string) => {
    objects.delete(name);
    inTable.delete(name);
  };

  const server = await startDynamodb({
    createTableMs: 1,
    hooks: {
      unlessHeader: UNLESS,
      async before() {
        await (moving ??= move().finally(() => moving = undefined));
      },
      done(operation, body) {
        if (operation === "PutItem") put(body.Item as Parameters<typeof put>[0]);
        if (operation !== "BatchWriteItem") return;
        const writes =
          (body.RequestItems as Record<string, { DeleteRequest?: { Key: { s: { S: string } } } }[]>)[TABLE]!;
        for (const { DeleteRequest } of writes) if (DeleteRequest) remove(DeleteRequest.Key.s.S);
      },
    },
  });
  const past: typeof fetch = (input, init) => {
    return fetch(input, { ...init, headers: { ...Object.fromEntries(new Headers(init?.headers)), [UNLESS]: "1" } });
  };
  const direct = dynamodbFrom(server, { fetch: past, retries: 4 });
  await (direct as unknown as ReturnType<typeof dynamodbDatastore>).ensureTable();
  const { operations, ...rest } = server;
  return {
    ...rest,
    operations,
    uploads: new Map(),
    get requests() {
      return Object.values(operations).reduce((sum, n) => sum + n, 0);
    },
    objects: () => objects,
    createBucket: () => Promise.resolve(),
    sessionToken: undefined,
  };
}
