/**
 * `@tundra/store/dynamodb`: archives in a table of Amazon DynamoDB, or of a service with its protocol.
 *
 * @example
 * ```ts
 * import { dynamodbDatastore } from "@tundra/store/dynamodb";
 *
 * const archive = dynamodbDatastore({
 *   region: "eu-central-1",
 *   table: "tundra",
 *   accessKeyId: "AKIA...",
 *   secretAccessKey: "...",
 * });
 * console.log(archive.place); // table "tundra" in eu-central-1
 * ```
 * @module
 */
import { show } from "../../base/errors.ts";
import { RETRY_WITHIN_MS } from "../attempts.ts";
import type { Datastore } from "../datastore.ts";
import type { Table } from "./batches.ts";
import { deleteObjects } from "./delete.ts";
import { fetchObjects, hasObjects } from "./fetch.ts";
import { listObjects } from "./list.ts";
import { checkDynamodbOptions, type DynamodbDatastoreOptions } from "./options.ts";
import { putObject } from "./put.ts";
import { requesterFor } from "./request.ts";
import { type EnsureTableOptions, makeTable } from "./table.ts";

export type { Datastore, DatastoreCallOptions, ListedPage, PutOptions, RangeRead } from "../datastore.ts";
export type { S3Credentials } from "../s3/credentials.ts";
export type { DynamodbDatastoreOptions } from "./options.ts";
export type { EnsureTableOptions } from "./table.ts";

/** The result of {@linkcode dynamodbDatastore}: a {@linkcode Datastore} without `fetchRanges`, so without packs. */
export interface DynamodbDatastore extends Required<Omit<Datastore, "fetchRanges" | "putParts">> {
  /**
   * Makes the table unless it is there, and waits until it can be used. It may be called again, and by several at once.
   * A table that is there is left as it is.
   *
   * Rights: `dynamodb:DescribeTable`, and to make it `dynamodb:CreateTable`.
   *
   * @throws {TundraError} `UNAVAILABLE`; `UNSUPPORTED`: a table of this name has other keys
   */
  ensureTable(options?: EnsureTableOptions): Promise<void>;
}

/**
 * A datastore in a table of DynamoDB. It makes no request until it is used, and is cheap to make. Reads are strongly
 * consistent. An object is never replaced: if its name is taken by other bytes, `putKey` is `CONFLICT`, with or without
 * `ifAbsent`; the same bytes may be put again.
 *
 * Cost: one request for each object that is put; fetching and looking for objects: one for each 100, more if they hold
 * over 16 MB together; deleting: one for each 100, and one for each 25. An object of more than 400 KB is put in parts of
 * that size, eight in a request, and two requests more. Listing the objects of one key: a request for each 1,000; any
 * other prefix: 16 for each page, which is 21 for each 1,000 names if keys have few versions, and up to 250 if they have
 * hundreds.
 *
 * Network errors, time limits, throttling and 5xx are retried with jitter; a wrong clock is corrected from the server's,
 * once. A failure after the last retry is a TundraError with DynamoDB's own code and the HTTP status in its message:
 *
 * | code | retryable | when |
 * | --- | --- | --- |
 * | `NOT_FOUND` | no | the table holds no such object (in a slot of `fetchKeys`) |
 * | `CONFLICT` | no | other bytes have this name |
 * | `CORRUPT` | no | an object's SHA-256 is not that of what was put (in a slot of `fetchKeys`) |
 * | `UNAVAILABLE` | yes | a failure of the service that passes: network, throttling, 5xx |
 * | `UNAVAILABLE` | no | a failure that an operator must end: credentials, rights, region, no such table |
 * | `BAD_ARGUMENT` | no | nothing was sent |
 *
 * @throws {TundraError} `BAD_ARGUMENT`
 * @example
 * ```ts
 * import { tundraStore } from "@tundra/store";
 * import { dynamodbDatastore } from "@tundra/store/dynamodb";
 *
 * export const archive = dynamodbDatastore({
 *   region: "eu-central-1",
 *   table: "tundra",
 *   accessKeyId: "AKIA...",
 *   secretAccessKey: "...",
 * });
 * export const store = tundraStore(archive, { redis: { url: "https://eu1-example.upstash.io", token: "secret" } });
 * export const deploy = () => archive.ensureTable(); // once
 * ```
 */
export function dynamodbDatastore(options: DynamodbDatastoreOptions): DynamodbDatastore {
  const connection = checkDynamodbOptions(options);
  const { table: name, region, concurrency, retries } = connection;
  const table: Table = { name, request: requesterFor(connection), concurrency, retries };
  return {
    place: `table ${show(name)} in ${region}`,
    timeoutMs: connection.timeoutMs + RETRY_WITHIN_MS,
    putKey: (name, value, options) => putObject(table, name, value, options),
    fetchKeys: (names, options) => fetchObjects(table, names, options),
    hasKeys: (names, options) => hasObjects(table, names, options),
    deleteKeys: (names, options) => deleteObjects(table, names, options),
    listKeys: (prefix, cursor, options) => listObjects(table, prefix, cursor, options),
    ensureTable: (options) => makeTable(table, options),
  };
}
