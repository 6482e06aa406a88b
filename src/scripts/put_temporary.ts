/**
 * put_temporary: an archived value under a temporary key, to be read.
 * @module
 */
import { type CallOptions, type Connection, text } from "../upstash/connection.ts";
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
  `
${PRELUDE}
local at, exp = now + tonumber(ARGV[1]), tonumber(ARGV[2])
if exp > 0 and exp <= now then return { 'P', '' } end
if exp > 0 and exp < at then at = exp end
${BYTES}
local payload = string.gsub(ARGV[3], '[\\194-\\197][\\128-\\191]', BYTES)
local reply = redis.pcall('RESTORE', KEYS[1], int(at), payload, 'REPLACE', 'ABSTTL')
if type(reply) == 'table' and reply.err then return { 'F', reply.err } end
return { 'R', '' }
`,
);

/** One request, 3 billable commands; the payload travels along. */
export async function putTemporary(
  index: Index,
  name: string,
  value: { ttlMs: number; exp: number; payload: string },
  call?: CallOptions,
): Promise<"there" | "expired" | { refused: string }> {
  const { ttlMs, exp, payload } = value;
  const reply = await index.scripts.run(PUT_TEMPORARY, [name], [ttlMs, String(exp), payload], call) as string[];
  if (reply[0] === "F") return { refused: text(reply[1]!) };
  return reply[0] === "P" ? "expired" : "there";
}

/** Removes a temporary key; `false` if it had gone before. One command. */
export async function dropTemporary(connection: Connection, name: string, call?: CallOptions): Promise<boolean> {
  return await ask(connection, "remove a temporary key", ["UNLINK", name], call) === 1;
}
