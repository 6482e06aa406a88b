/**
 * put_piece: a piece of a large value's payload goes up into a temporary key.
 * @module
 */
import type { CallOptions } from "../upstash/connection.ts";
import { BYTES } from "../upstash/payload.ts";
import { defineScript } from "../upstash/script.ts";
import type { Index } from "./prelude.ts";

/**
 * A piece of a payload at its offset in a temporary key, which goes by itself. The first piece makes the key.
 *
 *     KEYS  temporary key
 *     ARGV  milliseconds that it stays from now on, offset, piece
 *     OUT   1 the piece is there   0 the temporary key went before
 *     INV   6: a repeat writes the same bytes; a late copy of the first piece makes a key that goes by itself, one of a
 *           later piece makes none
 */
const PUT_PIECE = defineScript(
  "put_piece",
  [],
  `
${BYTES}
local piece = string.gsub(ARGV[3], '[\\194-\\197][\\128-\\191]', BYTES)
if ARGV[2] == '0' then
  redis.call('SET', KEYS[1], piece, 'PX', ARGV[1], 'NX')
  return 1
end
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('SETRANGE', KEYS[1], ARGV[2], piece)
return 1
`,
);

/** One request, 2 or 3 billable commands; `false`: the temporary key went before. */
export async function putPiece(
  index: Index,
  name: string,
  piece: { ttlMs: number; offset: number; payload: string },
  call?: CallOptions,
): Promise<boolean> {
  const { ttlMs, offset, payload } = piece;
  return await index.scripts.run(PUT_PIECE, [name], [ttlMs, String(offset), payload], call) === 1;
}
