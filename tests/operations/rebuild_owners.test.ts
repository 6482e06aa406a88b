/** rebuild: whose archive it is, and from another one. */
import process from "node:process";
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { type Datastore, memoryDatastore, TundraError, type TundraStore } from "../../mod.ts";
import { formerIds } from "../../src/core/former.ts";
import { contextOf } from "../../src/core/context.ts";
import { moveIndex, rebuild, type RebuildOptions } from "../../src/operations/mod.ts";
import { changesNothing } from "../support/operations.ts";
import { type NotedArchive, notedArchive } from "../support/packs.ts";
import { smallPages } from "../support/small_pages.ts";
import { type Stack, withStack } from "../support/stack.ts";
import { archiveOf, faulty, indexOf, type LostIndex, smallPacks, worthNow } from "./lost_index.ts";

async function refused(act: () => Promise<unknown>, code: string, message: RegExp): Promise<void> {
  const error = await assertRejects(act, TundraError);
  assertEquals(error.code, code, error.message);
  assertMatch(error.message, message);
}

/** What differs between runtimes is no rule of the protocol. */
const STEP = process.versions.deno ? 1 : 5;

const idOf = async (stack: Stack) => String(await stack.raw("GET", "tundra:default:id"));
const owners = (archive: { objects: Map<string, Uint8Array> }) =>
  [...archive.objects].filter(([name]) => /~owner\/(?!first)/.test(name)).map(([, id]) => new TextDecoder().decode(id));

describe("rebuild, into another database", () => {
  const former = withStack();
  const next = withStack();
  let archive: NotedArchive;
  let lost: LostIndex;
  let saved: Map<string, Uint8Array>;
  let old: TundraStore;
  let store: TundraStore;

  beforeEach(async () => {
    await former.flush();
    await next.flush();
    archive = notedArchive();
    lost = await archiveOf(former, archive, 60);
    saved = new Map(archive.objects);
    old = smallPacks(former, archive.datastore);
    store = smallPacks(next, archive.datastore);
  });

  it("is refused unless it is to take the archive over, and says what to do", async () => {
    const both = async () => {
      await refused(() => rebuild(store), "LOST", /takeOver: true.*\{ from \}/);
      await refused(() => rebuild(store, { dryRun: true }), "LOST", /its owner is/);
    };
    await changesNothing(next, both, archive.objects);
  });

  it("takes the archive over: from the first moment on the former database's ticks are refused", async () => {
    const id = await idOf(former);
    const plan = () => rebuild(store, { takeOver: true, dryRun: true });
    assertEquals((await changesNothing(next, plan, archive.objects)).keys, lost.worth.size);
    await rebuild(store, { takeOver: true, maxSubrequests: 40 });
    assertMatch(await idOf(next), /^new:rebuild:/);
    await former.raw("SET", "late", "1");
    await old.dirty("late");
    const before = new Map(archive.objects);
    await refused(() => old.tick(), "LOST", /its owner is/);
    await old.del("k:1").catch(() => {});
    await refused(() => old.tick(), "LOST", /its owner is/);
    assertEquals(archive.objects, before);

    while (!(await rebuild(store)).done);
    assertEquals(await worthNow(next, store, lost.worth.keys()), lost.worth);
    assertEquals(owners(archive), [await idOf(next)]);
    assertEquals(await formerIds(contextOf("look", store)), [id.split("@")[0]]);
    await next.raw("SET", "k:1", "changed");
    await store.dirty("k:1");
    assertEquals((await store.tick()).frozen, 1);
    await refused(() => rebuild(old), "LOST", /its owner is/);
  });

  it("begins once more if a proposal that Redis has forgotten has deleted its owner object", async () => {
    await rebuild(store, { takeOver: true, maxSubrequests: 40 });
    const id = (await idOf(next)).replace("new:rebuild:", "");
    const forgotten = id.replace(/^.{8}/, "00000000");
    archive.objects.delete(`default/~owner/${id.split("@")[0]}`);
    archive.objects.set(`default/~owner/${forgotten.split("@")[0]}`, new TextEncoder().encode(forgotten));
    while (!(await rebuild(store)).done);
    assertEquals(await worthNow(next, store, lost.worth.keys()), lost.worth);
    assertEquals([owners(archive), await idOf(next)], [[id], id]);
  });

  it("takes it over although the call was interrupted at any of its requests, and two never own it", async () => {
    let met = true;
    let index: Record<string, string> | undefined;
    for (let at = 0; met; at += STEP) {
      await next.flush();
      archive.objects.clear();
      for (const [name, bytes] of saved) archive.objects.set(name, bytes);
      const network = faulty({ at, kind: at % 2 === 0 ? "lost answer" : "lost request" });
      const failing = smallPacks(next, network.around(archive.datastore), { redis: { fetch: network.fetch } });
      met = await rebuild(failing, { takeOver: true }).then(() => false, () => true);
      if (owners(archive).length === 0) assert(false, `no owner at ${at}`);
      assert((await rebuild(store, { takeOver: true })).done);
      assertEquals(owners(archive), [await idOf(next)], String(at));
      assertEquals((await formerIds(contextOf("look", store))).length, 1);
      index ??= await indexOf(next);
      assertEquals(await indexOf(next), index, String(at));
      await former.raw("SET", "late", String(at));
      await old.dirty("late");
      await refused(() => old.tick(), "LOST", /its owner is/);
    }
  });

  it("by both databases at once: one owns the archive in the end, and the other is refused", async () => {
    await former.raw("FLUSHDB");
    const stores = [old, store];
    const done = await Promise.all(
      stores.map((each) => rebuild(each, { takeOver: true }).then(({ done }) => done, () => false)),
    );
    for (let round = 0; !done.includes(true); round++) {
      assert(round < 10, "neither");
      for (const [i, each] of stores.entries()) {
        if (!done.includes(true)) {
          done[i] = await rebuild(each, { takeOver: true }).then(({ done }) => done, () => false);
        }
      }
    }
    const present = owners(archive);
    const ids = await Promise.all([former, next].map(idOf));
    const able = ids.filter((id) => present.includes(id));
    assertEquals(able.length, 1, `${present} ${ids}`);
  });

  it("goes on with an index that was moved, whose earlier id's versions stay its own", async () => {
    await next.flush();
    for (const name of await former.raw("KEYS", "*") as Uint8Array[]) {
      await next.raw(
        "RESTORE",
        name,
        Math.max(0, Number(await former.raw("PTTL", name))),
        await former.raw("DUMP", name) as Uint8Array,
      );
    }
    const id = await idOf(former);
    await moveIndex(store);
    assertEquals(await formerIds(contextOf("look", store)), [id.split("@")[0]]);
    await next.raw("FLUSHDB");
    const moved = owners(archive)[0]!.split("@")[0]!;
    assert((await rebuild(store)).done);
    assertEquals((await formerIds(contextOf("look", store))).sort(), [id.split("@")[0]!, moved].sort());
    assertEquals(await worthNow(next, store, lost.worth.keys()), lost.worth);
  });
});

describe("rebuild, from another archive", () => {
  const production = withStack();
  const staging = withStack();
  let source: NotedArchive;
  let lost: LostIndex;
  let saved: Map<string, Uint8Array>;

  beforeEach(async () => {
    await staging.flush();
    if (saved) return;
    await production.flush();
    source = notedArchive();
    lost = await archiveOf(production, source, 60);
    saved = new Map(source.objects);
  });

  it("copies it and rebuilds from the copy, and never writes to the other one", async () => {
    const own = memoryDatastore();
    const store = smallPacks(staging, own);
    const { fetchKeys, fetchRanges, listKeys } = source.datastore;
    const from = { fetchKeys, fetchRanges, listKeys } as unknown as Datastore;
    const plan = await changesNothing(staging, () => rebuild(store, { from, dryRun: true }), own.objects);
    assertEquals([plan.keys, source.objects], [lost.worth.size, saved]);
    const report = await rebuild(store, { from });
    assertEquals([report.done, report.keys], [true, lost.worth.size]);
    assertEquals(report.copied, source.names().length);
    assertEquals(source.objects, saved);
    assertEquals(await worthNow(staging, store, lost.worth.keys()), lost.worth);
    const ids = await formerIds(contextOf("look", store));
    assertEquals(ids, [(await idOf(production)).split("@")[0]]);
    assertEquals(owners(own), [await idOf(staging)]);
    assertEquals([...own.objects.keys()].filter((name) => name.includes("~copying")), []);
    await staging.raw("SET", "k:1", "changed");
    await store.dirty("k:1");
    assertEquals((await store.tick()).frozen, 1);
    await refused(() => rebuild(smallPacks(production, own), { from }), "LOST", /.*/);
    await smallPacks(production, source.datastore).tick();
  });

  it("copies at most maxKeys objects in a call, and comes to the same end", async () => {
    const own = memoryDatastore();
    const store = smallPacks(staging, own);
    let copied = 0;
    for (let calls = 1, done = false; !done; calls++) {
      assert(calls < 1_000);
      const report = await rebuild(store, { from: source.datastore, maxKeys: 3 });
      assert(report.copied - copied <= 3, String(report.copied - copied));
      ({ done, copied } = report);
    }
    assertEquals(copied, source.names().length);
    assertEquals(await worthNow(staging, store, lost.worth.keys()), lost.worth);
  });

  it("goes through it once more, and copies what is left, after it did not know its cursor", async () => {
    const own = memoryDatastore();
    const store = smallPacks(staging, own);
    const { datastore: from, move } = smallPages(source.datastore, 4);
    assertEquals((await rebuild(store, { from, maxKeys: 10 })).copied, 10);
    move();
    await refused(() => rebuild(store, { from }), "UNAVAILABLE", /400 InvalidArgument/);
    const { done, copied } = await rebuild(store, { from });
    assertEquals([done, copied], [true, source.names().length]);
    assertEquals(await worthNow(staging, store, lost.worth.keys()), lost.worth);
  });

  it("comes to the same end if it is interrupted at any request, also if Redis is emptied then", async () => {
    let index: Record<string, string> | undefined;
    let met = true;
    for (let at = 0; met; at += STEP) {
      await staging.flush();
      const own = memoryDatastore();
      const network = faulty({ at, kind: at % 2 === 0 ? "lost answer" : "lost request" });
      const failing = smallPacks(staging, network.around(own), { redis: { fetch: network.fetch } });
      met = await rebuild(failing, { from: source.datastore }).then(() => false, () => true);
      if (met && at % 3 === 0) await staging.raw("FLUSHDB");
      const store = smallPacks(staging, own);
      const isCopy = [...own.objects.keys()].some((name) => name.includes("~copying"));
      const stage = /"stage":"(\w+)"/.exec(String(await staging.raw("GET", "tundra:default:cursor:rebuild")))?.[1];
      if (isCopy && (stage ?? "copy") === "copy") await refused(() => rebuild(store), "LOST", /\{ from \}/);
      if (isCopy || (await idOf(staging)).startsWith("new:") || own.objects.size === 0 || owners(own).length === 0) {
        assert((await rebuild(store, { from: source.datastore })).done, String(at));
      } else assert((await rebuild(store)).done);
      index ??= await indexOf(staging);
      assertEquals(await indexOf(staging), index, String(at));
      assertEquals([...own.objects.keys()].filter((name) => name.includes("~copying")), []);
    }
  });

  it("passes over an object that the other archive knows to be damaged, and reports it, only if it may", async () => {
    const own = memoryDatastore();
    const store = smallPacks(staging, own);
    const [name] = source.own() as [string];
    const { fetchKeys } = source.datastore;
    const from = {
      ...source.datastore,
      fetchKeys: async (names: string[]) =>
        (await fetchKeys(names)).map((each, i) =>
          names[i] === name ? new TundraError("CORRUPT", `Cannot fetch ${name} as it is damaged`) : each
        ),
    };
    await refused(() => rebuild(store, { from }), "CORRUPT", /skipDamaged/);
    const { done, errors } = await rebuild(store, { from, skipDamaged: true });
    assertEquals([done, errors.map(({ code }) => code)], [true, ["CORRUPT"]]);
    assertEquals(source.names().filter((each) => !own.objects.has(each)), [name]);
  });

  it("is refused if the store's own archive is used", async () => {
    const own = memoryDatastore();
    const store = smallPacks(staging, own);
    await staging.raw("SET", "a", "1");
    await store.dirty("a");
    await store.tick();
    await staging.raw("FLUSHDB");
    const before = new Map(own.objects);
    await refused(() => rebuild(store, { from: source.datastore }), "LOST", /must be unused/);
    assertEquals([own.objects, await staging.raw("KEYS", "*")], [before, []]);
  });
});

describe("rebuild, wrong arguments", () => {
  const stack = withStack();

  it("are refused before anything is sent", async () => {
    await stack.flush();
    const store = smallPacks(stack, memoryDatastore());
    const from = memoryDatastore();
    const wrong: [unknown, unknown][] = [
      [{}, {}],
      [store, { force: true }],
      [store, { takeOver: 1 }],
      [store, { dryRun: "yes" }],
      [store, { skipDamaged: null }],
      [store, { maxSubrequests: 20 }],
      [store, { maxKeys: 0 }],
      [store, { deadlineMs: 0 }],
      [store, { from: {} }],
      [store, { from, takeOver: true }],
    ];
    for (const [each, options] of wrong) {
      await refused(
        () => rebuild(each as TundraStore, options as RebuildOptions),
        "BAD_ARGUMENT",
        /^Cannot rebuild an/,
      );
    }
    assertEquals(stack.server.requests, 0);
    const { putKey, fetchKeys } = memoryDatastore();
    await refused(() => rebuild(smallPacks(stack, { putKey, fetchKeys })), "UNSUPPORTED", /list/);
  });
});
