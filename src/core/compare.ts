/**
 * compare: finds out why a key is in Redis although its record says evicted. Either its eviction was half undone, and
 * a restarted server orders its bytes anew; or the key was written blindly.
 * @module
 */
import { isNotFound } from "../base/errors.ts";
import { parseRecord } from "../scripts/prelude.ts";
import { same } from "../scripts/same.ts";
import { encodePayload } from "../upstash/payload.ts";
import type { Context, RequestOptions } from "./context.ts";
import { fetchArchived, thawArchived } from "./fetch_archived.ts";

/**
 * Fetches the archived value and compares its content with the one in Redis. If they are the same, the key is resident
 * from now on: `"healed"`. `"again"`: the record has changed meanwhile. `"absent"`: the archive provably lacks the
 * value.
 *
 * @throws {TundraError} if the archive does not answer, or its object cannot be read
 */
export async function compare(
  context: Context,
  key: string,
  record: string,
  call?: RequestOptions,
): Promise<"healed" | "conflict" | "again" | "absent"> {
  const ver = parseRecord(record)?.ver ?? "";
  const [fetched] = await fetchArchived(context, [{ key, ver }], { call });
  if (isNotFound(fetched!.object)) return "absent";
  const archived = await thawArchived(context, fetched!);
  if ("gone" in archived) return "absent";
  if (!("dump" in archived)) {
    const { compareLarge } = await import("./restore_large.ts");
    return await compareLarge(context, { head: archived, name: fetched!.name, expected: record }, call);
  }
  return await same(context.index, key, record, encodePayload(archived.dump), call);
}
