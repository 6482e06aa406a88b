/** restoreVersion: which value comes back, what is never replaced by it, and what it costs. */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { TundraError, type TundraStore } from "../../mod.ts";
import { placeOf } from "../../src/archive/place.ts";
import { versionMicros } from "../../src/base/keys.ts";
import {
  erase,
  peek,
  rebuild,
  restoreVersion,
  type RestoreVersionReport,
  verify,
  versions,
} from "../../src/operations/mod.ts";
import { BUCKET, names, tundraError, withArchive } from "../support/fixtures.ts";
import { changesNothing, costOf, refusedIfNotItsOwn } from "../support/operations.ts";
import { sleep } from "../support/waiting.ts";
import { movePack, movingBefore, type NotedArchive, notedArchive } from "../support/packs.ts";

describe("restoreVersion", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  /** Archives values of "k", one after another; with packs, beside another key. Returns the names of the versions. */
  async function archive(store: TundraStore, values: string[], packed = false): Promise<string[]> {
    const vers: string[] = [];
    for (const value of values) {
      await stack.raw("SET", "k", value);
      if (packed) await stack.raw("SET", "beside", value);
      await store.dirty(packed ? ["k", "beside"] : ["k"]);
      assertEquals((await store.tick()).errors, []);
      vers.push(placeOf((await stack.record("k"))!.ver).ver);
    }
    return vers;
  }

  /** The values of all versions, the newest first, as ensureKs would bring them back. */
  async function history(store: TundraStore, key: string): Promise<unknown[]> {
    const found: unknown[] = [];
    for (const { version, gone } of await versions(store, key)) {
      if (gone) found.push(gone);
      else {
        await restoreVersion(store, key, version, { to: `seen ${version}` });
        found.push(await stack.get(`seen ${version}`));
      }
    }
    return found;
  }

  const timeOf = (version: string) => new Date(Math.floor(versionMicros(version) / 1000));
  const told = ({ key, version, atMs, bytes, expMs }: RestoreVersionReport) => ({ key, version, atMs, bytes, expMs });

  for (const packed of [false, true]) {
    describe(packed ? "of versions in packs" : "of versions in objects of their own", () => {
      it("makes a version the key's value again, as a new change: the present one stays in the history", async () => {
        const store = stack.store();
        const [first, , third] = await archive(store, ["1", "2", "3"], packed);
        const report = await restoreVersion(store, "k", first!);
        assertEquals(told(report), {
          key: "k",
          version: first!,
          atMs: timeOf(first!).getTime(),
          bytes: (await stack.raw("DUMP", "k") as Uint8Array).length,
          expMs: 0,
        });
        assertEquals([await stack.get("k"), (await store.status()).due], ["1", 1]);
        assertEquals((await store.tick()).frozen, 1);
        const now = placeOf((await stack.record("k"))!.ver).ver;
        assert(versionMicros(now) > versionMicros(third!));
        assertEquals(await history(store, "k"), ["1", "3", "2", "1"]);
        await store.evict("k");
        await store.ensureKs("k");
        assertEquals(await stack.get("k"), "1");
      });

      it("takes the version of a time: the newest of those that there were", async () => {
        const store = stack.store();
        const vers = await archive(store, ["1", "2", "3"], packed);
        for (const [i, ver] of vers.entries()) {
          await restoreVersion(store, "k", timeOf(ver), { to: `k ${i}` });
          assertEquals(await stack.get(`k ${i}`), String(i + 1));
        }
        const before = new Date(timeOf(vers[0]!).getTime() - 1);
        await changesNothing(stack, () => tundraError("NOT_FOUND", () => restoreVersion(store, "k", before)));
        await restoreVersion(store, "k", new Date(Date.now() + 1e9), { to: "newest" });
        assertEquals(await stack.get("newest"), "3");
      });

      it("brings a removed key back, and says of a time at which it was removed that it was", async () => {
        const store = stack.store();
        const [first] = await archive(store, ["1"], packed);
        await stack.raw("DEL", "k");
        await store.dirty({ missing: "del" }, "k");
        await changesNothing(
          stack,
          async () =>
            assertMatch((await tundraError("CONFLICT", () => restoreVersion(store, "k", first!))).message, /tick/),
        );
        const deleteKeys = () => Promise.reject(new TundraError("UNAVAILABLE", "not now"));
        await stack.store({ datastore: { ...stack.datastore(), deleteKeys } }).tick();
        await stack.raw("ZADD", "tundra:default:purge", "XX", 5, "k"); // the next tick deletes what was removed
        const tombstone = placeOf((await stack.record("k"))!.ver).ver;
        for (const version of [tombstone, timeOf(tombstone)]) {
          const error = await changesNothing(
            stack,
            () => tundraError("MISSING", () => restoreVersion(store, "k", version)),
          );
          assertStringIncludes(error.message, `it was removed then (version ${tombstone})`);
        }
        await restoreVersion(store, "k", first!);
        assertEquals(await stack.get("k"), "1");
        const report = await store.tick();
        assertEquals([report.frozen, report.errors, await stack.get("k")], [1, [], "1"]);
        const now = placeOf((await stack.record("k"))!.ver).ver;
        const left = (await versions(store, "k")).filter(({ gone }) => gone === false).map(({ version }) => version);
        assertEquals(left, packed ? [now, first!] : [now]); // what is in a pack is a sweep's
        await store.evict("k");
        await store.ensureKs("k");
        assertEquals(await stack.get("k"), "1");
      });
    });
  }

  it("brings back what Redis has forgotten: [mark, commit, evict] of a version in a pack", async () => {
    const store = stack.store();
    await archive(store, ["1"], true);
    await store.evict("k");
    const before = String(await stack.raw("GET", "tundra:default:rec:k"));
    await store.ensureKs("k");
    const [second] = await archive(store, ["2"], true);
    await store.evict("k");
    await stack.raw("SET", "tundra:default:rec:k", before);
    await store.ensureKs("k");
    assertEquals(await stack.get("k"), "1");
    const [orphan] = await versions(store, "k");
    assertEquals([orphan!.version, orphan!.orphan], [second!, true]);
    await restoreVersion(store, "k", orphan!.version);
    assertEquals(await stack.get("k"), "2");
    assertEquals((await store.tick()).frozen, 1);
    assertEquals(await history(store, "k"), ["2", "2", "1"]);
  });

  it("finds a version that was moved, and one of a pack that no directory tells of", async () => {
    const store = stack.store();
    const vers = await archive(store, ["1", "2", "3"], true);
    const objects = stack.s3.objects(BUCKET);
    const to = `default/~packs/${String(versionMicros(vers[2]!) + 5).padStart(16, "0")}-0000000a`;
    await movePack({ objects } as unknown as NotedArchive, `default/~packs/${vers[0]}`, to);
    await restoreVersion(store, "k", vers[0]!);
    assertEquals(await stack.get("k"), "1");
    await store.tick();
    await restoreVersion(store, "k", timeOf(vers[1]!), { maxPacks: 0 }); // by the chain
    assertEquals(await stack.get("k"), "2");
  });

  it("finds a version whose pack is moved meanwhile, before whichever of its reads", async () => {
    for (const as of ["name", "time"]) {
      for (let read = 0; read < 8; read++) {
        await stack.flush();
        const noted = notedArchive();
        const vers = await archive(stack.store({ datastore: noted.datastore }), ["1", "2"], true);
        const to = `default/~packs/${String(versionMicros(vers[1]!) + 5).padStart(16, "0")}-0000000a`;
        const store = stack.store({ datastore: movingBefore(noted, read, `default/~packs/${vers[0]}`, to) });
        await restoreVersion(store, "k", as === "name" ? vers[0]! : timeOf(vers[0]!));
        assertEquals([as, read, await stack.get("k")], [as, read, "1"]);
      }
    }
  });

  it("takes no older version for that of a time if that one is deleted meanwhile", async () => {
    let goes = "none";
    const noted = notedArchive((inner) => ({
      fetchKeys(names, ...rest) {
        for (const name of names) if (name.endsWith(goes)) noted.objects.delete(name);
        return inner.fetchKeys(names, ...rest);
      },
    }));
    const store = stack.store({ datastore: noted.datastore });
    const [, second] = await archive(store, ["1", "2", "3"]);
    goes = second!;
    await changesNothing(stack, () => tundraError("NOT_FOUND", () => restoreVersion(store, "k", timeOf(second!))));
    assertEquals(noted.own().length, 2);
  });

  it("does not take a present version whose pack is moved meanwhile for lost", async () => {
    const noted = notedArchive();
    const plain = stack.store({ datastore: noted.datastore });
    const [first] = await archive(plain, ["1", "2"], true);
    const { hasKeys } = noted.datastore;
    let isErased = false;
    const store = stack.store({
      datastore: {
        ...noted.datastore,
        async hasKeys(...args) {
          if (!isErased) {
            isErased = true;
            await stack.raw("DEL", "beside");
            while (!(await erase(plain, ["beside"])).done);
          }
          return await hasKeys!(...args);
        },
      },
    });
    await restoreVersion(store, "k", first!);
    assertEquals([isErased, await stack.get("k")], [true, "1"]);
  });

  it("after Redis was emptied and rebuilt: every version is listed, checked, peeked at and restored as before", async () => {
    const store = stack.store();
    const vers = await archive(store, ["1", "2"], true);
    vers.push(...await archive(store, ["3"]));
    await stack.raw("FLUSHALL");
    await changesNothing(stack, () => tundraError("LOST", () => restoreVersion(store, "k", vers[0]!)));
    while (!(await rebuild(store)).done);
    assertEquals((await versions(store, "k")).map(({ version, orphan }) => [version, orphan]), [
      [vers[2], false],
      [vers[1], false],
      [vers[0], false],
    ]);
    const { done, damaged, missing } = await verify(store);
    assertEquals([done, damaged, missing], [true, [], []]);
    assertEquals(await peek(store, "k", (redis, name) => redis.get<number>(name)), 3);
    await restoreVersion(store, "k", vers[0]!);
    assertEquals([await stack.get("k"), (await store.tick()).errors], ["1", []]);
    assertEquals(await history(store, "k"), ["1", "3", "2", "1"]);
  });

  it("to another name leaves the present key alone, and is refused if that name is taken", async () => {
    const store = stack.store();
    const [first] = await archive(store, ["1", "2"]);
    await stack.raw("SET", "k", "not archived yet");
    await store.dirty("k");
    const report = await restoreVersion(store, "k", first!, { to: "copy" });
    assertEquals([report.key, await stack.get("copy"), await stack.get("k")], ["copy", "1", "not archived yet"]);
    assertEquals((await store.tick()).frozen, 2);
    await store.evict("copy");
    await stack.raw("SET", "other", "x");
    for (const to of ["copy", "other"]) {
      await changesNothing(stack, () => tundraError("CONFLICT", () => restoreVersion(store, "k", first!, { to })));
    }
    await store.ensureKs("copy");
    assertEquals(await stack.get("copy"), "1");
  });

  it("never replaces what is not archived: dirty, unmarked, written while evicted, or lost by the archive", async () => {
    const store = stack.store();
    const [first] = await archive(store, ["1", "2"]);
    const refused = async (message: RegExp) => {
      const error = await changesNothing(
        stack,
        () => tundraError("CONFLICT", () => restoreVersion(store, "k", first!)),
      );
      assertMatch(error.message, message);
      assertEquals(error.keys, ["k"]);
    };
    await stack.raw("SET", "k", "unmarked");
    await refused(/changed without a mark/);
    await store.dirty("k");
    await refused(/Run a tick first/);
    await store.tick();
    await store.evict("k");
    await stack.raw("SET", "k", "partial");
    await refused(/written while evicted/);
    await store.evict({ discard: true }, "k");
    await store.ensureKs("k");
    stack.s3.objects(BUCKET).delete(`default/k/${(await stack.record("k"))!.ver}`);
    await refused(/must be in the archive/);
  });

  it("replaces an evicted key without bringing it back: its archived version stays", async () => {
    const store = stack.store();
    const [first] = await archive(store, ["1", "2"], true);
    await store.evict("k");
    await restoreVersion(store, "k", first!);
    assertEquals([await stack.get("k"), (await store.status()).evicted], ["1", 0]);
    await store.tick();
    assertEquals(await history(store, "k"), ["1", "2", "1"]);
  });

  it("keeps the value's own expiry, and refuses what is past it unless told", async () => {
    const store = stack.store();
    const expMs = Math.floor(await stack.nowMs()) + 400;
    await stack.raw("SET", "k", "short-lived", "PXAT", expMs);
    await store.dirty("k");
    await store.tick();
    const { ver } = (await stack.record("k"))!;
    assertEquals((await restoreVersion(store, "k", ver, { to: "in time" })).expMs, expMs);
    assertEquals(await stack.raw("PEXPIRETIME", "in time"), expMs);
    await sleep(expMs + 50 - await stack.nowMs());
    const error = await tundraError("MISSING", () => restoreVersion(store, "k", ver));
    assertMatch(error.message, /expired: true/);
    assertEquals((await restoreVersion(store, "k", ver, { expired: true })).expMs, 0);
    assertEquals([await stack.get("k"), await stack.raw("PEXPIRETIME", "k")], ["short-lived", -1]);
    assertEquals((await store.tick()).errors.filter(({ key }) => key === "k"), []);
    assertEquals((await versions(store, "k"))[0]!.expMs, 0);
  });

  it("reports a version that is absent or damaged, and changes nothing", async () => {
    const store = stack.store();
    const [first] = await archive(store, ["1", "2"]);
    await changesNothing(
      stack,
      () => tundraError("NOT_FOUND", () => restoreVersion(store, "k", "1700000000000000-0000000a")),
    );
    stack.s3.objects(BUCKET).get(`default/k/${first}`)![60]! ^= 1;
    await changesNothing(stack, () => tundraError("CORRUPT", () => restoreVersion(store, "k", first!)));
    stack.s3.objects(BUCKET).delete(`default/k/${first}`);
    await changesNothing(stack, () => tundraError("NOT_FOUND", () => restoreVersion(store, "k", first!)));
  });

  it("is told which of two versions of one moment is meant", async () => {
    const store = stack.store();
    const [first] = await archive(store, ["1"]);
    const objects = stack.s3.objects(BUCKET);
    const twin = first!.replace(/.$/, (digit) => digit === "0" ? "1" : "0");
    objects.set(`default/k/${twin}`, objects.get(`default/k/${first}`)!);
    const error = await tundraError("CONFLICT", () => restoreVersion(store, "k", timeOf(first!)));
    assertStringIncludes(error.message, twin);
  });

  it("interrupted after any request has restored the value or changed nothing, and then restores it", async () => {
    for (let most = 0;; most++) {
      await stack.flush();
      const plain = stack.store();
      const [first] = await archive(plain, ["1", "2"], true);
      let left = most;
      const dying = stack.store({
        redis: {
          retry: false,
          fetch: async (url, init) => {
            if (left-- === 0) {
              await fetch(url, init); // takes effect, and the reply is lost
              throw new TypeError("the process died");
            }
            return await fetch(url, init);
          },
        },
      });
      const died = await restoreVersion(dying, "k", first!).then(() => false, () => true);
      const value = await stack.get("k");
      assert(value === "1" || value === "2", `${value}`);
      if (!died) break;
      if (value === "2") await restoreVersion(plain, "k", first!);
      else await tundraError("CONFLICT", () => restoreVersion(plain, "k", first!));
      assertEquals([await stack.get("k"), (await plain.tick()).frozen], ["1", 1]);
      assertEquals(await history(plain, "k"), ["1", "2", "1"]);
      assert(most < 10);
    }
  });

  it("whose reply is lost knows its own effect at the client's retry, unless a tick has written over it: then it says so", async () => {
    for (const meanwhile of [false, true]) {
      await stack.flush();
      const store = stack.store();
      const [first] = await archive(store, ["1", "2"]);
      await restoreVersion(store, "k", first!, { to: "other" }); // the script is known to the server
      let lost = false;
      const losing = stack.store({
        redis: {
          retry: { retries: 1, backoff: () => 1 },
          fetch: async (url, init) => {
            const response = await fetch(url, init);
            if (lost || !String(init!.body).includes("RESTORED ")) return response;
            lost = true;
            if (meanwhile) await stack.editRecord("k", { error: "UNAVAILABLE a tick could not archive it" });
            throw new TypeError("the reply is lost");
          },
        },
      });
      const restored = restoreVersion(losing, "k", first!);
      if (meanwhile) assertMatch((await tundraError("UNAVAILABLE", () => restored)).message, /may have been restored$/);
      else assertEquals((await restored).version, first);
      assertEquals([lost, await stack.get("k"), (await stack.record("k"))!.ver > first!], [true, "1", true]);
    }
  });

  it("called twice at once restores one of the two, and the other is refused", async () => {
    const store = stack.store();
    const [first, second] = await archive(store, ["1", "2", "3"]);
    const both = await Promise.allSettled([restoreVersion(store, "k", first!), restoreVersion(store, "k", second!)]);
    const done = both.flatMap((each) => each.status === "fulfilled" ? [each.value.version] : []);
    const codes = both.flatMap((each) => each.status === "rejected" ? [each.reason.code] : []);
    assertEquals([done.length, codes], [1, ["CONFLICT"]]);
    assertEquals(await stack.get("k"), done[0] === first ? "1" : "2");
    await store.tick();
    assertEquals((await history(store, "k")).length, 4);
  });

  it("as a dry run says what it would restore and why not, and changes nothing", async () => {
    const store = stack.store();
    const [first] = await archive(store, ["1", "2"], true);
    const dry = await changesNothing(stack, () => restoreVersion(store, "k", first!, { dryRun: true }));
    assertEquals(told(dry), told(await restoreVersion(store, "k", first!)));
    await changesNothing(
      stack,
      () => tundraError("CONFLICT", () => restoreVersion(store, "k", first!, { dryRun: true })),
    );
  });

  it("costs 2 requests to Redis, 4 if it knows no script, and of the archive the owner, one question and the version", async () => {
    const store = stack.store();
    const [first] = await archive(store, ["1", "2"]);
    await restoreVersion(store, "k", first!, { to: "copy" });
    const gets = stack.s3Count("GetObject");
    let report: RestoreVersionReport | undefined;
    const cost = await costOf(stack, async () => report = await restoreVersion(store, "k", first!));
    assertEquals(cost, { redis: 2, billable: 12 });
    assertEquals([stack.s3Count("GetObject") - gets, report!.subrequests, report!.commands], [3, 5, 12]);
    await store.tick();
    await stack.raw("SCRIPT", "FLUSH");
    assertEquals(await costOf(stack, () => restoreVersion(store, "k", first!)), { redis: 4, billable: 14 });
    assertEquals(
      (await tundraError("UNAVAILABLE", () =>
        restoreVersion(store, "k", new Date(), {
          maxSubrequests: 12,
          signal: AbortSignal.abort(),
        }))).retryable,
      true,
    );
  });

  it("refuses a value that no request can carry", async () => {
    const store = stack.store();
    const [first] = await archive(store, ["x".repeat(3_000).replace(/x/g, () => Math.random().toString(36)), "2"]);
    const small = stack.store({ redis: { maxRequestBytes: 40_000 } });
    const error = await changesNothing(stack, () => tundraError("TOO_LARGE", () => restoreVersion(small, "k", first!)));
    assertMatch(error.message, /one request/);
  });

  it("refuses wrong arguments, a lost index, another database's, another archive, records of another version", async () => {
    const store = stack.store();
    const [first] = await archive(store, ["1", "2"]);
    const wrong: unknown[][] = [
      ["k", "1700000000000000"],
      ["k", `${first}@:1:2`],
      ["k", new Date(NaN)],
      ["k", 5],
      ["k", first, { to: "k" }],
      ["k", first, { to: "tundra:default:id" }],
      ["k", first, { expired: 1 }],
      ["k", first, { dryRun: 1 }],
      ["k", first, { maxPacks: -1 }],
      ["k", first, { force: true }],
      [names(2), first],
      ["tundra:x", first],
    ];
    for (const args of wrong) {
      const call = restoreVersion as (...args: unknown[]) => Promise<unknown>;
      await changesNothing(stack, () => tundraError("BAD_ARGUMENT", () => call(store, ...args)));
    }
    await refusedIfNotItsOwn(stack, (store) => restoreVersion(store, "k", first!));
    const objects = stack.s3.objects(BUCKET);
    const owner = [...objects.keys()].find((name) => /~owner\/.*-/.test(name))!;
    const bytes = objects.get(owner)!;
    objects.delete(owner);
    await changesNothing(stack, () => tundraError("LOST", () => restoreVersion(store, "k", first!)));
    objects.set(owner, bytes);
    await stack.raw("SET", "tundra:default:rec:k", "3 whatever");
    await changesNothing(stack, () => tundraError("UNSUPPORTED", () => restoreVersion(store, "k", first!)));
    await stack.flush();
    await tundraError("NOT_FOUND", () => restoreVersion(stack.store(), "k", first!)); // a new store
  });
});
