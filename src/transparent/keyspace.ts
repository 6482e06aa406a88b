/**
 * Commands about which keys there are: they know evicted keys, and hide Tundra's own.
 * @module
 */
import { TundraError } from "../base/errors.ts";
import { globOf } from "../base/patterns.ts";
import { wallClockMs } from "../base/platform.ts";
import { checkIdentity, idChanged } from "../core/identity.ts";
import { MAX_ROUNDS, unsupportedRecord } from "../core/key_errors.ts";
import { parseRecord } from "../scripts/prelude.ts";
import { readRecords } from "../scripts/read_records.ts";
import { type KeyState, readState } from "../scripts/read_state.ts";
import { batches, keyBytes } from "../upstash/requests.ts";
import { optionsOf } from "./options.ts";
import type { Request, RequestAnswer, Transparent } from "./parts.ts";
import type { Plan } from "./plan.ts";

/** All keys of Tundra's begin with this, of any `tqname`. */
const OWN = "tundra:";
/** Random keys that are drawn until one is the application's; then pages of `SCAN`, and keys of a page. */
const DRAWS = 5;
const PAGES = 100;
const PAGE = 1_000;

/** `EXISTS`: counts evicted keys too, without bringing them back. */
export async function countPresent(
  transparent: Transparent,
  plan: Plan,
  request: Request,
): Promise<RequestAnswer> {
  const { inner } = transparent;
  const asked = plan.words.slice(1);
  const answer = await inner.request<number>(request);
  if (answer.error !== undefined || answer.result === asked.length) return answer;
  const states = await statesOf(transparent, plan.ours);
  refuseUnknown(plan, states);
  const there = new Set(states.filter(({ exists, evictable }) => exists || evictable).map(({ key }) => key));
  return await withOthers(transparent, plan, asked.filter((key) => there.has(key)).length, request);
}

/** A count of the client's own keys, and what the command itself counts among those that it leaves alone. */
export async function withOthers(
  { inner }: Transparent,
  { name, words, others }: Plan,
  count: number,
  request: Request,
): Promise<RequestAnswer> {
  if (others.length === 0) return { result: count, error: undefined };
  const rest = words.slice(1).filter((key) => others.includes(key));
  const answer = await inner.request<number>({ ...request, body: [name, ...rest] });
  return answer.error === undefined ? { ...answer, result: count + answer.result! } : answer;
}

/**
 * `TTL` and its like: of an evicted key the record knows its own expiry. `undefined`: the key has to be brought back,
 * as only Redis knows what time it is.
 */
export async function readExpiry(
  transparent: Transparent,
  plan: Plan,
  request: Request,
): Promise<RequestAnswer | undefined> {
  const answer = await transparent.inner.request(request);
  if (answer.error !== undefined || answer.result !== -2) return answer;
  const [state] = await statesOf(transparent, plan.keys);
  refuseUnknown(plan, [state!]);
  if (!state!.exists && !state!.evictable) return answer;
  if (state!.exists) return undefined;
  const { exp } = parseRecord(state!.record)!;
  if (exp === 0) return { result: -1, error: undefined };
  if (plan.name === "pexpiretime") return { result: exp, error: undefined };
  if (plan.name === "expiretime") return { result: Math.floor((exp + 500) / 1000), error: undefined };
  return undefined;
}

/** Throws for a key that is not there and has a record of another version: it may be evicted. */
function refuseUnknown({ name }: Plan, states: KeyState[]): void {
  const unknown = states.find(({ exists, record }) => !exists && record !== "" && parseRecord(record) === undefined);
  if (unknown !== undefined) throw unsupportedRecord(`run ${name.toUpperCase()} on`, unknown.key);
}

/** `SCAN`, `KEYS`, `RANDOMKEY`. */
export async function listKeyspace(
  transparent: Transparent,
  plan: Plan,
  request: Request,
): Promise<RequestAnswer> {
  const { inner, evicted } = transparent;
  if (plan.name === "randomkey") return await randomKey(transparent, request);
  if (!evicted) return hideOwn(plan, await inner.request(request));
  return plan.name === "keys"
    ? await keysOfAll(transparent, plan, request)
    : await scanOfAll(transparent, plan, request);
}

/** A key of the application's; `null` if none is found. Where most keys are Tundra's, the first one of a scan. */
async function randomKey({ inner }: Transparent, request: Request): Promise<RequestAnswer> {
  for (let draw = 0; draw < DRAWS; draw++) {
    const answer = await inner.request(request);
    if (typeof answer.result !== "string" || !isOwn(answer.result)) return answer;
  }
  let cursor = "0";
  for (let page = 0; page < PAGES; page++) {
    const answer = await inner.request<[string | number, string[]]>({
      ...request,
      body: ["scan", cursor, "COUNT", PAGE],
    });
    if (answer.error !== undefined) return answer;
    const [next, names] = answer.result!;
    const found = names.find((name) => !isOwn(name));
    if (found !== undefined) return { result: found, error: undefined };
    cursor = String(next);
    if (cursor === "0") break;
  }
  return { result: null, error: undefined };
}

/** The answer without Tundra's own keys. */
export function hideOwn({ name, words }: Plan, answer: RequestAnswer): RequestAnswer {
  if (answer.error !== undefined) return answer;
  if (name === "keys") return { ...answer, result: (answer.result as string[]).filter((key) => !isOwn(key)) };
  if (name !== "scan") return answer;
  const [cursor, names] = answer.result as [string, string[]];
  const stride = optionsOf(name, words).options.some((option) => option.name === "withtype") ? 2 : 1;
  return { ...answer, result: [cursor, names.filter((_, i) => !isOwn(names[i - i % stride]!))] };
}

function isOwn(key: unknown): boolean {
  return String(key).startsWith(OWN);
}

async function keysOfAll(transparent: Transparent, plan: Plan, request: Request): Promise<RequestAnswer> {
  const { inner, context } = transparent;
  const answer = hideOwn(plan, await inner.request(request));
  if (answer.error !== undefined) return answer;
  const records = await inner.request<string[]>({
    ...request,
    body: ["keys", escaped(context.index.keys.record("")) + "*"],
  });
  if (records.error !== undefined) return records;
  const matches = globOf(plan.words[1] ?? "");
  const there = new Set(answer.result as string[]);
  const evicted = (await evictedAmong(transparent, records.result!)).filter((key) => matches(key) && !there.has(key));
  return { ...answer, result: [...there, ...evicted] };
}

async function scanOfAll(transparent: Transparent, plan: Plan, request: Request): Promise<RequestAnswer> {
  const { options } = optionsOf(plan.name, plan.words);
  if (options.some(({ name }) => name === "type" || name === "withtype")) {
    throw new TundraError(
      "UNSUPPORTED",
      "Cannot run SCAN with a type on a transparent client with evicted: true as Redis must know the type of every key",
    );
  }
  // records are to be found by any pattern
  const at = options.filter(({ name }) => name === "match").map(({ at }) => at);
  const matches = at.length === 0 ? () => true : globOf(plan.words[at.at(-1)! + 1] ?? "");
  const body = plan.words.filter((_, i) => !at.includes(i) && !at.includes(i - 1));
  const answer = await transparent.inner.request<[string, string[]]>({ ...request, body });
  if (answer.error !== undefined) return answer;
  const [cursor, names] = answer.result!;
  const evicted = await evictedAmong(transparent, names);
  return { ...answer, result: [cursor, [...names.filter((name) => !isOwn(name)), ...evicted].filter(matches)] };
}

/**
 * The evicted keys among those whose records have these names. One whose record is of another version may be evicted,
 * and is listed: who reads it is told.
 */
async function evictedAmong({ context, isOurs }: Transparent, names: readonly string[]): Promise<string[]> {
  const prefix = context.index.keys.record("");
  const keys = names.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length)).filter(isOurs);
  const records = await readRecords(context, keys);
  const now = wallClockMs();
  return keys.filter((_, i) => {
    const record = records[i];
    return record === undefined || (record.flag === "e" && (record.exp === 0 || record.exp > now));
  });
}

/** A pattern that stands for this text. */
function escaped(text: string): string {
  return text.replace(/[\\*?[\]]/g, "\\$&");
}

async function statesOf(transparent: Transparent, keys: string[]): Promise<KeyState[]> {
  const { connection } = transparent.context;
  const states: KeyState[] = [];
  for (const batch of batches(keys, keyBytes, connection.requestLimit())) {
    states.push(...await statesOfBatch(transparent, batch));
  }
  return states;
}

async function statesOfBatch({ context, store }: Transparent, keys: string[]): Promise<KeyState[]> {
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const { id, states } = await readState(context.index, keys);
    if (await checkIdentity(context, id)) continue;
    const unknown = context.lookInArchive ? states.filter(({ record, exists }) => record === "" && !exists) : [];
    if (unknown.length === 0) return states;
    await store.ensureKs(unknown.map(({ key }) => key)); // the archive may know them
    return (await readState(context.index, keys)).states;
  }
  throw idChanged();
}
