/**
 * Upstash's `#!lua flags=allow-key-locking` on a plain Redis: the flag is taken out, and the promise that a script
 * makes with it is enforced: whatever key it touches must be one of KEYS. The check is Lua, on the script's first code
 * line, so line numbers stay; it costs no command and about a microsecond a call.
 * @module
 */
import { createHash } from "node:crypto";

/** A script as it is sent to Redis in place of the application's. */
export interface LockedScript {
  /** SHA-1 of the application's text, as `EVALSHA` and `SCRIPT LOAD` name it. */
  readonly sha1: string;
  /** The text that Redis runs. */
  readonly text: string;
  /** SHA-1 of `text`. */
  readonly textSha1: string;
}

const FLAG = "allow-key-locking";

/** The script to send instead, or `undefined` if the text does not ask for key locking. */
export function lockKeys(text: string): LockedScript | undefined {
  const end = text.indexOf("\n");
  const shebang = end < 0 ? text : text.slice(0, end);
  const flags = /^#!lua\b.*?\sflags=(\S*)/.exec(shebang);
  if (!flags || !flags[1]!.split(",").includes(FLAG)) return undefined;
  const kept = flags[1]!.split(",").filter((flag) => flag !== FLAG).join(",");
  const head = shebang.replace(/\sflags=\S*/, kept ? ` flags=${kept}` : "");
  const locked = `${head}\n${CHECK} ${end < 0 ? "" : text.slice(end + 1)}`;
  return { sha1: sha1(text), text: locked, textSha1: sha1(locked) };
}

/**
 * An error of a script that was sent in place of `script`, as the application would see it: its own SHA-1 and lines.
 */
export function originalError(script: LockedScript, message: string): string {
  return message
    .replace(/ \[line (\d+)\](.*@user_script:)\d+/s, "$2$1")
    .replace(/ \[line \?\](.*), on @user_script:\d+/s, "$1") // a tail call leaves no trace of its line
    .replaceAll(script.textSha1, script.sha1);
}

function sha1(text: string): string {
  return createHash("sha1").update(text).digest("hex");
}

// Where a command's keys are: "first n arguments", every one, every second one, or the n-th only. A command that isn't
// here may touch keys that were not declared (KEYS, SCAN, FLUSHALL ...), so a flagged script can't call it.
const FIRST =
  `GET SET SETEX PSETEX SETNX GETSET GETDEL GETEX APPEND STRLEN SETRANGE GETRANGE SUBSTR INCR DECR INCRBY DECRBY
  INCRBYFLOAT SETBIT GETBIT BITCOUNT BITPOS BITFIELD BITFIELD_RO DUMP RESTORE TYPE TTL PTTL EXPIRE PEXPIRE EXPIREAT PEXPIREAT
  EXPIRETIME PEXPIRETIME PERSIST HSET HSETNX HMSET HGET HMGET HGETALL HDEL HLEN HEXISTS HKEYS HVALS HSTRLEN HINCRBY
  HINCRBYFLOAT HRANDFIELD HSCAN LPUSH LPUSHX RPUSH RPUSHX LPOP RPOP LLEN LRANGE LINDEX LSET LREM LTRIM LINSERT LPOS SADD SREM
  SCARD SISMEMBER SMISMEMBER SMEMBERS SPOP SRANDMEMBER SSCAN ZADD ZREM ZSCORE ZMSCORE ZRANGE ZRANGEBYSCORE ZREVRANGE
  ZREVRANGEBYSCORE ZRANGEBYLEX ZREVRANGEBYLEX ZCARD ZCOUNT ZLEXCOUNT ZINCRBY ZRANK ZREVRANK ZPOPMIN ZPOPMAX ZRANDMEMBER
  ZREMRANGEBYSCORE ZREMRANGEBYRANK ZREMRANGEBYLEX ZSCAN PFADD GEOADD GEOPOS GEODIST GEOHASH GEOSEARCH XADD XLEN XRANGE
  XREVRANGE XDEL XTRIM XACK XPENDING XCLAIM XAUTOCLAIM XSETID GEORADIUS_RO GEORADIUSBYMEMBER_RO`;
const TWO = "RENAME RENAMENX COPY RPOPLPUSH LMOVE SMOVE ZRANGESTORE GEOSEARCHSTORE LCS";
const ALL = "MGET DEL UNLINK EXISTS TOUCH PFCOUNT PFMERGE SUNION SINTER SDIFF SUNIONSTORE SINTERSTORE SDIFFSTORE";
const ODD = "MSET MSETNX";
const NUMBERED = "ZUNION ZINTER ZDIFF SINTERCARD ZINTERCARD LMPOP ZMPOP"; // numkeys first
const STORED = "ZUNIONSTORE ZINTERSTORE ZDIFFSTORE"; // a key, then numkeys
const SECOND = "OBJECT MEMORY BITOP XGROUP XINFO"; // after a subcommand or operation
const NONE = "TIME ECHO PING PUBLISH";

const SPEC = Object.entries({ f: FIRST, t: TWO, a: ALL, o: ODD, n: NUMBERED, s: STORED, x: SECOND, z: NONE })
  .flatMap(([kind, names]) => names.split(/\s+/).map((name) => `${name}='${kind}'`)).join(",");

// One line of Lua. `call` goes through pcall to learn the line of the failed call: Redis would name this line instead.
const CHECK = `local redis = (function(real, keys)
  local spec, own = {${SPEC}}, {}
  for i = 1, #keys do own[keys[i]] = true end
  local upper, number, text = string.upper, tonumber, tostring
  local function undeclared(cmd, key)
    if own[key] or own[text(key)] then return nil end
    return 'ERR Script with allow-key-locking attempted to access an undeclared key: command ' .. text(cmd) .. ', key ' .. text(key)
  end
  local function range(cmd, a, from, to, step)
    for i = from, to, step do
      if not own[a[i]] then
        local err = undeclared(cmd, a[i])
        if err then return err end
      end
    end
  end
  local function check(cmd, key, ...)
    if cmd == nil then return nil end
    local kind = spec[cmd] or spec[upper(text(cmd))]
    if not kind then return 'ERR Script with allow-key-locking cannot call ' .. text(cmd) .. ' as its keys are not known here' end
    if kind == 'f' then
      if own[key] or key == nil then return nil end
      return undeclared(cmd, key)
    end
    if kind == 'z' or key == nil then return nil end
    local a = {key, ...}
    local n = #a
    if kind == 'a' then return range(cmd, a, 1, n, 1) end
    if kind == 'o' then return range(cmd, a, 1, n, 2) end
    if kind == 't' then return range(cmd, a, 1, n < 2 and n or 2, 1) end
    if kind == 'n' then return range(cmd, a, 2, 1 + (number(key) or 0), 1) end
    if kind == 's' then return range(cmd, a, 1, 1, 1) or range(cmd, a, 3, 2 + (number(a[2]) or 0), 1) end
    return range(cmd, a, 2, upper(text(cmd)) == 'BITOP' and n or (n < 2 and n or 2), 1)
  end
  local proxy = setmetatable({}, {__index = real})
  function proxy.pcall(...)
    local err = check(...)
    if err then return {err = err} end
    return real.pcall(...)
  end
  function proxy.call(...)
    local err, reply = check(...), nil
    if not err then
      reply = real.pcall(...)
      if type(reply) ~= 'table' or not reply.err then return reply end
      err = reply.err
    end
    local _, where = pcall(error, '', 3)
    error({err = err .. ' [line ' .. (string.match(text(where), ':(%d+):') or '?') .. ']'}, 0)
  end
  return proxy
end)(redis, KEYS)`.replace(/\s*\n\s*/g, " ");
