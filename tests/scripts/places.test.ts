/** Records that name a place in a pack: their layout, and words that no version has, in Lua and in TypeScript alike. */
import { beforeEach, describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { check } from "../../src/scripts/check.ts";
import { commit } from "../../src/scripts/commit.ts";
import { mark } from "../../src/scripts/mark.ts";
import { parseRecord } from "../../src/scripts/prelude.ts";
import { readState } from "../../src/scripts/read_state.ts";
import { remove } from "../../src/scripts/remove.ts";
import { OLD_VER, textOf, withIndex } from "../support/index.ts";
import { withStack } from "../support/stack.ts";

const PACK = "1700000000000001-000000aa";
const PLACE = `${OLD_VER}@:16:4096`;
const MOVED = `${OLD_VER}@${PACK}:16:4096`;
const FP = "0123456789abcdef0123456789abcdef01234567";
const PLAIN = { freezeDelayMs: 0, missing: "throw", overwrite: "never" } as const;

/** A record's text in layout 2. */
const text2 = (fields: Parameters<typeof textOf>[0]) => textOf(fields).replace(/^1 /, "2 ");

describe("a record with a place", () => {
  const stack = withStack();
  const t = withIndex(stack);
  beforeEach(() => stack.flush());

  /** The layout numbers of these keys' records. */
  async function layouts(...some: string[]): Promise<string[]> {
    return await Promise.all(some.map(async (key) => (await t.recordText(key))!.slice(0, 2)));
  }

  it("has layout 2 as long as it names one, as version or as what is to be deleted; else 1", async () => {
    await t.setKeys("place", "moved", "old", "own", "none");
    await t.setRecords({
      place: text2({ ver: PLACE, fp: FP }),
      moved: text2({ ver: MOVED, fp: FP }),
      old: text2({ ver: OLD_VER, fp: FP, old: PLACE }),
      own: text2({ ver: OLD_VER, fp: FP }), // whoever wrote this knew layout 2, and did not need it
      none: textOf({}),
    });
    const all = ["place", "moved", "old", "own", "none"];
    assertEquals(await mark(t.index, all, PLAIN), []);
    assertEquals(await layouts(...all), ["2 ", "2 ", "2 ", "1 ", "1 "]);
    assertEquals((await t.readRecord("moved")).ver, MOVED);
  });

  it("gets it by a commit of a pack, and gives it back by one of an object", async () => {
    await t.setKeys("k");
    const archive = async (ver: string) => {
      assertEquals(await mark(t.index, ["k"], PLAIN), []);
      const token = `${await t.nowMs() + 60_000}.5`;
      await t.setScores("dirty", { k: token });
      const { rev } = await t.readRecord("k");
      const archived = { key: "k", rev, ver, fp: await t.fingerprint("k"), exp: 0, bytes: 1, kb: 1 };
      const options = { token, leaseMs: 60_000, freezeDelayMs: 0 };
      assertEquals(await commit(t.index, [archived], options), ["clean"]);
      return (await t.recordText("k"))!;
    };
    const own = await archive(OLD_VER);
    const place = await archive("1700000000000002-00000000@:1048000:32768");
    assertEquals([own.slice(0, 2), place.slice(0, 2)], ["1 ", "2 "]);
    assertEquals((await t.readRecord("k")).ver, "1700000000000002-00000000@:1048000:32768");
    assertEquals((await archive(OLD_VER)).slice(0, 2), "1 ");
  });

  it("is removed with its place in `old`, and evicted keys with one are to be brought back", async () => {
    await t.evicted("k", "value", { ver: PLACE });
    await t.evicted("moved", "value", { ver: MOVED });
    const { states } = await readState(t.index, ["k", "moved"]);
    assertEquals(states.map(({ evictable }) => evictable), [true, true]);
    assertEquals(await remove(t.index, [{ key: "k", record: states[0]!.record }]), ["deleted"]);
    const { flag, ver, old } = await t.readRecord("k");
    assertEquals([flag, ver, old, ...await layouts("k")], ["g", PLACE, PLACE, "2 "]);
  });
});

describe("a word for a version", () => {
  const stack = withStack();
  const t = withIndex(stack);
  beforeEach(() => stack.flush());

  const GOOD = ["-", OLD_VER, PLACE, MOVED, `${OLD_VER}@:0:1`, `${OLD_VER}@:999999999999999:999999999999999`];
  const BAD = [
    ...["x", "--", "@", "1700000000000000", `${OLD_VER}@`, `${OLD_VER}@:`, `${OLD_VER}@:16`, `${OLD_VER}@:16:`],
    ...[
      `${OLD_VER}@::16`,
      `${OLD_VER}@:-16:16`,
      `${OLD_VER}@:16:16:16`,
      `${OLD_VER}@:16:16@:16:16`,
      `${PACK}/${PLACE}`,
    ],
    ...[`${OLD_VER}@pack:16:16`, `${OLD_VER}@:0x10:16`, `${OLD_VER}#:16:16`, `@${PLACE}`, `-@:16:16`, `${PLACE}:`],
    ...["17000000000000000-00000000", "170000000000000-00000000", "1700000000000000-0000000A", "1700000000000000-"],
  ];

  for (const field of ["ver", "old"] as const) {
    it(`in ${field} is read alike in Lua and in TypeScript, and what is none is UNSUPPORTED`, async () => {
      const words = [...GOOD, ...BAD];
      const names = words.map((_, i) => `k${i}`);
      for (const layout of ["1 ", "2 "]) {
        const texts = words.map((word) => layout + textOf({ ver: OLD_VER, fp: FP, flag: "e", [field]: word }).slice(2));
        await t.setRecords(Object.fromEntries(names.map((name, i) => [name, texts[i]!])));
        const { findings } = await check(t.index, names);
        const unsupported = new Set(findings.filter(({ needs }) => needs === "unsupported").map(({ key }) => key));
        for (const [i, word] of words.entries()) {
          const found = { lua: !unsupported.has(names[i]!), typescript: parseRecord(texts[i]!) !== undefined };
          const good = GOOD.includes(word);
          assertEquals([word, found], [word, { lua: good, typescript: good }]);
        }
      }
    });
  }

  it("that is none spoils its key only, and nothing is changed", async () => {
    await t.setKeys("good", "bad");
    const record = textOf({ ver: "not-a-version", fp: FP });
    await t.setRecords({ good: {}, bad: record });
    const failures = await mark(t.index, ["good", "bad"], PLAIN);
    assertEquals(failures.length, 1);
    assertEquals(await t.recordText("bad"), record);
    assertEquals(Object.keys(await t.scores("dirty")), ["good"]);
  });

  it("of layout 4 is not read at all", async () => {
    const text = textOf({ ver: OLD_VER, fp: FP, flag: "e" }).replace(/^1/, "4");
    await t.setRecords({ k: text });
    const { findings } = await check(t.index, ["k"]);
    assertEquals([findings.map(({ needs }) => needs), parseRecord(text)], [["unsupported"], undefined]);
  });
});
