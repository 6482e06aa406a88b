/**
 * holdsNamed: tells from a sample of keys if an archive holds the versions that an index names.
 * @module
 */
import { holderName } from "../archive/place.ts";
import { asTundraError, isNotFound, TundraError } from "../base/errors.ts";
import { sampleIdle } from "../scripts/read_idle.ts";
import { readRecords } from "../scripts/read_records.ts";
import { scan, SCAN_START } from "../scripts/scan.ts";
import type { Context, RequestOptions } from "./context.ts";

/** The most keys of the call, and the most idle keys, in a sample; and the most steps of a scan for others. */
const SAMPLE = 16;

/**
 * Tells if the archive holds any of the versions that the records of some keys name; `undefined` if the index has never
 * archived anything.
 *
 * Cost: two requests to Redis, and one to the archive for each of at most 32 keys. If none of those has a version, as
 * all keys are evicted or stay in Redis, others are looked for: up to 32 requests to Redis more.
 *
 * @throws {TundraError} `UNAVAILABLE` if the archive does not say
 */
export async function holdsNamed(
  context: Context,
  keys: string[],
  call: RequestOptions,
): Promise<boolean | undefined> {
  const { datastore } = context;
  const what = "look for archived versions";
  const idle = await sampleIdle(context, what, SAMPLE, call);
  if (idle === undefined) return undefined;
  const sample = [...new Set([...keys.slice(0, SAMPLE), ...idle])];
  const named = new Set<string>();
  const look = async (some: string[]) => {
    const records = some.length > 0 ? await readRecords(context, some, call) : [];
    for (const [i, key] of some.entries()) {
      const ver = records[i]?.ver;
      if (ver && named.size < 2 * SAMPLE) named.add(await holderName(context, key, ver));
    }
  };
  await look(sample);
  const prefix = context.index.keys.record("");
  for (let step = 0, cursor = ""; named.size === 0 && step < SAMPLE && cursor !== SCAN_START; step++) {
    const scanned = await scan(context.connection, what, cursor || SCAN_START, { match: prefix + "*" }, call);
    cursor = scanned.cursor;
    await look(scanned.keys.map((name) => name.slice(prefix.length)));
  }
  const names = [...named];
  if (names.length === 0) return false;
  let answers: (boolean | Uint8Array | Error)[];
  try {
    answers = datastore.hasKeys ? await datastore.hasKeys(names, call) : await datastore.fetchKeys(names, call);
  } catch (thrown) {
    throw asTundraError(thrown, what);
  }
  if (answers.some((answer) => answer === true || answer instanceof Uint8Array)) return true;
  const unknown = answers.find((answer) => answer !== false && !isNotFound(answer));
  if (unknown === undefined) return false;
  const reason = unknown instanceof Error ? unknown.message : "no answer";
  throw new TundraError("UNAVAILABLE", `Cannot ${what} in the archive: ${reason}`, { cause: unknown });
}
