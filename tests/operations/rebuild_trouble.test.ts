/** rebuild: what the archive holds that is damaged, foreign, of another release, or has no order. */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { TundraError, type TundraStore } from "../../mod.ts";
import { objectName, objectPrefix } from "../../src/base/keys.ts";
import { deflateFreezer } from "../../src/freezers/deflate.ts";
import { rebuild } from "../../src/operations/mod.ts";
import { type NotedArchive, notedArchive } from "../support/packs.ts";
import { freezeRecord } from "../support/records.ts";
import { withStack } from "../support/stack.ts";
import { smallPacks } from "./lost_index.ts";

const LONG = "a long name ".repeat(30);
const DAY_MS = 24 * 60 * 60 * 1000;

describe("rebuild of an archive", () => {
  const stack = withStack();
  let archive: NotedArchive;
  let store: TundraStore;

  beforeEach(async () => {
    await stack.flush();
    archive = notedArchive();
    store = smallPacks(stack, archive.datastore);
    for (const [round, keys] of [["1", ["a", "b"]], ["2", ["b", "c"]], ["3", [LONG]]] as const) {
      for (const key of keys) await stack.raw("SET", key, `${key.slice(0, 9)} ${round}`);
      await store.dirty(keys);
      assert((await store.tick()).done);
    }
    assertEquals([archive.packs().length, archive.own().length], [2, 1]);
    await stack.flush();
  });

  /** Puts a version of a key in an object of its own. */
  async function put(key: string, ver: string, value: string, exp = 0): Promise<void> {
    await stack.raw("SET", "scratch", value);
    const dump = new Uint8Array(await stack.raw("DUMP", "scratch") as Uint8Array);
    await stack.raw("DEL", "scratch");
    const record = { key, ver, at: 5, exp, dump };
    archive.objects.set(
      await objectName({ tqname: "default" }, key, ver),
      await freezeRecord(record, [deflateFreezer()]),
    );
  }

  const value = async (key: string) => {
    await store.ensureKs(key);
    const reply = await stack.raw("GET", key);
    return reply === null ? undefined : String(reply);
  };
  const cause = async (key: string) => {
    const error = await assertRejects(() => store.ensureKs(key), TundraError);
    return error.causes[key] as TundraError;
  };

  it("says of two newest versions of one time that they are lost: neither comes back, until the key is written anew", async () => {
    const [one, other] = ["1900000000000000-aaaaaaaa", "1900000000000000-bbbbbbbb"];
    await put("a", one, "one");
    await put("a", other, "other");
    const plan = await rebuild(store, { dryRun: true });
    const report = await rebuild(store);
    assertEquals([plan.lost, report.lost, report.failed, report.keys], [1, 1, 1, 4]);
    assertEquals([report.errors[0]!.key, report.errors[0]!.code], ["a", "LOST"]);
    const { code, message } = await cause("a");
    assertEquals(code, "LOST");
    assertMatch(message, /its newest are .*aaaaaaaa and .*bbbbbbbb|its newest are .*bbbbbbbb and .*aaaaaaaa/);
    assertEquals(await value("b"), "b 2");
    await stack.raw("SET", "a", "written anew");
    await store.dirty({ overwrite: true }, "a");
    assertEquals((await store.tick()).frozen, 1);
    assertEquals((await store.evict("a")).evicted, ["a"]);
    assertEquals(await value("a"), "written anew"); // its version is later than both
  });

  it("fails for a pack whose directory is damaged, and names it, unless it is to pass over it", async () => {
    const [, name] = archive.packs() as [string, string];
    const whole = archive.objects.get(name)!;
    const damaged = whole.slice();
    damaged[damaged.length - 1]! ^= 1;
    archive.objects.set(name, damaged);
    const error = await assertRejects(() => rebuild(store), TundraError);
    assertEquals(error.code, "CORRUPT");
    assertMatch(error.message, /skipDamaged/);
    assert(error.message.includes(name.split("/").at(-1)!), error.message);
    await assertRejects(() => store.ensureKs("a"), TundraError, "rebuild is under way");

    archive.objects.set(name, whole); // put right: it goes on
    assertEquals((await rebuild(store)).evicted, 4);
    assertEquals(await value("b"), "b 2");

    await stack.flush();
    archive.objects.set(name, damaged);
    const report = await rebuild(store, { skipDamaged: true });
    assertEquals([report.done, report.failed, report.errors[0]!.code, report.evicted], [true, 1, "CORRUPT", 3]);
    assertEquals([await value("a"), await value("b"), await value("c")], ["a 1", "b 1", undefined]);

    await stack.flush();
    const failed: number[] = [];
    for (let done = false; !done;) {
      const one = await rebuild(store, { skipDamaged: true, maxKeys: 2 });
      failed.push(one.failed);
      ({ done } = one);
    }
    assertEquals(failed.toSorted(), [...failed.map(() => 0).slice(1), 1]); // once, by the call that passes it
    assert(failed.length > 1);
  });

  it("learns a shortened name from an older version if the newest is damaged, and fails if all are", async () => {
    const prefix = await objectPrefix({ tqname: "default" }, LONG);
    const [name] = archive.own() as [string];
    const whole = archive.objects.get(name)!;
    await put(LONG, "1700000000000000-aaaaaaaa", "older");
    archive.objects.set(name, new Uint8Array([1, 2, 3]));
    assertEquals((await rebuild(store)).evicted, 4);
    assertEquals((await cause(LONG)).code, "CORRUPT"); // the newest is the newest
    archive.objects.set(name, whole);
    assertEquals(await value(LONG), "a long na 3");

    await stack.flush();
    archive.objects.set(name, new Uint8Array([1, 2, 3]));
    archive.objects.delete(`${prefix}1700000000000000-aaaaaaaa`);
    const error = await assertRejects(() => rebuild(store), TundraError);
    assertEquals(error.code, "CORRUPT");
    const { failed, keys } = await rebuild(store, { skipDamaged: true });
    assertEquals([failed, keys], [1, 3]);
  });

  it("leaves alone what no Tundra has put there, and reads records of version 1", async () => {
    for (const name of ["default/readme.txt", "default/notes/today", "other/a/1900000000000000-aaaaaaaa", "default"]) {
      archive.objects.set(name, new Uint8Array(3));
    }
    await put("old", "1700000000000000-aaaaaaaa", "of version 1");
    const { evicted, objects, failed } = await rebuild(store);
    assertEquals([evicted, objects, failed], [5, 2, 0]);
    assertEquals(await value("old"), "of version 1");
  });

  it("learns the expiry of a value in an object of its own when it comes back, and purges it then", async () => {
    const exp = Date.now() + DAY_MS;
    await put("e", "1790000000000000-aaaaaaaa", "expires", exp);
    await put("over", "1790000000000000-aaaaaaaa", "has expired", Date.now() - 1);
    await rebuild(store);
    assertEquals([await value("e"), await value("over")], ["expires", undefined]);
    assertEquals(Number(await stack.raw("PEXPIRETIME", "e")), exp);
    const due = await stack.raw("ZRANGE", "tundra:default:purge", 0, -1) as Uint8Array[];
    assertEquals(due.map(String).sort(), ["e", "over"]);
  });

  it("skips a pack that a listing shows though it is gone", async () => {
    const { datastore } = archive;
    const lagging = smallPacks(stack, {
      ...datastore,
      listKeys: async (prefix, cursor, options) => {
        const { names, ...rest } = await datastore.listKeys(prefix, cursor, options);
        return {
          names: [...names, "default/~packs/1999999999999999-aaaaaaaa"].filter((n) => n.startsWith(prefix)),
          ...rest,
        };
      },
    });
    const report = await rebuild(lagging);
    assertEquals([report.done, report.evicted, report.failed], [true, 4, 0]);
  });
});
