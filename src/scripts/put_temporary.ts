/**
 * put_temporary: an archived value under a temporary key, to be read.
 * @module
 */
import { type CallOptions, type Connection, type Reply, text } from "../upstash/connection.ts";
import { BYTES } from "../upstash/payload.ts";
import { ask, defineScript } from "../upstash/script.ts";
import { type Index, PRELUDE } from "./prelude.ts";

/**
 * A value under a temporary key: it goes by itself after a while, or when its own expiry passes.
 *
 *     KEYS  temporary key
 *     ARGV  milliseconds that it stays, own expiry (ms since 1970; 0: none), payload
 *     OUT   code, message. R it is there   P past its own expiry: it is not   F Redis refused it
 *     INV   5: what is past its own expiry is never shown; a late copy makes a key that goes by itself
 */
const PUT_TEMPORARY = defineScript(
  "put_temporary",
  [],
  temporaryLua(`${BYTES}
local payload = string.gsub(ARGV[3], '[\\194-\\197][\\128-\\191]', BYTES)`),
);

/**
 * The same for a large value, whose payload is in another temporary key.
 *
 *     KEYS  temporary key, temporary key with the payload
 *     ARGV  milliseconds that it stays, own expiry, SHA-1 of the payload
 *     OUT   as above; A the other key does not hold the whole payload
 *     INV   as above
 */
const PUT_STAGED = defineScript(
  "put_temporary_staged",
  [],
  temporaryLua(`local payload = redis.call('GET', KEYS[2])
if not payload or redis.sha1hex(payload) ~= ARGV[3] then return { 'A', '' } end`),
);

function temporaryLua(payload: string): string {
  return `
${PRELUDE}
local at, exp = now + tonumber(ARGV[1]), tonumber(ARGV[2])
if exp > 0 and exp <= now then return { 'P', '' } end
if exp > 0 and exp < at then at = exp end
${payload}
local reply = redis.pcall('RESTORE', KEYS[1], int(at), payload, 'REPLACE', 'ABSTTL')
if type(reply) == 'table' and reply.err then return { 'F', reply.err } end
return { 'R', '' }
`;
}

/** The outcome of putting a value under a temporary key; `again` if the payload of a large one went before. */
export type TemporaryOutcome = "there" | "expired" | "again" | { refused: string };

/** One request, 3 billable commands; the payload travels along. */
export async function putTemporary(
  index: Index,
  name: string,
  value: { ttlMs: number; exp: number; payload: string },
  call?: CallOptions,
): Promise<TemporaryOutcome> {
  const { ttlMs, exp, payload } = value;
  return outcomeOf(await index.scripts.run(PUT_TEMPORARY, [name], [ttlMs, String(exp), payload], call));
}

/** The same, with the payload in another temporary key. One request, 4 billable commands. */
export async function putTemporaryStaged(
  index: Index,
  name: string,
  value: { ttlMs: number; exp: number; staged: string; sha1: string },
  call?: CallOptions,
): Promise<TemporaryOutcome> {
  const { ttlMs, exp, staged, sha1 } = value;
  return outcomeOf(await index.scripts.run(PUT_STAGED, [name, staged], [ttlMs, String(exp), sha1], call));
}

function outcomeOf(reply: Reply): TemporaryOutcome {
  const [code, message] = reply as [string, string];
  if (code === "F") return { refused: text(message) };
  return code === "P" ? "expired" : code === "A" ? "again" : "there";
}

/** Removes a temporary key; `false` if it had gone before. One command. */
export async function dropTemporary(connection: Connection, name: string, call?: CallOptions): Promise<boolean> {
  return await ask(connection, "remove a temporary key", ["UNLINK", name], call) === 1;
}
