/** verify: what it finds in objects, packs and records, what it repairs, and how it goes on within its bounds. */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertGreater } from "@std/assert";
import { deflateFreezer, notFound, TundraError, type TundraStore } from "../../mod.ts";
import { freezeRecord } from "../../src/archive/record.ts";
import { type DamagedVersion, verify, type VerifyOptions, type VerifyReport } from "../../src/operations/mod.ts";
import { BUCKET, isOwner, isPack, names, tundraError, withArchive } from "../support/fixtures.ts";
import { seededRandom } from "../support/random.ts";
import { smallPages } from "../support/small_pages.ts";
import { allThatIsThere, changesNothing, costOf, refusedIfNotItsOwn } from "../support/operations.ts";

const LONG = "long ".repeat(60);

describe("verify", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  const objects = () => stack.s3.objects(BUCKET);
  const ownName = async (key: string) => `default/${key.replaceAll(":", ".3A")}/${(await stack.record(key))!.ver}`;
  const packs = () => stack.objectNames().filter(isPack);
  const brief = ({ key, code, current, repaired }: DamagedVersion) => ({ key, code, current, repaired });
  const flip = (name: string, at: number) => objects().get(name)![at]! ^= 1;

  /** Archives keys, each with `value of <key>`, in packs or not. */
  async function archived(store: TundraStore, keys: string[], value = "value of"): Promise<void> {
    for (const key of keys) await stack.raw("SET", key, `${value} ${key}`);
    await store.dirty(keys);
    assertEquals((await store.tick()).frozen, keys.length);
  }

  /** Calls until it is done; all that the calls report. */
  async function whole(store: TundraStore, options: VerifyOptions = {}) {
    const all = {
      calls: 0,
      checked: 0,
      records: 0,
      damaged: [] as DamagedVersion[],
      missing: [] as string[],
      repaired: 0,
    };
    let report: VerifyReport;
    do {
      assert(all.calls++ < 300, "it does not end");
      report = await verify(store, options);
      assertEquals(report.errors, []);
      all.checked += report.checked;
      all.records += report.records;
      all.repaired += report.repaired;
      all.damaged.push(...report.damaged);
      all.missing.push(...report.missing.map(({ key }) => key));
    } while (!report.done);
    return all;
  }

  it("reads every version, in objects of their own and in packs, values and removals, and finds nothing wrong", async () => {
    const store = stack.store();
    await archived(stack.store({ packBytes: 0 }), ["a", "", LONG, "B"]);
    await archived(store, names(60));
    await archived(store, ["k:0", "k:1"], "changed");
    await store.evict(names(30));
    await store.del("k:2", "a");
    const { deleteKeys: _, ...keeps } = stack.datastore();
    await stack.store({ datastore: keeps }).tick();
    await stack.raw("SET", "never archived", "x");
    await store.dirty("never archived");
    const all = await changesNothing(stack, () => whole(store));
    // records of removed keys name no value
    assertEquals(all, {
      calls: 1,
      checked: 4 + 60 + 2 + 2,
      records: 4 + 60 - 2,
      damaged: [],
      missing: [],
      repaired: 0,
    });
  });

  it("finds damage of an object of its own, and names the key, also one whose name is shortened", async () => {
    const store = stack.store({ packBytes: 0 });
    await archived(store, ["a", "b", LONG]);
    await archived(store, ["a"], "changed");
    const older = stack.objectNames().find((name) => name.startsWith("default/a/"))!;
    for (const name of [older, await ownName("b")]) flip(name, 60);
    const { damaged, checked } = await verify(store);
    assertEquals(damaged.map(brief), [
      { key: "a", code: "CORRUPT", current: false, repaired: false },
      { key: "b", code: "CORRUPT", current: true, repaired: false },
    ]);
    assertEquals([damaged[0]!.object, damaged[0]!.version, checked], [older, older.split("/")[2]!, 4]);
  });

  it("tells the key of a damaged object whose name is shortened by the record, if one names it, and repairs it", async () => {
    const store = stack.store({ packBytes: 0 });
    await archived(store, ["", LONG]);
    for (const name of stack.objectNames()) flip(name, 60);
    for (const options of [{}, { maxKeys: 1 }]) {
      const { damaged } = await whole(store, options);
      assertEquals(damaged.map(({ key, current }) => [key, current]), [["", false], ["", true], [LONG, true]]);
    }
    const { repaired } = await whole(store, { repair: true });
    assertEquals([repaired, await stack.members("dirty")], [2, ["", LONG]]);
  });

  it("finds objects in each other's place, also of keys whose names are shortened", async () => {
    const store = stack.store({ packBytes: 0 });
    const other = LONG + "!";
    await archived(store, ["a", "b", LONG, other]);
    const [a, b, ...long] = stack.objectNames();
    objects().set(a!, objects().get(b!)!);
    objects().set(long[0]!, objects().get(long[1]!)!);
    const { damaged } = await verify(store);
    const key = long[0]!.endsWith((await stack.record(LONG))!.ver) ? LONG : other;
    assertEquals(damaged.map(({ key, object }) => [key, object]), [["a", a], ["", long[0]], [key, long[0]]]);
  });

  it("finds a damaged block: its keys, and no others; and a damaged directory: by the records, all its keys", async () => {
    const store = stack.store();
    const keys = names(200);
    await archived(store, keys, "x".repeat(300));
    const [pack] = packs();
    flip(pack!, 16 + 60); // in the first block
    const { damaged, checked } = await verify(store);
    assertEquals(checked, 200);
    assertGreater(damaged.length, 1);
    assertGreater(200, damaged.length);
    assert(damaged.every(({ code, current, object }) => code === "CORRUPT" && current && object === pack));
    assertEquals(new Set(damaged.map(({ key }) => key)).size, damaged.length);
    flip(pack!, objects().get(pack!)!.length - 1);
    const directory = await verify(store);
    assertEquals(directory.damaged.map(brief), [
      { key: "", code: "CORRUPT", current: false, repaired: false },
      ...keys.toSorted().map((key) => ({ key, code: "CORRUPT" as const, current: true, repaired: false })),
    ]);
    assert(directory.damaged.every(({ object }) => object === pack));
    assertEquals([directory.checked, directory.records, directory.missing], [0, 200, []]);
    const { ver } = (await stack.record("k:7"))!;
    assertEquals(directory.damaged.find(({ key }) => key === "k:7")!.version, ver.split("@")[0]);
  });

  it("repairs the keys of a pack that cannot be read at all, from their records, within any bounds", async () => {
    const store = stack.store();
    for (const options of [{}, { maxKeys: 3 }, { maxSubrequests: 12 }]) {
      await stack.flush();
      const keys = names(20).sort();
      await archived(stack.store({ packBytes: 0 }), ["a", "b", "c", "d"]);
      await archived(store, [...keys, "evicted"]);
      await store.evict("evicted");
      const [pack] = packs();
      objects().get(pack!)!.fill(0);
      await archived(store, keys.slice(0, 5), "in another pack");
      const all = await whole(store, { ...options, repair: true });
      const told = [...keys.slice(5), "evicted"].sort();
      assertEquals(
        all.damaged.map(({ key, repaired }) => [key, repaired]).sort(),
        [
          ["", false],
          ...told.map((key) => [key, key !== "evicted"]),
        ].sort(),
      );
      assertEquals([all.repaired, await stack.members("dirty"), all.missing], [15, keys.slice(5), []]);
      assertEquals((await store.tick()).frozen, 15);
      await store.evict(keys);
      await store.ensureKs(keys);
      assertEquals(await stack.get("k:9"), "value of k:9");
    }
  });

  it("tells what is both damaged and gone meanwhile as missing, once", async () => {
    const store = stack.store();
    await archived(store, names(3));
    const [pack] = packs();
    objects().get(pack!)!.fill(0);
    const first = await verify(store, { maxKeys: 1 });
    assertEquals([first.done, first.damaged.map(({ key }) => key)], [false, ["", "k:0"]]);
    objects().delete(pack!);
    const { damaged, missing } = await whole(store);
    assertEquals([damaged, missing], [[], ["k:1", "k:2"]]);
  });

  it("compares the record's fingerprint, if the key was not used since: a restored value may have another DUMP", async () => {
    const store = stack.store({ packBytes: 0 });
    await archived(store, ["a", "b"]);
    for (const key of ["a", "b"]) {
      // another value under the same name, sealed as it should be
      const { ver } = (await stack.record(key))!;
      const name = await ownName(key);
      const dump = new Uint8Array(await stack.raw("DUMP", key === "a" ? "b" : "a") as Uint8Array);
      const record = { key, ver, at: 1, index: stack.id("x"), prev: "", exp: 0, dump };
      objects().set(name, await freezeRecord(record, name, [deflateFreezer()]));
    }
    await stack.editRecord("b", { touch: Math.ceil(await stack.nowMs()) + 1000 });
    assertEquals((await verify(store)).damaged.map(brief), [{
      key: "a",
      code: "CORRUPT",
      current: true,
      repaired: false,
    }]);
    await stack.editRecord("a", { fp: "?" }); // not known, as after a rebuild
    assertEquals((await verify(store)).damaged, []);
  });

  it("finds no damage after large hashes and sets came back, were evicted again", async () => {
    const store = stack.store();
    const members = names(3000);
    await stack.raw("HSET", "hash", ...members.flatMap((member, i) => [member, i]));
    await stack.raw("SADD", "set", ...members);
    await store.dirty("hash", "set");
    await store.tick();
    for (let i = 0; i < 2; i++) {
      await store.evict("hash", "set");
      assertEquals((await verify(store)).damaged, []);
      await store.ensureKs("hash", "set");
      assertEquals((await verify(store)).damaged, []);
    }
  });

  it("finds records whose objects are missing, and packs; not what a tick has replaced meanwhile", async () => {
    const store = stack.store();
    await archived(stack.store({ packBytes: 0 }), ["a", "b"]);
    await archived(store, ["k:0", "k:1"]);
    await archived(store, ["k:2", "k:3"]);
    const [first] = packs();
    const gone = await ownName("a");
    objects().delete(first!);
    objects().delete(gone);
    const { missing, damaged } = await verify(store);
    const found = missing.sort((a, b) => a.key < b.key ? -1 : 1).map((
      { key, object, repaired },
    ) => [key, object, repaired]);
    assertEquals(found, [["a", gone, false], ["k:0", first, false], ["k:1", first, false]]);
    assertEquals(damaged, []);
    const hasKeys = async (wanted: string[]) => {
      await archived(store, ["a", "k:0", "k:1"], "anew");
      return wanted.map((name) => objects().has(name));
    };
    assertEquals((await verify(stack.store({ datastore: { ...stack.datastore(), hasKeys } }))).missing, []);
  });

  it("marks what is still in Redis, if told: a tick archives it again; what is evicted stays as it is", async () => {
    const store = stack.store({ packBytes: 0 });
    await archived(store, ["damaged", "missing", "evicted", "lost"]);
    await store.evict("evicted", "lost");
    for (const key of ["damaged", "evicted"]) flip(await ownName(key), 60);
    for (const key of ["missing", "lost"]) objects().delete(await ownName(key));
    await changesNothing(stack, () => verify(store, { repair: true, dryRun: true }));
    const report = await verify(store, { repair: true });
    assertEquals(report.damaged.map(({ key, repaired }) => [key, repaired]), [["damaged", true], ["evicted", false]]);
    assertEquals(
      report.missing.map(({ key, repaired }) => [key, repaired]).sort(),
      [["lost", false], ["missing", true]],
    );
    assertEquals([report.repaired, (await store.status()).due], [2, 2]);
    assertEquals((await store.tick()).frozen, 2);
    const again = await verify(store, { repair: true });
    assertEquals(again.damaged.map(brief), [
      { key: "damaged", code: "CORRUPT", current: false, repaired: false },
      { key: "evicted", code: "CORRUPT", current: true, repaired: false },
    ]);
    assertEquals([again.missing.map(({ key }) => key), (await store.status()).due], [["lost"], 0]);
    await store.evict("damaged");
    await store.ensureKs("damaged");
    assertEquals(await stack.get("damaged"), "value of damaged");
  });

  it("interrupted by any bound and called again finds the same, each once", async () => {
    const store = stack.store();
    await archived(stack.store({ packBytes: 0 }), ["a", "b", "c", "d", "e", "f", "g", "h", ""]);
    await archived(store, names(60), "y".repeat(1500));
    for (const key of ["b", "f"]) flip(await ownName(key), 60);
    objects().delete(await ownName("d"));
    const [pack] = packs();
    flip(pack!, objects().get(pack!)!.length >> 1);
    const once = await whole(store);
    assertEquals([once.calls, once.checked, once.records, once.missing], [1, 68, 69, ["d"]]);
    const found = (all: { damaged: DamagedVersion[] }) => all.damaged.map(({ key, version }) => `${key} ${version}`);
    for (const options of [{ maxSubrequests: 12 }, { maxKeys: 3 }, { maxKeys: 7, maxSubrequests: 13, repair: true }]) {
      const parts = await whole(store, options);
      assertGreater(parts.calls, 5);
      assertEquals([parts.checked, parts.records, found(parts), parts.missing], [68, 69, found(once), ["d"]]);
      assertEquals(await stack.raw("KEYS", "tundra:default:cursor:*"), []);
    }
  });

  it("reads all blocks of the next pack if the one that a bound has interrupted is gone in the next call", async () => {
    const store = stack.store({ freezer: null });
    const random = seededRandom("a pack goes");
    const noise = Array.from({ length: 20_000 }, () => random.int(36).toString(36)).join(""); // Redis shrinks other text
    const texts = (some: string[]) => archived(store, some, noise);
    await texts(names(10, "a"));
    const [first] = packs();
    await texts(names(10, "b"));
    const second = packs().find((name) => name !== first)!;
    flip(second, 500); // in its first block
    const report = await verify(store, { maxKeys: 5 });
    assertEquals([report.done, report.damaged], [false, []]);
    objects().delete(first!); // a sweep has deleted it: what lived in it is elsewhere
    await stack.raw("DEL", ...names(10, "a").map((key) => `tundra:default:rec:${key}`));
    const rest = await whole(store);
    assertEquals([rest.checked, rest.damaged.map(({ key }) => key)], [10, ["b:0"]]);
  });

  it("begins its listing anew in the call after one in which the archive did not know its cursor", async () => {
    await archived(stack.store({ packBytes: 0 }), names(20));
    flip(await ownName("k:9"), 60);
    const { datastore, move } = smallPages(stack.datastore(), 5);
    const store = stack.store({ datastore });
    assertEquals((await verify(store, { maxKeys: 7 })).done, false);
    move();
    await tundraError("UNAVAILABLE", () => verify(store));
    const { done, damaged } = await verify(store);
    assertEquals([done, damaged.map(({ key }) => key)], [true, ["k:9"]]);
    const ticking = () => store.tick({ verifyKeys: 13, maxSubrequests: 50 });
    await ticking();
    move();
    const codes: string[] = [];
    for (let i = 0; i < 4; i++) codes.push(...(await ticking()).errors.map(({ key, code }) => `${key} ${code}`));
    assertEquals(codes.filter((each) => each === " UNAVAILABLE").length, 1);
  });

  it("draws a share by its seed: the same objects each time, others for another seed", async () => {
    const store = stack.store({ packBytes: 0 });
    await archived(store, names(60));
    for (const name of stack.objectNames()) flip(name, 60);
    const drawn = async (seed?: number) => {
      const report = await verify(store, { share: 0.3, ...(seed !== undefined && { seed }) });
      assertEquals([report.done, report.checked], [true, report.damaged.length]);
      assertEquals(report.records, report.checked);
      return { seed: report.seed, keys: report.damaged.map(({ key }) => key) };
    };
    const one = await drawn(1);
    assert(one.keys.length > 7 && one.keys.length < 30, String(one.keys.length));
    assertEquals(await drawn(1), one);
    assert((await drawn(2)).keys.join() !== one.keys.join());
    const [random, other] = [await drawn(), await drawn()];
    assert(random.seed !== other.seed);
  });

  it("keeps a position for each share, seed and repair: calls that take turns do not disturb each other", async () => {
    const store = stack.store({ packBytes: 0 });
    await archived(store, names(60));
    for (const name of stack.objectNames()) flip(name, 60);
    const lots: VerifyOptions[] = [{}, { share: 0.5, seed: 1 }, { share: 0.5, seed: 2 }, { share: 0.5 }, {
      share: 0.7,
    }];
    const found = lots.map(() => [] as string[]);
    const seeds = lots.map(() => new Set<number>());
    const left = new Set(lots.keys());
    for (let round = 0; left.size > 0; round++) {
      assert(round < 100, "it does not end");
      for (const at of left) {
        const { damaged, done, seed } = await verify(store, { ...lots[at], maxKeys: 7 });
        found[at]!.push(...damaged.map(({ object }) => object));
        seeds[at]!.add(seed);
        if (done) left.delete(at);
      }
    }
    for (const [at, options] of lots.entries()) {
      assertEquals(seeds[at]!.size, 1);
      const [seed] = seeds[at]!;
      assertEquals(found[at], (await whole(store, { ...options, seed })).damaged.map(({ object }) => object));
    }
    assertEquals((await verify(store, { maxKeys: 30 })).done, false);
    assertEquals((await whole(store, { repair: true })).repaired, 60); // also what the call before has passed
  });

  it("changes nothing without repair but its own place, whatever it finds and wherever it ends", async () => {
    const store = stack.store();
    await archived(stack.store({ packBytes: 0 }), [...names(5, "own"), LONG]);
    for (const group of ["a", "b"]) await archived(store, names(20, group));
    flip(packs()[0]!, 60); // a block
    objects().get(packs()[1]!)!.fill(0);
    for (const key of ["own:1", "own:2"]) flip(await ownName(key), 60);
    flip(stack.objectNames().find((name) => name.includes("long"))!, 60);
    objects().delete(await ownName("own:3"));
    const isPlace = (name: string) => name.startsWith("tundra:default:cursor:verify");
    const others = async () => {
      const { redis, objects } = await allThatIsThere(stack) as { redis: Record<string, unknown>; objects: unknown };
      return { redis: Object.entries(redis).filter(([name]) => !isPlace(name)), objects };
    };
    const before = await others();
    for (let done = false, calls = 0; !done; calls++) {
      assert(calls < 50);
      const report = await verify(store, { maxKeys: 5 });
      assertEquals([report.repaired, await others()], [0, before]);
      done = report.done;
    }
    const { damaged, missing } = await changesNothing(stack, () => verify(store)); // in one call not even that
    assert(damaged.length > 25 && missing.length === 1, `${damaged.length}, ${missing.length}`);
  });

  it("ends a call that has found 1,000, and the next one tells the rest", async () => {
    const store = stack.store();
    const keys = names(2_500);
    for (let i = 0; i < keys.length; i += 500) {
      await stack.raw("MSET", ...keys.slice(i, i + 500).flatMap((key) => [key, "v"]));
    }
    await store.dirty(keys);
    assertEquals((await store.tick()).frozen, 2_500);
    for (const name of packs()) objects().delete(name);
    const seen = new Set<string>();
    let report: VerifyReport;
    do {
      report = await verify(store);
      assert(report.missing.length <= 2_000);
      for (const { key } of report.missing) seen.add(key);
    } while (!report.done);
    assertEquals(seen.size, 2_500);
  });

  it("goes on behind objects that the archive does not answer, and throws if it answers nothing", async () => {
    const store = stack.store({ packBytes: 0 });
    await archived(store, names(40));
    const [poison] = [await ownName("k:7")];
    const failing = (fails: (name: string) => boolean) => {
      const datastore = stack.datastore();
      const answer = (name: string) => new TundraError("UNAVAILABLE", `no answer for ${name}`);
      return stack.store({
        datastore: {
          ...datastore,
          fetchKeys: async (wanted: string[], options) =>
            (await datastore.fetchKeys(wanted, options)).map((found, i) =>
              fails(wanted[i]!) ? answer(wanted[i]!) : found
            ),
          hasKeys: (wanted: string[]) =>
            Promise.resolve(wanted.map((name) => fails(name) ? answer(name) : objects().has(name))),
        },
      });
    };
    const report = await verify(failing((name) => name === poison));
    assertEquals([report.done, report.checked, report.failed, report.damaged, report.missing], [true, 39, 2, [], []]);
    assertEquals(report.errors.map(({ key, code }) => `${key} ${code}`), ["k:7 UNAVAILABLE", "k:7 UNAVAILABLE"]);
    await tundraError("UNAVAILABLE", () => verify(failing((name) => !isOwner(name))));
    const border = await ownName("k:2");
    const half = await verify(failing((name) => !isOwner(name) && name > border));
    assertEquals([half.done, half.damaged, half.missing], [false, [], []]);
    assertEquals(half.errors.at(-1)!.key, "");
    const rest = await verify(store);
    assertEquals([rest.done, half.checked + rest.checked >= 40], [true, true]);
  });

  it("is no damage if a freezer throws, and UNSUPPORTED if it is missing", async () => {
    const identity = { id: "mine", freeze: (bytes: Uint8Array) => bytes, thaw: (bytes: Uint8Array) => bytes };
    await archived(stack.store({ freezer: identity }), ["a", "b", "c"]);
    const missing = await verify(stack.store({ freezer: null }));
    assertEquals(missing.damaged.map(({ key, code }) => `${key} ${code}`).sort(), [
      " UNSUPPORTED", // the directory
      "a UNSUPPORTED",
      "b UNSUPPORTED",
      "c UNSUPPORTED",
    ]);
    const throws = { ...identity, thaw: () => Promise.reject(new Error("no key today")) };
    await archived(stack.store({ freezer: identity, packBytes: 0 }), ["d"]);
    const report = await verify(stack.store({ freezer: throws })).catch((error) => error);
    assert(report instanceof TundraError || report.damaged.length === 0, String(report));
    await stack.flush();
    await archived(stack.store({ freezer: identity, packBytes: 0 }), [LONG]);
    const { damaged, errors } = await verify(stack.store({ freezer: throws }), { repair: true });
    assertEquals([damaged, errors.length], [[], 1]); // nor of a key whose name is shortened
  });

  it("leaves out what goes while it works: objects, packs", async () => {
    const store = stack.store();
    await archived(stack.store({ packBytes: 0 }), ["a", "b"]);
    await archived(store, ["a", "b", "c"], "changed");
    await archived(store, ["a", "b", "c"], "again");
    const datastore = stack.datastore();
    const current = new Set([...packs()].slice(-1));
    const swept = {
      ...datastore,
      fetchKeys: async (wanted: string[], options: object | undefined) =>
        wanted.every(isOwner) ? await datastore.fetchKeys(wanted, options) : wanted.map(notFound),
      fetchRanges: async (reads: { name: string; offset: number; length: number }[]) =>
        await datastore.fetchRanges(
          reads.map((read) => current.has(read.name) ? read : { ...read, name: "default/none" }),
        ),
    };
    const report = await verify(stack.store({ datastore: swept }));
    assertEquals([report.done, report.checked, report.damaged, report.missing, report.errors], [true, 3, [], [], []]);
  });

  it("costs a listing, a GET an object, three reads a pack, and commands by the page", async () => {
    const store = stack.store();
    await archived(stack.store({ packBytes: 0 }), names(12, "own"));
    await archived(store, names(50));
    await verify(store);
    const [lists, gets] = [stack.s3Count("ListObjectsV2"), stack.s3Count("GetObject")];
    let report: VerifyReport | undefined;
    const cost = await costOf(stack, async () => report = await verify(store));
    // id, cursor; records of two groups and of a pack; a scan, its records; the cursor, with what it did
    assertEquals([cost, report!.commands], [{ redis: 8, billable: 14 }, 14]);
    // the owner, 12 objects, head, directory and blocks of the pack; 12 questions and one
    assertEquals([stack.s3Count("ListObjectsV2") - lists, stack.s3Count("GetObject") - gets], [1, 1 + 12 + 3 + 13]);
    assertEquals(report!.subrequests, 8 + 1 + 29);
  });

  it("is done by ticks, a little each time: they go on one after the other, tell what is wrong, and repair it", async () => {
    const store = stack.store();
    const random = seededRandom("verified by ticks");
    const noise = Array.from({ length: 700 }, () => random.int(36).toString(36)).join(""); // Redis shrinks other text
    await archived(store, names(200), noise);
    await archived(stack.store({ packBytes: 0 }), ["a", "b"]);
    flip(await ownName("a"), 60);
    objects().delete(await ownName("b"));
    await store.evict("b");
    let [verified, damaged, ticks] = [0, 0, 0];
    const told = new Map<string, string>();
    while (verified < 201 + 202) {
      const report = await store.tick({ verifyKeys: 60, maxSubrequests: 50 });
      assertEquals(report.verified! > 0 && report.verified! <= 120, true, String(report.verified));
      assertEquals(report.subrequests <= 50, true);
      verified += report.verified!;
      damaged += report.damaged!;
      for (const { key, code } of report.errors) told.set(key, code);
      assert(ticks++ < 20, String(verified));
    }
    assertEquals([damaged, Object.fromEntries(told)], [2, { a: "CORRUPT", b: "LOST" }]);
    assertEquals((await verify(store)).damaged.map(({ current }) => current), [false]); // archived anew
    assertEquals((await store.tick()).verified, undefined);
    assertEquals((await store.tick({ verifyKeys: 60, maxSubrequests: 12 })).verified, undefined); // not begun
  });

  it("aborted in the middle of each call goes on in the next, and finds what one call finds", async () => {
    const store = stack.store({ packBytes: 0 });
    await archived(store, names(60));
    for (const key of ["k:3", "k:31", "k:59"]) flip(await ownName(key), 60);
    objects().delete(await ownName("k:44"));
    const found: string[] = [];
    let calls = 0;
    for (let done = false; !done; calls++) {
      assert(calls < 100, "it does not end");
      const controller = new AbortController();
      const report = await verify(store, { signal: controller.signal, onProgress: () => controller.abort() });
      assertEquals(report.errors, []);
      found.push(...[...report.damaged, ...report.missing].map(({ key }) => key));
      done = report.done;
    }
    assert(calls > 3, `${calls} calls`);
    assertEquals(found.sort(), ["k:3", "k:31", "k:44", "k:59"]);
  });

  it("is done at once with a new store, and twice at once finds the same", async () => {
    const { done, checked } = await changesNothing(stack, () => verify(stack.store()));
    assertEquals([done, checked], [true, 0]);
    const store = stack.store();
    await archived(store, names(20));
    flip(packs()[0]!, 100);
    const keysOf = ({ damaged }: { damaged: DamagedVersion[] }) => damaged.map(({ key }) => key).sort();
    const [one, other] = await Promise.all([whole(store), whole(stack.store())]);
    assertEquals([one.calls, keysOf(one), keysOf(other)], [1, names(20).sort(), names(20).sort()]);
    // in several calls they share a position: what one has found and passed, the other need not find too
    const parts = await Promise.all([whole(store, { maxKeys: 30 }), whole(stack.store(), { maxKeys: 30 })]);
    assertEquals([...new Set(parts.flatMap(keysOf))].sort(), names(20).sort());
  });

  it("refuses wrong options, a datastore that cannot list, a lost index, another archive", async () => {
    const store = stack.store();
    await archived(store, names(3));
    const wrong = [
      ...[{ share: 0 }, { share: 1.5 }, { share: "1" }, { seed: -1 }, { seed: 2 ** 32 }, { repair: 1 }],
      ...[{ maxKeys: 0 }, { dryRun: 1 }, { all: true }, { maxSubrequests: 3 }],
    ];
    for (const options of wrong) {
      await changesNothing(stack, () => tundraError("BAD_ARGUMENT", () => verify(store, options as object)));
    }
    const { listKeys: _, ...datastore } = stack.datastore();
    await changesNothing(stack, () => tundraError("UNSUPPORTED", () => verify(stack.store({ datastore }))));
    await refusedIfNotItsOwn(stack, (store) => verify(store, { repair: true }));
    const owner = [...objects().keys()].find((name) => /~owner\/.*-/.test(name))!;
    objects().delete(owner);
    await changesNothing(stack, () => tundraError("LOST", () => verify(store, { repair: true })));
  });
});
