/**
 * Which arguments of a command are keys, and what it does with each: Redis' own key specifications, and what they lack.
 * `tests/transparent/table.test.ts` compares the table with a server's.
 *
 * A specification names keys by their use (`r` reads, `w` changes, `o` replaces, `d` deletes) and their place:
 *
 *     r1      the first argument           r1*     all from there on       o1*2    every second one
 *     r2#     as many as the second says   r@streams*:2   the first half of what follows the word
 *
 * @see https://redis.io/docs/latest/develop/reference/key-specs/
 * @module
 */

const SPECS: Readonly<Record<string, string>> = {
  "r1":
    "bitcount bitfield_ro bitpos dump expiretime geodist geohash geopos georadius_ro georadiusbymember_ro geosearch get " +
    "getbit getrange hexists hget hgetall hkeys hlen hmget hrandfield hscan hstrlen hvals lindex llen lpos lrange " +
    "pexpiretime pttl scard sismember smembers smismember sort_ro srandmember sscan strlen substr ttl type xlen xpending " +
    "xrange xrevrange zcard zcount zlexcount zmscore zrandmember zrange zrangebylex zrangebyscore zrank zrevrange " +
    "zrevrangebylex zrevrangebyscore zrevrank zscan zscore " +
    // later than Redis 7.0
    "hexpiretime hpexpiretime hpttl httl arcount arget argetrange argrep arinfo arlastitems arlen armget arnext arop " +
    "arscan " +
    // Upstash's JSON
    "json.arrindex json.arrlen json.get json.objkeys json.objlen json.resp json.strlen json.type",
  "w1":
    "append bitfield decr decrby expire expireat geoadd getdel getex getset hdel hincrby hincrbyfloat hmset hset hsetnx " +
    "incr incrby incrbyfloat linsert lpop lpush lpushx lrem lset ltrim persist pexpire pexpireat pfadd rpop rpush rpushx " +
    "sadd set setbit setnx setrange spop srem xack xadd xautoclaim xclaim xdel xsetid xtrim zadd zincrby zpopmax zpopmin " +
    "zrem zremrangebylex zremrangebyrank zremrangebyscore " +
    "hexpire hexpireat hgetdel hgetex hpersist hpexpire hpexpireat hsetex xackdel xdelex ardel ardelrange arinsert armset " +
    "arring arseek arset " +
    "json.arrappend json.arrinsert json.arrpop json.arrtrim json.clear json.del json.forget json.merge json.numincrby " +
    "json.nummultby json.set json.strappend json.toggle",
  "r1*": "exists mget pfcount sdiff sinter sunion touch",
  "r1*~": "json.mget",
  "r2": "memory object xinfo",
  "w2": "xgroup",
  "w2#": "eval evalsha fcall",
  "r2#": "eval_ro evalsha_ro fcall_ro",
  "r1#": "sintercard zdiff zinter zintercard zunion",
  "w1#": "lmpop zmpop",
  "w1,w2": "lmove renamenx rpoplpush smove",
  "w1,o2": "rename",
  "r1,o2": "copy",
  "r1,r2": "lcs",
  "o1": "psetex restore setex",
  "o1,r2": "geosearchstore zrangestore",
  "o1,r2*": "sdiffstore sinterstore sunionstore",
  "o1,r2#": "zdiffstore zinterstore zunionstore",
  "w1,r2*": "pfmerge",
  "o2,r3*": "bitop",
  "o1*2": "mset",
  "w1*2": "msetnx",
  "w1*3": "json.mset",
  "r1,o@store,o@storedist": "georadius georadiusbymember",
  "r1,o@store": "sort",
  "r@streams*:2": "xread",
  "w@streams*:2": "xreadgroup",
  "d1*": "del unlink",
  "":
    "dbsize echo hello info keys lastsave ping psubscribe publish pubsub punsubscribe randomkey scan script subscribe " +
    "time unsubscribe wait function command monitor " +
    "search.aggregate search.aliasadd search.aliasdel search.count search.create search.describe search.drop " +
    "search.listaliases search.query search.waitindexing",
};

/** Commands of which a reply of 0, nothing or an empty list says that they have changed nothing. */
const TELLING = new Set(
  ("copy expire expireat getdel hdel hsetnx lmove lmpop lpop lpushx lrem msetnx persist pexpire pexpireat pfadd renamenx " +
    "rpop rpoplpush rpushx sadd setnx smove spop srem xack xdel xtrim zmpop zpopmax zpopmin zrem zremrangebylex " +
    "zremrangebyrank zremrangebyscore").split(" "),
);

/** Commands that change keys, and that Redis carries out at its memory limit: those without its flag `denyoom`. */
const WHEN_FULL = new Set(
  ("expire expireat getdel getex hdel lmpop lpop lrem ltrim persist pexpire pexpireat rename renamenx rpop smove spop srem " +
    "xack xautoclaim xclaim xdel xtrim zmpop zpopmax zpopmin zrem zremrangebylex zremrangebyrank zremrangebyscore " +
    // later than Redis 7.0
    "ardel ardelrange hgetdel hgetex hpersist xackdel xdelex").split(" "),
);

const specs = new Map(
  Object.entries(SPECS).flatMap(([spec, names]) => names.split(" ").map((name) => [name, spec] as const)),
);

/** The use and the place of a command's keys; `undefined` for a command that is not known. */
export function specOf(name: string): string | undefined {
  return specs.get(name);
}

/** Tells if the command's reply says whether it has changed anything. */
export function tells(name: string): boolean {
  return TELLING.has(name);
}

/** Tells if Redis carries the command, which changes keys, out at its memory limit. */
export function runsWhenFull(name: string): boolean {
  return WHEN_FULL.has(name);
}
