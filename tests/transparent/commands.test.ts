/**
 * Each method of the client answers on a transparent client, all of whose keys are evicted before each call, what it
 * answers on a plain one.
 */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import type { Redis } from "@upstash/redis";
import type { TundraStore } from "../../mod.ts";
import { transparentRedis } from "../../src/transparent/mod.ts";
import { withArchive } from "../support/fixtures.ts";
import { withStack } from "../support/stack.ts";

type Call = (redis: Redis) => Promise<unknown>;

const LATER_S = 4_000_000_000;

/** Calls one after another, by what they are about. */
const CALLS: Record<string, Call[]> = {
  strings: [
    (r) => r.set("s", "Hello"),
    (r) => r.append("s", " World"),
    (r) => r.get("s"),
    (r) => r.strlen("s"),
    (r) => r.getrange("s", 0, 4),
    (r) => r.setrange("s", 6, "Redis"),
    (r) => r.getset("s", "next"),
    (r) => r.getdel("s"),
    (r) => r.get("s"),
    (r) => r.setnx("s", 1),
    (r) => r.setnx("s", 2),
    (r) => r.set("s", 3, { xx: true }),
    (r) => r.set("s", 4, { nx: true }),
    (r) => r.set("s", 5, { get: true }),
    (r) => r.set("s", 6, { ex: 1000 }),
    (r) => r.set("s", 7, { keepTtl: true }),
    async (r) => (await r.ttl("s")) > 900,
    (r) => r.persist("s"),
    (r) => r.ttl("s"),
    (r) => r.incr("s"),
    (r) => r.incrby("s", 10),
    (r) => r.incrbyfloat("s", 0.5),
    (r) => r.set("n", 10),
    (r) => r.decr("n"),
    (r) => r.decrby("n", 3),
    (r) => r.mset({ a: 1, b: { c: [2] }, d: "three" }),
    (r) => r.mget("a", "b", "d", "none"),
    (r) => r.msetnx({ a: 9, e: 9 }),
    (r) => r.msetnx({ e: 9, f: 9 }),
    (r) => r.setex("s", 1000, "value"),
    (r) => r.psetex("s", 1_000_000, "value"),
    async (r) => (await r.pttl("s")) > 900_000,
    (r) => r.getex("s", { persist: true }),
    (r) => r.pttl("s"),
  ],
  bits: [
    (r) => r.setbit("bits", 7, 1),
    (r) => r.setbit("bits", 7, 0),
    (r) => r.getbit("bits", 7),
    (r) => r.set("bits", "foobar"),
    (r) => r.bitcount("bits", 0, 0),
    (r) => r.bitpos("bits", 1),
    (r) => r.set("more", "abcdef"),
    (r) => r.bitop("and", "both", "bits", "more"),
    (r) => r.bitop("not", "none", "bits"),
    (r) => r.get("both"),
  ],
  hashes: [
    (r) => r.hset("h", { name: "Ada", age: 36, tags: ["x", "y"] }),
    (r) => r.hget("h", "tags"),
    (r) => r.hgetall("h"),
    (r) => r.hmget("h", "name", "none"),
    (r) => r.hexists("h", "name"),
    (r) => r.hincrby("h", "age", 2),
    (r) => r.hincrbyfloat("h", "weight", 1.5),
    (r) => r.hkeys("h"),
    (r) => r.hvals("h"),
    (r) => r.hlen("h"),
    (r) => r.hstrlen("h", "name"),
    (r) => r.hsetnx("h", "name", "Bob"),
    (r) => r.hsetnx("h", "new", "Bob"),
    (r) => r.hmset("h", { one: 1 }),
    (r) => r.hscan("h", 0),
    (r) => r.hdel("h", "name", "none"),
    (r) => r.hdel("h", "age", "tags", "weight", "new", "one"),
    (r) => r.hgetall("h"),
    (r) => r.exists("h"),
  ],
  lists: [
    (r) => r.rpush("l", "a", "b", "c"),
    (r) => r.lpush("l", { z: 1 }),
    (r) => r.rpushx("l", "d"),
    (r) => r.lpushx("none", "d"),
    (r) => r.lrange("l", 0, -1),
    (r) => r.llen("l"),
    (r) => r.lindex("l", 1),
    (r) => r.lset("l", 1, "A"),
    (r) => r.linsert("l", "before", "b", "between"),
    (r) => r.lpos("l", "b"),
    (r) => r.lrem("l", 1, "between"),
    (r) => r.ltrim("l", 1, 3),
    (r) => r.lpop("l"),
    (r) => r.rpop("l", 2),
    (r) => r.lpop("l"),
    (r) => r.exists("l"),
    (r) => r.rpush("from", 1, 2),
    (r) => r.lmove("from", "to", "left", "right"),
    (r) => r.lmpop(2, ["none", "from"], "LEFT", 5),
    (r) => r.exists("from", "to"),
  ],
  sets: [
    (r) => r.sadd("s1", "a", "b", "c"),
    (r) => r.sadd("s2", "b", "c", "d"),
    (r) => r.smembers("s1"),
    (r) => r.sismember("s1", "a"),
    (r) => r.smismember("s1", ["a", "x"]),
    (r) => r.scard("s1"),
    (r) => r.sunion("s1", "s2"),
    (r) => r.sinter("s1", "s2"),
    (r) => r.sdiff("s1", "s2"),
    (r) => r.sunionstore("s3", "s1", "s2"),
    (r) => r.sinterstore("s3", "s1", "s2"),
    (r) => r.sdiffstore("s3", "s1", "s2"),
    (r) => r.smembers("s3"),
    (r) => r.smove("s1", "s3", "b"),
    (r) => r.sscan("s3", 0),
    (r) => r.srem("s3", "a", "b"),
    (r) => r.exists("s3"),
    (r) => r.spop("s1", 9),
    (r) => r.exists("s1"),
  ],
  "sorted sets": [
    (r) =>
      r.zadd<unknown>("z", { score: 1, member: "one" }, { score: 2, member: { two: 2 } }, {
        score: 3,
        member: "three",
      }),
    (r) => r.zadd("z", { nx: true }, { score: 9, member: "one" }),
    (r) => r.zadd("z", { ch: true, gt: true }, { score: 4, member: "one" }),
    (r) => r.zrange("z", 0, -1),
    (r) => r.zrange("z", 0, -1, { withScores: true, rev: true }),
    (r) => r.zrange("z", 2, 4, { byScore: true }),
    (r) => r.zscore("z", "one"),
    (r) => r.zmscore("z", ["one", "none"]),
    (r) => r.zrank("z", "three"),
    (r) => r.zrevrank("z", "three"),
    (r) => r.zcard("z"),
    (r) => r.zcount("z", 2, 3),
    (r) => r.zlexcount("z", "-", "+"),
    (r) => r.zincrby("z", 5, "three"),
    (r) => r.zadd("y", { score: 1, member: "one" }),
    (r) => r.zunion(2, ["z", "y"]),
    (r) => r.zunionstore("x", 2, ["z", "y"]),
    (r) => r.zinterstore("x", 2, ["z", "y"]),
    (r) => r.zdiffstore("x", 2, "z", "y"),
    (r) => r.zrange("x", 0, -1, { withScores: true }),
    (r) => r.zscan("z", 0),
    (r) => r.zpopmin("z"),
    (r) => r.zpopmax("z"),
    (r) => r.zremrangebyscore("z", 100, 200),
    (r) => r.zremrangebyrank("z", 0, 0),
    (r) => r.zrem("y", "one"),
    (r) => r.exists("z", "y"),
  ],
  streams: [
    (r) => r.xadd("x", "1-1", { f: "v", g: 2 }),
    (r) => r.xadd("x", "2-1", { f: "w" }),
    (r) => r.xlen("x"),
    (r) => r.xrange("x", "-", "+"),
    (r) => r.xrevrange("x", "+", "-", 1),
    (r) => r.xread("x", "1-1"),
    (r) => r.xgroup("x", { type: "CREATE", group: "g", id: "0" }),
    (r) => r.xreadgroup("g", "c", "x", ">", { count: 1 }),
    async (r) => ((await r.xpending("x", "g", "-", "+", 5)) as unknown[]).length,
    (r) => r.xack("x", "g", "1-1"),
    (r) => r.xdel("x", "1-1"),
    (r) => r.xtrim("x", { strategy: "MAXLEN", threshold: 0, exactness: "=" }),
    (r) => r.xlen("x"),
  ],
  "other types": [
    (r) => r.pfadd("p", "a", "b", "c"),
    (r) => r.pfadd("q", "c", "d"),
    (r) => r.pfcount("p"),
    (r) => r.pfcount("p", "q"),
    (r) => r.pfmerge("p", "q"),
    (r) => r.pfcount("p"),
    (r) =>
      r.geoadd(
        "geo",
        { longitude: 13.361389, latitude: 38.115556, member: "Palermo" },
        { longitude: 15.087269, latitude: 37.502669, member: "Catania" },
      ),
    (r) => r.geodist("geo", "Palermo", "Catania", "KM"),
    (r) => r.geohash("geo", "Palermo", "none"),
    (r) => r.geopos("geo", "Palermo", "none"),
    (r) =>
      r.geosearch("geo", { type: "FROMLONLAT", coordinate: { lon: 15, lat: 37 } }, {
        type: "BYRADIUS",
        radius: 200,
        radiusType: "KM",
      }, "ASC"),
    (r) =>
      r.geosearchstore("near", "geo", { type: "FROMLONLAT", coordinate: { lon: 15, lat: 37 } }, {
        type: "BYRADIUS",
        radius: 100,
        radiusType: "KM",
      }, "ASC"),
    (r) => r.zrange("near", 0, -1),
  ],
  keys: [
    (r) => r.mset({ a: 1, b: 2, "user:1": 3 }),
    (r) => r.exists("a", "a", "none"),
    (r) => r.type("a"),
    (r) => r.touch("a", "none"),
    (r) => r.expireat("a", LATER_S),
    async (r) => (await r.ttl("a")) > 1_000_000,
    (r) => r.pexpireat("b", LATER_S * 1000 + 5),
    (r) => r.persist("b"),
    (r) => r.ttl("b"),
    (r) => r.expire("none", 5),
    (r) => r.expire("b", 1000, "NX"),
    (r) => r.pexpire("b", 2_000_000, "GT"),
    (r) => r.rename("a", "c"),
    (r) => r.renamenx("c", "b"),
    (r) => r.get("c"),
    (r) => r.copy("c", "d"),
    (r) => r.copy("c", "d"),
    (r) => r.copy("c", "d", { replace: true }),
    (r) => r.keys("user:*"),
    async (r) => (await r.scan(0, { match: "user:*", count: 1000 }))[1],
    (r) => r.del("c", "none"),
    (r) => r.unlink("d", "b"),
    (r) => r.exists("b", "c", "d"),
    (r) => r.ping(),
    (r) => r.echo("hello"),
  ],
  "scripts and batches": [
    (r) => r.set("n", 1),
    (r) => r.eval("return redis.call('INCRBY', KEYS[1], ARGV[1])", ["n"], ["4"]),
    (r) => r.evalRo("return redis.call('GET', KEYS[1])", ["n"], []),
    (r) => r.pipeline().incr("n").hset("h", { a: 1 }).get("n").hgetall("h").exec(),
    (r) => r.multi().incr("n").del("h").exists("h", "n").exec(),
    (r) => r.mset({ m: 1, o: 2 }),
    (r) => Promise.all([r.get("n"), r.incr("m"), r.set("o", 3), r.strlen("n")]), // auto-pipelined
    (r) => r.multi().getdel("n").get("n").exec(),
    (r) => r.mget("n", "m", "o"),
  ],
};

/** Sets and hashes have no order. */
function unordered(answer: unknown): unknown {
  if (Array.isArray(answer)) return answer.map(unordered).map((each) => JSON.stringify(each)).sort();
  return answer;
}

describe("a transparent client whose keys are away before each call", () => {
  const cold = withArchive();
  const plain = withStack();
  let store: TundraStore;
  beforeEach(async () => {
    await Promise.all([cold.flush(), plain.flush()]);
    store = cold.store();
  });

  for (const [about, calls] of Object.entries(CALLS)) {
    it(`answers as a plain one: ${about}`, async () => {
      const redis = transparentRedis(store, { evicted: true });
      const other = cold.store({ redis: plain.connection, tqname: "unused" }).redis;
      let away = 0;
      for (const call of calls) {
        assertEquals((await store.tick()).errors, []);
        const keys = await redis.keys("*");
        if (keys.length > 0) away += (await store.evict(keys)).evicted.length;
        const [mine, theirs] = [await call(redis), await call(other)];
        const ordered = !/smembers|sunion\(|sinter\(|sdiff\(|spop|scan|hkeys|hvals|keys\(/.test(String(call));
        assertEquals(ordered ? mine : unordered(mine), ordered ? theirs : unordered(theirs), String(call));
      }
      assert(away > calls.length / 3, `${away} keys were away`);
    });
  }
});
