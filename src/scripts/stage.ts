/**
 * stage: the payload of a large value under a temporary key, to be read in pieces.
 * @module
 */
import { show, TundraError } from "../base/errors.ts";
import { bytes, type CallOptions, type Connection } from "../upstash/connection.ts";
import { asMany } from "../upstash/requests.ts";
import { ask, defineScript } from "../upstash/script.ts";
import { type Index, type KeyRecord, parseRecord } from "./prelude.ts";

/**
 * One consistent view of a key, whose payload is too large for a reply.
 *
 *     KEYS  dirty, record, key, temporary key
 *     ARGV  token, milliseconds that the temporary key stays, the most bytes of a payload
 *     OUT   code, record ('' for none), own expiry (ms; 0: none), bytes of the payload, its SHA-1
 *             R the temporary key holds the payload   L it is larger than the most: nothing is written
 *             U no string of its length may be made in pieces here: it could not come back, and nothing is left
 *             M the key is missing   S stale: another tick has the lease   A the temporary key holds another payload
 *     INV   1, 3: record and payload are of one moment under this lease; 6: what a temporary key holds never changes, so a
 *           repeat or a late copy mixes nothing, and what it makes goes by its TTL
 *           7: a Redis that is full of large values can be archived, and so emptied
 */
const STAGE = defineScript(
  "stage",
  ["allow-oom"],
  `
local KEY, TMP = KEYS[3], KEYS[4]
local score = redis.call('ZSCORE', KEYS[1], KEY)
if not score or tonumber(score) ~= tonumber(ARGV[1]) then return { 'S', '', 0, 0, '' } end
local dump = redis.call('DUMP', KEY)
if not dump then return { 'M', '', 0, 0, '' } end
local sha1 = redis.sha1hex(dump)
local code = #dump > tonumber(ARGV[3]) and 'L' or 'R'
if code == 'R' and not redis.call('SET', TMP, dump, 'PX', ARGV[2], 'NX') then
  if redis.call('GET', TMP) ~= dump then code = 'A' end
end
-- its last byte once more, as a piece: SET in a script asks for no limit, but SETRANGE does
if code == 'R' and type(redis.pcall('SETRANGE', TMP, string.format('%.0f', #dump - 1), string.sub(dump, -1))) == 'table' then
  redis.call('UNLINK', TMP)
  code = 'U'
end
return { code, redis.call('GET', KEYS[2]) or '', redis.call('PEXPIRETIME', KEY), #dump, sha1 }
`,
);

/** A key as it was when its payload was staged. */
export interface Staged {
  outcome: "staged" | "too large" | "unrestorable" | "missing" | "stale" | "other";
  /** `undefined`: of another version. */
  record: KeyRecord | undefined;
  /** The key's own expiry, ms since 1970; 0: none. */
  exp: number;
  /** Of the payload. */
  bytes: number;
  sha1: string;
}

const OUTCOMES = { R: "staged", L: "too large", U: "unrestorable", M: "missing", S: "stale", A: "other" } as const;

/** One request, 7 billable commands. */
export async function stage(
  index: Index,
  key: string,
  options: { token: string; name: string; ttlMs: number; mostBytes: number },
  call?: CallOptions,
): Promise<Staged> {
  const { token, name, ttlMs, mostBytes } = options;
  const [code, record, exp, size, sha1] = await index.scripts.run(
    STAGE,
    [index.keys.dirty, index.keys.record(key), key, name],
    [token, ttlMs, String(mostBytes)],
    call,
  ) as [keyof typeof OUTCOMES, string, number, number, string];
  return {
    outcome: OUTCOMES[code],
    record: parseRecord(record || null),
    exp: Math.max(0, exp),
    bytes: size,
    sha1,
  };
}

/** Bytes of a piece that a connection's server has answered after it refused more. */
const answered = new WeakMap<Connection["requester"], number>();

/**
 * Bytes of what is staged, in as many requests as replies make necessary, 1 command each.
 *
 * @throws {TundraError} `UNAVAILABLE` if the temporary key went
 */
export async function readStaged(
  connection: Connection,
  { name, key }: { name: string; key: string },
  offset: number,
  length: number,
  call?: CallOptions,
): Promise<Uint8Array> {
  const all = new Uint8Array(length);
  // base64 makes four characters of three bytes
  const fits = () => Math.max(1, Math.floor(0.74 * (connection.replyLimit() - 200)));
  const most = () => Math.min(length, fits(), answered.get(connection.requester) ?? Infinity);
  for (let done = 0; done < length;) {
    const asked = Math.min(length - done, most());
    done += await asMany(asked, async (most) => {
      const from = offset + done;
      const what = `read a piece of ${show(key)}`;
      const piece = bytes(await ask(connection, what, ["GETRANGE", name, from, from + most - 1], call) as string);
      if (piece.length !== most) {
        const must = `its temporary key must hold its payload until it is read: it went before`;
        throw new TundraError("UNAVAILABLE", `Cannot ${what} as ${must}`, { keys: [key] });
      }
      all.set(piece, done);
      if (most < asked) answered.set(connection.requester, most);
      return most;
    });
  }
  return all;
}
