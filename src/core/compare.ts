/**
 * What is in Redis although its record says evicted: an eviction half undone, whose bytes a restarted server orders anew, or
 * a blind write?
 * @module
 */
import { thawRecord } from "../archive/record.ts";
import { asTundraError, isNotFound, show } from "../base/errors.ts";
import { objectName } from "../base/keys.ts";
import type { DatastoreCallOptions } from "../datastores/datastore.ts";
import { parseRecord } from "../scripts/prelude.ts";
import { encodePayload } from "../scripts/restore.ts";
import { same } from "../scripts/same.ts";
import type { CallOptions } from "../upstash/connection.ts";
import type { Context } from "./context.ts";

/**
 * SingleFlight the archived value and compares its content with what is there; the same is resident from now on. `"absent"`: the
 * archive provably lacks it.
 *
 * @throws TundraError where the archive does not say, or holds what cannot be read
 */
export async function compare(
  context: Context,
  key: string,
  record: string,
  call?: CallOptions & DatastoreCallOptions,
): Promise<"healed" | "conflict" | "again" | "absent"> {
  const ver = parseRecord(record)?.ver ?? "";
  const name = await objectName(context.tqname, key, ver);
  const [object] = await context.datastore.fetchKeys([name], call);
  if (isNotFound(object)) return "absent";
  if (!(object instanceof Uint8Array)) throw asTundraError(object, `fetch ${show(key)}`);
  const archived = await thawRecord(object, { key, ver }, name, context.freezers);
  if ("gone" in archived) return "absent";
  return await same(context.index, key, record, encodePayload(archived.dump), call);
}
