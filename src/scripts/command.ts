/**
 * command: a command of the application, and its mark, in one step.
 * @module
 */
import type { CallOptions, Reply } from "../upstash/connection.ts";
import { defineScript, type Script } from "../upstash/script.ts";
import { type Checked, checkedOf, TOUCH_MS } from "./check.ts";
import { MARKED, MARKING } from "./mark.ts";
import { type Index, layout, PRELUDE } from "./prelude.ts";

/**
 * The use that a command makes of a key: `r` reads it, `w` changes it, `o` replaces the whole value, whatever it was,
 * `-` is none of Tundra's business.
 */
export type Use = "r" | "w" | "o" | "-";

/** A command, and the keys that it declares. */
export interface DeclaredCommand {
  /** Its name and its arguments. */
  words: readonly string[];
  keys: readonly string[];
  /** The use of each key. */
  uses: readonly Use[];
  /** `true`: a reply of 0, nothing or an empty list says that nothing was changed. */
  tells: boolean;
  /** `true`: Redis carries it out at its memory limit too. */
  runsWhenFull: boolean;
  /** `false`: changes are not marked. */
  marks: boolean;
}

/**
 * The outcome of a command: of all but the first, nothing was carried out. `idle`: keys that are there, are not marked,
 * and whose use has to be noted.
 */
export type CommandOutcome =
  | { reply: Reply; marked: string[]; idle: string[] }
  | { error: string }
  | { id: string }
  | { evicted: Checked }
  | { unsupported: string[] };

/** The largest integer of Redis. */
const LARGEST = "9223372036854775807";

/**
 * A command runs only if the keys that it reads and changes are not evicted, and what it changed is marked.
 *
 *     KEYS  dirty, dead, stats, id, n records, n keys, tick
 *     ARGV  database, freezeDelayMs, the id that may be used though it is no final one ('-': none), name the unknown
 *           ones (0 1), marks (0 1), tells (0 1), uses (one letter a key: r w o -), the command
 *     OUT   code, and: D done: the reply, the letters of what was marked, one a key (r changed, g removed, - not), and
 *               the numbers of the keys whose use is to be noted
 *             L done, as D: the texts 9223372036854775807 in the reply are integers
 *             X the command failed: its error   I the id has to be looked at first: the id
 *             E evicted: the id, then for each key to bring back what `check` says: index, code, record
 *             U records of another version: the numbers of the keys
 *     INV   1, 8: nothing is written beside an evicted value; no change without its mark; 4: what a command removed
 *           stays removed. Like the command alone, a copy that comes late is carried out once more
 *
 * - Nothing is marked if the command fails, as Redis' commands fail before they write.
 * - A key that is replaced need not be there. If it is missing afterwards, the command has removed it, unless a reply of
 *   nothing says that it has not: then what is archived stays.
 * - Lua's numbers have 53 bits. JavaScript's have as many, so that is no matter, but what Lua rounds up to 2^63 is no
 *   integer any more, and Redis would reply the least one.
 */
const COMMAND = defineScript(
  "command",
  [],
  `
${PRELUDE}
local DIRTY, DEAD = KEYS[1], KEYS[2]
local TOUCH_MS = ${TOUCH_MS}
local n = (#KEYS - 5) / 2
local delay, uses = tonumber(ARGV[2]), ARGV[7]
local found, texts = redis.call('MGET', KEYS[#KEYS], unpack(KEYS, 4, 4 + n)), {}
local id = sealed(found[2], found[1])
if foreign(found[2], ARGV[1]) then return { 'I', found[2] } end
if (id == '' or not confirmed(id)) and id ~= ARGV[3] then return { 'I', id } end

local there, records, needed, odd = existing(5 + n, n), {}, { 'E', id }, { 'U' }
for i = 1, n do
  local r, use, text = parse(found[i + 2]), string.sub(uses, i, i), found[i + 2]
  records[i] = r
  if use ~= '-' and not r then
    odd[#odd + 1] = i
  elseif use == 'r' or use == 'w' then
    local code
    if there[i] then
      if r.flag == 'e' and not expired(r) then code = 'R' end
    elseif evictable(r) then
      code = 'E'
    elseif ARGV[4] == '1' and not text then
      code, text = 'N', int(now)
    end
    if code then
      needed[#needed + 1] = i
      push(needed, code, text)
    end
  end
end
if #odd > 1 then return odd end
if #needed > 2 then return needed end

${MARKING}
local reply = redis.pcall(ARGV[8], unpack(ARGV, 9))
if type(reply) == 'table' and reply.err then return { 'X', reply.err } end
local nothing = reply == 0 or not reply or type(reply) == 'table' and not reply.ok and #reply == 0
local code, marks, idle = 'D', {}, {}
local function shown(x)
  if type(x) ~= 'number' or x < 9223372036854775808 then return x end
  code = 'L'
  return '${LARGEST}'
end
if type(reply) == 'table' then
  for i = 1, #reply do reply[i] = shown(reply[i]) end
else
  reply = shown(reply)
end
for i = 1, n do
  local r = records[i]
  marks[i] = '-'
  if string.sub(uses, i, i) ~= '-' and there[i] and found[i + 2] and r.flag ~= 'e' and r.touch < now - TOUCH_MS then
    idle[#idle + 1] = i
  end
end
if ARGV[5] == '0' or ARGV[6] == '1' and nothing or not string.match(uses, '[wo]') then
  return { code, reply, table.concat(marks), idle }
end
local left = existing(5 + n, n)
for i = 1, n do
  local r, use = records[i], string.sub(uses, i, i)
  if use == 'w' or use == 'o' then
    if left[i] then
      marks[i] = 'r'
    elseif (there[i] or use == 'o' and reply) and
      (r.flag == 'm' or (r.flag == 'r' or r.flag == 'e') and (r.rev > 0 or evictable(r))) then
      marks[i] = 'g'
    end
    if marks[i] ~= '-' then mark(i, r, marks[i]) end
  end
end

${MARKED}return { code, reply, table.concat(marks), idle }
`,
);

/**
 * The same for commands that Redis carries out at its memory limit: what only reads, and what frees memory. Redis asks a
 * script's flags, not its commands: under this flag it would carry SET out as well.
 */
const COMMAND_WHEN_FULL: Script = { ...COMMAND, flags: [...COMMAND.flags, "allow-oom"] };

/**
 * Carries a command out unless a key is to be brought back first. One request, the command and 7 billable commands, or
 * 4 if nothing was changed.
 *
 * @param allowed an id that is not final and that the archive has nothing against
 * @param nameUnknown `true`: keys of which Redis has neither value nor record count as evicted
 */
export async function runCommand(
  index: Index,
  { words, keys, uses, tells, runsWhenFull, marks }: DeclaredCommand,
  { freezeDelayMs, allowed, nameUnknown }: { freezeDelayMs: number; allowed?: string; nameUnknown: boolean },
  call?: CallOptions,
): Promise<CommandOutcome> {
  const { dirty, dead, stats, id, tick } = index.keys;
  const flag = (is: boolean) => is ? 1 : 0;
  const reply = await index.scripts.run(
    runsWhenFull ? COMMAND_WHEN_FULL : COMMAND,
    [...layout(index, [dirty, dead, stats, id], [...keys]), tick],
    [
      ...[index.database, freezeDelayMs, allowed ?? "-", flag(nameUnknown), flag(marks), flag(tells), uses.join("")],
      ...words,
    ],
    call,
  ) as [string, ...Reply[]];
  const [code, first, second, third] = reply;
  switch (code) {
    case "D":
    case "L": {
      const isMarked = keys.map((_, i) => (second as string)[i] !== "-");
      return {
        reply: code === "L" ? withLargest(first!) : first ?? null,
        marked: keys.filter((_, i) => isMarked[i]),
        idle: (third as number[]).filter((i) => !isMarked[i - 1]).map((i) => keys[i - 1]!),
      };
    }
    case "X":
      return { error: first as string };
    case "I":
      return { id: first as string };
    case "E":
      return { evicted: checkedOf(reply.slice(1) as string[], keys) };
    default:
      return { unsupported: (reply.slice(1) as number[]).map((i) => keys[i - 1]!) };
  }
}

/** A reply of integers, of which some came as text. */
function withLargest(reply: Reply): Reply {
  if (Array.isArray(reply)) return reply.map(withLargest);
  return reply === LARGEST ? Number(LARGEST) : reply;
}
