/**
 * The table: made if it is not there, and waited for.
 * @module
 */
import { sleep } from "../../base/abort.ts";
import { checkNames, checkNumber, checkSignal } from "../../base/arguments.ts";
import { show, TundraError } from "../../base/errors.ts";
import { monotonicMs } from "../../base/platform.ts";
import type { DatastoreCallOptions } from "../datastore.ts";
import type { Table } from "./batches.ts";
import { IN_USE, NO_TABLE } from "./refusals.ts";
import { arrayOf, type Json, objectOf } from "./request.ts";

/** Options of `ensureTable`. */
export interface EnsureTableOptions extends DatastoreCallOptions {
  /**
   * The capacity of a table that is made, in read and write units a second. A table that is there keeps its own.
   *
   * @default {on demand: paid by the request}
   */
  capacity?: { read: number; write: number };
  /**
   * The time to wait for the table, in ms: 1 to 3,600,000.
   *
   * @default {300_000}
   */
  waitMs?: number;
}

/** The time between two looks at a table that is being made: it grows to the second one. */
const [FIRST_WAIT_MS, MOST_WAIT_MS] = [100, 2_000];
const WHAT = "make sure of the table";
const KEYS = [["p", "HASH"], ["s", "RANGE"]] as const;

/** Makes the table unless it is there, and waits until it can be used. */
export async function makeTable(table: Table, options: EnsureTableOptions = {}): Promise<void> {
  checkNames(WHAT, options, ["capacity", "waitMs", "signal", "onRequest"]);
  const { capacity, waitMs = 300_000, signal } = options;
  checkSignal(WHAT, "signal", signal);
  checkNumber(WHAT, "waitMs", waitMs, 1, 3_600_000);
  if (capacity !== undefined) {
    checkNames(WHAT, capacity, ["read", "write"]);
    checkNumber(WHAT, "capacity.read", capacity.read ?? NaN, 1, 1e9);
    checkNumber(WHAT, "capacity.write", capacity.write ?? NaN, 1, 1e9);
  }
  const begunMs = monotonicMs();
  for (let pause = FIRST_WAIT_MS;; pause = Math.min(MOST_WAIT_MS, 1.5 * pause)) {
    const status = await statusOf(table, options);
    if (status === "ACTIVE" || status === "UPDATING") return;
    if (status === "") await create(table, options);
    else if (status !== "CREATING" && status !== "DELETING") {
      throw new TundraError("UNAVAILABLE", problem(table, "ACTIVE", status), { retryable: false });
    }
    if (monotonicMs() - begunMs + pause > waitMs) {
      throw new TundraError("UNAVAILABLE", problem(table, `ACTIVE within ${waitMs} ms`, status || "CREATING"));
    }
    await sleep(pause, signal);
  }
}

/** The status of the table; empty if there is none. */
async function statusOf({ name, request }: Table, options: EnsureTableOptions): Promise<string> {
  const read = (reply: Json, code: string) => {
    if (code !== "") return undefined;
    const { TableStatus, KeySchema } = objectOf(reply.Table, "Table");
    if (typeof TableStatus !== "string") throw new Error("the table has no status");
    const keys = arrayOf(KeySchema, "KeySchema").map((key) => objectOf(key, "a key"));
    return {
      status: TableStatus,
      keys: keys.map(({ AttributeName, KeyType }) => `${AttributeName} ${KeyType}`).sort(),
    };
  };
  const call = { what: WHAT, operation: "DescribeTable", body: { TableName: name }, answers: [NO_TABLE], read };
  const found = await request(call, options);
  if (found === undefined) return "";
  if (found.keys.join() === KEYS.map((key) => key.join(" ")).join()) return found.status;
  const must = `the table ${name} must have the partition key p and the sort key s`;
  throw new TundraError("UNSUPPORTED", `Cannot ${WHAT} as ${must}: they are ${show(found.keys.join(", "))}`);
}

async function create({ name, request }: Table, options: EnsureTableOptions): Promise<void> {
  const { capacity } = options;
  const body = {
    TableName: name,
    AttributeDefinitions: KEYS.map(([key]) => ({ AttributeName: key, AttributeType: "S" })),
    KeySchema: KEYS.map(([key, type]) => ({ AttributeName: key, KeyType: type })),
    ...(capacity === undefined ? { BillingMode: "PAY_PER_REQUEST" } : {
      BillingMode: "PROVISIONED",
      ProvisionedThroughput: { ReadCapacityUnits: capacity.read, WriteCapacityUnits: capacity.write },
    }),
  };
  // another call may make it at the same moment
  await request({ what: WHAT, operation: "CreateTable", body, answers: [IN_USE], read: () => true }, options);
}

function problem({ name }: Table, must: string, status: string): string {
  return `Cannot ${WHAT} as ${name} must be ${must}: current value is ${status}`;
}
