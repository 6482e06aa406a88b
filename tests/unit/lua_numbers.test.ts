/**
 * No script hands a number to redis.call: Redis 7.2 formats some as 1e+08 and refuses them (redis/redis#13113), and the
 * script dies after its writes. All is text that the script has formatted itself.
 * @module
 */
import { readdirSync, readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { TOUCH_MS } from "../../src/scripts/check.ts";
import { MARKED, MARKING } from "../../src/scripts/mark.ts";
import { KEPT_DAYS } from "../../src/scripts/note_run.ts";
import { PRELUDE } from "../../src/scripts/prelude.ts";
import { BYTES } from "../../src/upstash/payload.ts";
import { numbersForRedis } from "../model/redis/lua.ts";

const ROOM = new URL("../../src/scripts/", import.meta.url);

/** Templates that several scripts share: the names of their parameters, with defaults, and their Lua. */
const TEMPLATES = new Map<string, { parameters: [name: string, value: string][]; lua: string }>();
for (const file of readdirSync(ROOM).filter((name) => name.endsWith(".ts"))) {
  const text = readFileSync(new URL(file, ROOM), "utf8");
  for (const [, name, list, lua] of text.matchAll(/function (\w+Lua)\(([^)]*)\): string \{\s*return `([^`]*)`/g)) {
    const parameters = list!.split(",").map((each): [string, string] => {
      const [, parameter, value = ""] = /(\w+)(?:: string)?(?: = (\w+))?/.exec(each)!;
      return [parameter!, value === "BYTES" ? BYTES : ""];
    });
    TEMPLATES.set(name!, { parameters, lua: lua! });
  }
}

/** The scripts that a file defines, by name. */
function scriptsOf(text: string): [name: string, lua: string][] {
  const whole = [...text.matchAll(/defineScript\(\s*"(\w+)",\s*\[[^\]]*\],\s*`([^`]*)`/g)];
  const shared = [...text.matchAll(/defineScript\(\s*"(\w+)",\s*\[[^\]]*\],\s*(\w+Lua)\(([^]*?)\)(?:,\s*\)|\));\n/g)];
  const made = shared.map(([, name, template, given]): [string, string] => {
    const { parameters, lua } = TEMPLATES.get(template!)!;
    const values = new Function("BYTES", `return [${given}]`)(BYTES) as string[];
    return [
      name!,
      parameters.reduce((all, [each, value], i) => all.replace(`\${${each}}`, () => values[i] ?? value), lua),
    ];
  });
  return [...whole.map(([, name, lua]): [string, string] => [name!, lua!]), ...made].map(([name, lua]) => [
    name,
    Object.entries({ PRELUDE, BYTES, MARKING, MARKED, TOUCH_MS, KEPT_DAYS })
      .reduce((lua, [name, part]) => lua.replace(`\${${name}}`, () => String(part)), lua).replaceAll("\\\\", "\\"),
  ]);
}

describe("what scripts hand to Redis", () => {
  const files = readdirSync(ROOM).filter((name) => name.endsWith(".ts"));
  const texts = files.map((name) => readFileSync(new URL(name, ROOM), "utf8"));

  it("is text, never a number, in every script", () => {
    let checked = 0;
    for (const text of texts) {
      for (const [name, lua] of scriptsOf(text)) {
        assertEquals(numbersForRedis(lua), [], name);
        checked++;
      }
    }
    const defined = texts.join("\n").match(/\bdefineScript\(/g)!.length;
    assert(defined >= 18);
    assertEquals(checked, defined);
  });

  const WRONG: [what: string, lua: string, found: string[]][] = [
    ["a number", "redis.call('ZRANGE', KEYS[1], 0, '1')", ["ZRANGE, argument 2"]],
    ["arithmetic", "redis.call('HINCRBY', KEYS[1], 'a', #ARGV / 2)", ["HINCRBY, argument 3"]],
    ["a variable", "local n = 1\nredis.call('HINCRBY', KEYS[1], 'a', n)", ["HINCRBY, argument 3"]],
    ["a variable that becomes one", "local n = '1'\nn = #KEYS\nredis.call('GET', n)", ["GET, argument 1"]],
    ["a counter", "for i = 1, 2 do redis.call('GET', i) end", ["GET, argument 1"]],
    ["a reply", "redis.call('SET', KEYS[1], redis.call('ZCARD', KEYS[2]))", ["SET, argument 2"]],
    ["a list", "local l = {}\nl[#l + 1] = 5\nredis.call('MSET', unpack(l))", ["MSET, argument 1"]],
    ["a list of a constructor", "local l = { 'a', 5 }\nredis.call('MSET', unpack(l))", ["MSET, argument 1"]],
    ["a list that is pushed to", `${PRELUDE}local l = {}\npush(l, now, 'a')\nzadd(KEYS[1], nil, l)`, [
      "ZADD, argument 3",
      "ZADD, argument 2",
    ]],
    ["a list that is removed", `${PRELUDE}local l = { now }\nzrem(KEYS[1], l)`, ["ZREM, argument 2"]],
    ["a field", "local r = { at = tonumber(ARGV[1]) }\nredis.call('SET', KEYS[1], r.at)", ["SET, argument 2"]],
    ["a parameter", "local function f(x) redis.call('GET', x) end\nf('a')\nf(1)", ["GET, argument 1"]],
    ["how often it was replaced", "local _, n = string.gsub('a', 'b', '')\nredis.call('GET', n)", ["GET, argument 1"]],
    ["a result", "local function f() return 1 end\nredis.call('GET', f())", ["GET, argument 1"]],
    ["either of two", "redis.call('GET', ARGV[1] or 0)", ["GET, argument 1"]],
    ["text made of a number", "redis.call('GET', 'a' .. #KEYS)", ["GET, argument 1"]],
    ["one that is tried", "redis.pcall('GET', tonumber(ARGV[1]))", ["GET, argument 1"]],
  ];

  for (const [what, lua, found] of WRONG) {
    it(`would not be ${what}`, () => assertEquals(numbersForRedis(lua), found));
  }
});
