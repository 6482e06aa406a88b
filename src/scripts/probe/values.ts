/**
 * Checks of values: that DUMP, RESTORE and SHA-1 are what evictions and returns rely on.
 * @module
 */
import { binary, bytes, type RedisCommand } from "../../upstash/connection.ts";
import { isWholeDump } from "../../upstash/dump.ts";
import { BYTES, encodePayload } from "../../upstash/payload.ts";
import { saidOf, saysUnsupported } from "../../upstash/said.ts";
import { results, sha1Hex } from "../../upstash/script.ts";
import { answerOf, ask, expect, run, type ServerCheck, type ServerProbe } from "./server_probe.ts";

const ALL_BYTES = String.fromCharCode(...Array.from({ length: 256 }, (_, byte) => byte));
const FILL = `
local bytes = {}
for b = 0, 255 do bytes[#bytes + 1] = string.char(b) end
local value = table.concat(bytes)`;

/** Bytes of a value with each of the 256, as DUMP replies them. */
async function dumpAllBytes(probe: ServerProbe): Promise<Uint8Array<ArrayBuffer>> {
  if (probe.dump) return probe.dump;
  const source = `${FILL} redis.call('SET', KEYS[1], value, 'PX', ARGV[1]) return redis.call('STRLEN', KEYS[1])`;
  const length = await run(probe, "write all bytes", source, ["bytes"], [probe.ttlMs]);
  expect(
    length === 256,
    `a script that writes 256 bytes has written ${String(length)}: Lua's strings must hold any byte`,
  );
  const dump = await ask(probe, "dump a key", "DUMP", probe.key("bytes"));
  expect(
    typeof dump === "string",
    "DUMP of a key that was just written replies nothing: is this a replica that is behind?",
  );
  return probe.dump = bytes(dump as string);
}

async function dumpRoundTrip(probe: ServerProbe): Promise<string> {
  const dump = await dumpAllBytes(probe);
  const isWhole = isWholeDump(dump);
  const use = "use an endpoint that heeds Upstash-Encoding: base64";
  expect(
    isWhole,
    `what DUMP replies does not end with its checksum (${dump.length} bytes): replies are changed on the way; ${use}`,
  );
  expect(binary(dump).includes(ALL_BYTES), `DUMP replies other bytes than were written: ${use}`);
  return `a value with all 256 bytes came whole, its payload has ${dump.length} bytes`;
}

const MAKE_TYPES = `
local fields, members, scored = {}, {}, {}
for i = 1, 200 do
  fields[2 * i - 1], fields[2 * i] = 'field' .. i, 'value' .. i
  members[i] = 'member' .. i
  scored[2 * i - 1], scored[2 * i] = i, 'member' .. i
end
redis.call('HSET', KEYS[1], unpack(fields))
redis.call('SADD', KEYS[2], unpack(members))
redis.call('ZADD', KEYS[3], unpack(scored))
redis.call('RPUSH', KEYS[4], unpack(members))
redis.call('SET', KEYS[5], string.rep('text ', 100))
for i = 1, 5 do redis.call('PEXPIRE', KEYS[i], ARGV[1]) end
return 1`;
const TYPES = ["hash", "set", "zset", "list", "string"];

async function equalDumps(probe: ServerProbe): Promise<string> {
  await run(probe, "make a key of each type", MAKE_TYPES, TYPES, [probe.ttlMs]);
  const commands = [1, 2].flatMap(() => TYPES.map((type): RedisCommand => ["DUMP", probe.key(type)]));
  const dumps = results("dump keys", await probe.connection.pipeline(commands, probe.call));
  const different = TYPES.filter((_, i) => dumps[i] === null || dumps[i] !== dumps[i + TYPES.length]);
  const means =
    "each eviction takes such keys for changed and archives them again; do not set redisTtlMs, and report this";
  expect(different.length === 0, `two DUMPs of an unchanged key differ for ${different.join(", ")}: ${means}`);
  return `two DUMPs of an unchanged ${TYPES.join(", ")} are equal`;
}

async function sha1(probe: ServerProbe): Promise<string> {
  const dump = await dumpAllBytes(probe);
  const digest = await run(probe, "hash a payload", "return redis.sha1hex(redis.call('DUMP', KEYS[1]))", ["bytes"]);
  const own = await sha1Hex(dump);
  expect(
    digest === own,
    `redis.sha1hex of a payload is ${String(digest)}, its SHA-1 is ${own}: without that nothing is evicted`,
  );
  return "redis.sha1hex of a payload is its SHA-1";
}

async function restore(probe: ServerProbe): Promise<string> {
  const dump = await dumpAllBytes(probe);
  const source = `${FILL} ${BYTES}
local clock = redis.call('TIME')
local at = string.format('%.0f', clock[1] * 1000 + ARGV[2])
local payload = string.gsub(ARGV[1], '[\\194-\\197][\\128-\\191]', BYTES)
redis.call('RESTORE', KEYS[1], at, payload, 'ABSTTL')
return { redis.call('GET', KEYS[1]) == value and 1 or 0, redis.call('PEXPIRETIME', KEYS[1]) - tonumber(at) }`;
  const reply = await run(probe, "restore a value", source, ["restored"], [encodePayload(dump), probe.ttlMs]);
  const [same, difference] = reply as [number, number];
  const why = "requests are changed on the way, or RESTORE fails silently";
  expect(same === 1, `a value that a script has restored holds other bytes: ${why}`);
  expect(difference === 0, `RESTORE with ABSTTL sets another expiry, by ${difference} ms`);
  return "a script restores a value with all bytes, and its expiry to the millisecond";
}

async function json(probe: ServerProbe): Promise<string> {
  const [name, copy] = [probe.key("json"), probe.key("json copy")];
  const answer = await answerOf(probe, "JSON.SET", name, "$", '{"a":[1,2,{"b":"ä"}]}');
  if (answer.error !== undefined && saysUnsupported(saidOf(answer) ?? "")) return "the server has no JSON type";
  results("write JSON", [answer]);
  await ask(probe, "expire a key", "PEXPIRE", name, probe.ttlMs);
  await copyBy(probe, "json");
  const [was, is] = [await ask(probe, "read JSON", "JSON.GET", name), await ask(probe, "read JSON", "JSON.GET", copy)];
  expect(was === is, "a JSON value comes back changed from DUMP and RESTORE: do not mark keys of this type");
  return "a JSON value comes back from DUMP and RESTORE as it was";
}

async function fieldExpiry(probe: ServerProbe): Promise<string> {
  const [name, copy] = [probe.key("fields"), probe.key("fields copy")];
  const expire: RedisCommand = ["HPEXPIRE", name, probe.ttlMs, "FIELDS", 1, "f"];
  const known = await answerOf(probe, ...expire);
  if (known.error !== undefined && saysUnsupported(saidOf(known) ?? "")) {
    return "the server has no expiry of hash fields";
  }
  await ask(probe, "write a hash", "HSET", name, "f", "1", "g", "2");
  await ask(probe, "expire a key", "PEXPIRE", name, probe.ttlMs);
  await ask(probe, "expire a field", ...expire);
  await copyBy(probe, "fields");
  const read = async (key: string) => String(await ask(probe, "read an expiry", "HPEXPIRETIME", key, "FIELDS", 1, "f"));
  const [was, is] = [await read(name), await read(copy)];
  expect(was === is, `a field's expiry is ${was} before DUMP and RESTORE and ${is} after: do not mark such hashes`);
  return "an expiry of a hash field comes back from DUMP and RESTORE";
}

/** Copies a key by DUMP and RESTORE. */
async function copyBy(probe: ServerProbe, name: string): Promise<void> {
  const source = `redis.call('RESTORE', KEYS[2], ARGV[1], redis.call('DUMP', KEYS[1])) return 1`;
  await run(probe, "restore a copy", source, [name, `${name} copy`], [probe.ttlMs]);
}

/** All of them. */
export const VALUE_CHECKS: readonly ServerCheck[] = [
  { name: "redis: DUMP comes byte by byte", try: dumpRoundTrip },
  { name: "redis: DUMPs of an unchanged key are equal", try: equalDumps },
  { name: "redis: sha1hex", try: sha1 },
  { name: "redis: RESTORE with ABSTTL in a script", try: restore },
  { name: "redis: JSON", try: json },
  { name: "redis: expiry of hash fields", try: fieldExpiry },
];

/** Names of the keys that these checks may leave. */
export const VALUE_KEYS: readonly string[] = [
  ...["bytes", ...TYPES, "restored", "json", "json copy", "fields", "fields copy"],
];
