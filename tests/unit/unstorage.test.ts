/** `unstorageDatastore`: names that survive any driver, and drivers that lie. */
import { Buffer } from "node:buffer";
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { assert, assertEquals, assertInstanceOf, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { createStorage, type Driver, prefixStorage } from "unstorage";
import fsDriver from "unstorage/drivers/fs";
import memoryDriver from "unstorage/drivers/memory";
import { TundraError } from "../../mod.ts";
import { folderOf, itemOf, objectOf } from "../../src/datastores/unstorage_names.ts";
import { unstorageDatastore, type UnstorageDatastoreOptions } from "../../src/datastores/unstorage.ts";
import { seededRandom } from "../support/random.ts";

const bytes = Uint8Array.from([0, 255, 128, 200, 10]);
const folders: string[] = [];
function folder(): string {
  folders.push(mkdtempSync(join(tmpdir(), "tundra-unstorage-")));
  return folders.at(-1)!;
}
after(() => folders.forEach((each) => rmSync(each, { recursive: true, force: true })));

function onDisk(base: string, options: { readOnly?: boolean } = {}) {
  return unstorageDatastore(createStorage({ driver: fsDriver({ base, ...options }) }));
}

/** A driver in memory under another name, with some functions replaced. */
function other(replaced: Partial<Driver>, options?: UnstorageDatastoreOptions, name = "other") {
  return unstorageDatastore(createStorage({ driver: { ...memoryDriver(), name, ...replaced } }), options);
}

/** The code of a failure, whether it passes, and its message. */
async function failureOf(act: () => Promise<unknown>): Promise<[string, boolean, string]> {
  const error = await assertRejects(act, TundraError);
  return [error.code, error.retryable, error.message];
}

function slotOf(slot: unknown): [string, boolean, string] {
  assertInstanceOf(slot, TundraError, String(slot));
  return [slot.code, slot.retryable, slot.message];
}

describe("the items of unstorage", () => {
  it("have one name for each object, which unstorage and a disk leave as it is", async () => {
    const random = seededRandom("the items of unstorage");
    const alphabet = "aAbBzZ09__--..~~/ABC";
    const names = new Set(["a", "A", "a/b", "a.b", "..a", "a..", "a../b", ".git", "node_modules/x", "x".repeat(900)]);
    for (const dots of [199, 200, 201, 400]) names.add(".".repeat(dots) + "a").add("Z".repeat(dots));
    while (names.size < 2000) {
      const name = Array.from({ length: 1 + random.int(300) }, () => random.pick(alphabet)).join("");
      if (name.split("/").every((part) => !["", ".", ".."].includes(part))) names.add(name);
    }
    const storage = createStorage();
    const items = new Map<string, string>();
    for (const name of names) {
      const item = itemOf(name);
      assertEquals(objectOf(item), name);
      assertEquals(items.get(item.toLowerCase()), undefined, `${name} and another are ${item}`);
      items.set(item.toLowerCase(), name);
      assert(!/\.\.(:|$)|\$|(^|:)\.|(^|:)(\.git|node_modules)(:|$)/.test(item), item);
      for (const part of item.split(":")) assert(part.length > 0 && part.length <= 255, item);
      await storage.setItemRaw(item, name);
      const slash = name.lastIndexOf("/") + 1;
      assert(item.startsWith(folderOf(name.slice(0, slash))), `${item}: ${folderOf(name.slice(0, slash))}`);
    }
    assertEquals((await storage.getKeys()).sort(), [...items.keys()].sort());
    const all = [...items.keys()];
    const folderNames = new Set(
      all.flatMap((item) => item.split(":").map((_, i, parts) => parts.slice(0, i).join(":"))),
    );
    assertEquals(all.filter((item) => folderNames.has(item)), []); // no file is a folder too
  });

  it("look like the object's name", () => {
    const name = "default/user.3A1/1764000000000001-0a1b2c3d";
    assertEquals(itemOf(name), "default_1:user.3_a1_1:1764000000000001-0a1b2c3d_2");
    assertEquals(folderOf("default/user.3A1/17"), "default_1:user.3_a1_1");
    for (const foreign of ["", "a", "a_1", "a_2:b_2", "A_2", "_2", "a_9", "a_0:b_2", ".a_2"]) {
      assertEquals(objectOf(foreign), undefined, foreign);
    }
  });
});

describe("unstorageDatastore", () => {
  it("finds a driver that drops writes, at the first put: a disk that is read-only", async () => {
    const store = onDisk(folder(), { readOnly: true });
    const [code, retryable, message] = await failureOf(() => store.putKey("a", bytes));
    assertEquals([code, retryable], ["UNAVAILABLE", false]);
    assertEquals(
      message,
      'Cannot put "a" as the unstorage driver must give back the bytes that it was given: it gave back nothing',
    );
    assertEquals(slotOf((await store.fetchKeys(["a"]))[0]).slice(0, 2), ["UNAVAILABLE", false]);
  });

  it("finds it also if the place was written to before, and notices that nothing is deleted", async () => {
    const base = folder();
    await onDisk(base).putKey("a", bytes);
    const store = onDisk(base, { readOnly: true });
    assertEquals(await store.fetchKeys(["a", "b"]).then(([a, b]) => [a, slotOf(b)[0]]), [bytes, "NOT_FOUND"]);
    assertEquals((await failureOf(() => store.putKey("b", bytes))).slice(0, 2), ["UNAVAILABLE", false]);
    const [code, retryable, message] = await failureOf(() => store.deleteKeys!(["a"]));
    assertEquals([code, retryable], ["UNAVAILABLE", true]);
    assertStringIncludes(message, "it is still there");
  });

  it("finds a driver that changes bytes: text, base64 that nobody decodes, numbers, half of it", async () => {
    const given: [unknown, string][] = [
      [(value: Uint8Array) => new TextDecoder().decode(value), "it gave back string"],
      [(value: Uint8Array) => btoa(String.fromCharCode(...value)), "it gave back string"],
      [(value: Uint8Array) => [...value], "it gave back object"],
      [(value: Uint8Array) => new Blob([value as Uint8Array<ArrayBuffer>]), "it gave back object"],
      [(value: Uint8Array) => value.slice(1), "it gave back 511 other bytes"],
      [(value: Uint8Array) => new TextEncoder().encode(new TextDecoder().decode(value)), "other bytes"],
    ];
    for (const [change, says] of given) {
      const data = new Map<string, unknown>();
      const store = other({
        setItemRaw: (key, value) => void data.set(key, (change as (value: Uint8Array) => unknown)(value)),
        getItemRaw: (key) => data.get(key) ?? null,
      });
      const [code, retryable, message] = await failureOf(() => store.putKey("a", bytes));
      assertEquals([code, retryable], ["UNAVAILABLE", false]);
      assertStringIncludes(message, says);
    }
  });

  it("takes bytes in any dress, and gives away its own: Buffer, ArrayBuffer, DataView, unstorage's base64", async () => {
    const dresses: ((value: Uint8Array<ArrayBuffer>) => unknown)[] = [
      (value) => Buffer.concat([Buffer.from("xx"), value]).subarray(2),
      (value) => value.buffer,
      (value) => new DataView(value.buffer),
      (value) => value,
    ];
    for (const dress of dresses) {
      const data = new Map<string, Uint8Array<ArrayBuffer>>();
      const store = other({
        setItemRaw: (key, value) => void data.set(key, new Uint8Array(value)),
        getItemRaw: (key) => data.has(key) ? dress(data.get(key)!) : null,
      }, { nullIsAbsent: true });
      await store.putKey("a", bytes);
      const [first] = await store.fetchKeys(["a"]);
      assertEquals([(first as Uint8Array).constructor, first], [Uint8Array, bytes]);
      (first as Uint8Array).fill(7);
      assertEquals(await store.fetchKeys(["a"]), [bytes]);
    }
    const { getItemRaw: _, setItemRaw: __, ...textOnly } = memoryDriver();
    const store = unstorageDatastore(createStorage({ driver: { ...textOnly, name: "redis" } }));
    await store.putKey("a", bytes);
    const [first, second] = await store.fetchKeys(["a", "b"]);
    assertEquals([first, slotOf(second)[0]], [bytes, "NOT_FOUND"]);
  });

  it("takes null for unknown, unless it knows the driver or is told", async () => {
    const store = other({});
    await store.putKey("a", bytes);
    const [a, b] = await store.fetchKeys(["a", "b"]);
    assertEquals(a, bytes);
    const [code, retryable, message] = slotOf(b);
    assertEquals([code, retryable], ["UNAVAILABLE", false]);
    assertStringIncludes(message, "{ nullIsAbsent: true }");
    assertEquals((await store.hasKeys!(["a", "b"])).map((slot) => slot === true || slotOf(slot)[0]), [
      true,
      "UNAVAILABLE",
    ]);
    const told = other({}, { nullIsAbsent: true });
    assertEquals(slotOf((await told.fetchKeys(["b"]))[0])[0], "NOT_FOUND");
    assertEquals(await told.hasKeys!(["b"]), [false]);
    const doubted = unstorageDatastore(createStorage(), { nullIsAbsent: false });
    assertEquals(slotOf((await doubted.fetchKeys(["b"]))[0])[0], "UNAVAILABLE");
  });

  it("knows the driver by an item of its own, not by a name that a prefix has made wrong", async () => {
    const storage = createStorage({ driver: memoryDriver() });
    storage.mount("archive", { ...memoryDriver(), name: "other" });
    const behind = unstorageDatastore(prefixStorage(storage, "archive"));
    await behind.putKey("a", bytes);
    assertEquals(slotOf((await behind.fetchKeys(["b"]))[0])[0], "UNAVAILABLE");
    storage.mount("known", memoryDriver());
    const known = unstorageDatastore(storage, { base: "known" });
    assertEquals(slotOf((await known.fetchKeys(["b"]))[0])[0], "NOT_FOUND");
  });

  it("says that it does not know, once the disk is away, and does not begin another archive there", async () => {
    const base = join(folder(), "mounted");
    const store = onDisk(base);
    await store.putKey("a", bytes);
    renameSync(base, `${base}-away`);
    const errors = [
      slotOf((await store.fetchKeys(["a"]))[0]),
      slotOf((await store.hasKeys!(["a"]))[0]),
      await failureOf(() => store.listKeys!("")),
      await failureOf(() => store.deleteKeys!(["a"])),
    ];
    assertEquals(errors.map(([code]) => code), Array(4).fill("UNAVAILABLE"));
    for (const [, , message] of errors) assertStringIncludes(message, '"tundra:probe_3:probe_3" is gone');
    assertStringIncludes((await failureOf(() => store.putKey("b", bytes)))[2], "is gone");
    assertEquals(existsSync(base), false);
    renameSync(`${base}-away`, base);
    assertEquals(await store.fetchKeys(["a"]), [bytes]);
    assertEquals((await store.listKeys!("")).names, ["a"]);
  });

  it("has not stored what was put while the disk went away: it may lie below the mount point", async () => {
    const base = join(folder(), "mounted");
    const disk = fsDriver({ base });
    const store = unstorageDatastore(createStorage({
      driver: {
        ...disk,
        setItemRaw(key, value, options) {
          if (key.endsWith("b_2")) renameSync(base, `${base}-away`);
          return disk.setItemRaw!(key, value, options);
        },
      },
    }));
    await store.putKey("a", bytes);
    assertStringIncludes((await failureOf(() => store.putKey("b", bytes)))[2], "is gone");
    assertEquals(existsSync(join(base, "tundra", "b_2")), true);
  });

  it("looks once a second if there is no disk", async () => {
    let probes = 0;
    const memory = memoryDriver();
    const store = other({
      ...memory,
      getItemRaw(key) {
        if (key.includes("probe_3")) probes++;
        return memory.getItemRaw!(key, {});
      },
    });
    for (let i = 0; i < 50; i++) await store.putKey(`n/${i}`, bytes);
    const first = probes;
    assert(first >= 2 && first <= 4, String(first)); // absent, read back
    await new Promise((resolve) => setTimeout(resolve, 1100));
    await store.putKey("n/50", bytes);
    assertEquals(probes, first + 1);
  });

  it("takes what cannot be read for unknown, although the disk's driver gives the error as a value", async () => {
    const base = folder();
    const store = onDisk(base);
    await store.putKey("a/b", bytes);
    const file = join(base, "tundra", "a_1", "c_2");
    symlinkSync(file, file); // a circle: it can neither be read nor be said to be absent
    assertStringIncludes(slotOf((await store.fetchKeys(["a/c"]))[0])[2], "ELOOP");
    assertEquals(slotOf((await store.hasKeys!(["a/c"]))[0])[0], "UNAVAILABLE");
  });

  it("repeats a put that a crash has cut, and that another process can see half", async () => {
    const base = folder();
    const store = onDisk(base);
    await store.putKey("a", bytes);
    const file = join(base, "tundra", "a_2");
    assertEquals(new Uint8Array(readFileSync(file)), bytes);
    writeFileSync(file, bytes.subarray(0, 2));
    assertEquals(await onDisk(base).fetchKeys(["a"]), [bytes.slice(0, 2)]); // an archived record is CORRUPT then
    await onDisk(base).putKey("a", bytes);
    assertEquals(await store.fetchKeys(["a"]), [bytes]);
    // its own item, too
    writeFileSync(join(base, "tundra", "probe_3", "probe_3"), bytes);
    assertEquals(slotOf((await onDisk(base).fetchKeys(["b"]))[0])[0], "NOT_FOUND");
  });

  it("refuses a listing that cannot be whole: a disk's driver that ignores its folder, a foreign or changed name", async () => {
    const ignored = onDisk(join(folder(), "node_modules", "archive"));
    await ignored.putKey("a", bytes);
    assertStringIncludes((await failureOf(() => ignored.listKeys!("")))[2], "it lists 0 of 1 items");
    const storage = createStorage();
    const store = unstorageDatastore(storage);
    await store.putKey("a", bytes);
    await storage.setItemRaw("elsewhere:a", bytes);
    assertEquals(await store.listKeys!(""), { names: ["a"] });
    await storage.setItemRaw("tundra:A_2", bytes);
    assertStringIncludes((await failureOf(() => store.listKeys!("")))[2], 'it lists "tundra:A_2"');
  });

  it("has no listing on a driver that lists its first page only", () => {
    assertEquals("listKeys" in other({}, {}, "s3"), false);
    assertEquals("listKeys" in other({}), true);
  });

  it("reads all names once for all pages of a listing, names each once, and goes on after any name", async () => {
    let listings = 0;
    const memory = memoryDriver();
    const getKeys: Driver["getKeys"] = async (...call) => {
      listings++;
      const keys = await memory.getKeys(...call);
      return [...keys, ...keys.slice(0, 5)].reverse(); // a scan of Redis may do that
    };
    const store = other({ ...memory, getKeys }, { nullIsAbsent: true });
    const names = Array.from({ length: 2300 }, (_, i) => `n/${String(i).padStart(4, "0")}`);
    for (const name of names) await store.putKey(name, bytes);
    const pages = [await store.listKeys!("n/")];
    while (pages.at(-1)!.cursor) pages.push(await store.listKeys!("n/", pages.at(-1)!.cursor));
    assertEquals(pages.map((page) => page.names.length), [1000, 1000, 300]);
    assertEquals(pages.flatMap((page) => page.names), names);
    assertEquals(listings, 2 * 1); // the probe's folder, and all
    assertEquals((await store.listKeys!("n/", "n/2295")).names, names.slice(2296));
    assertEquals((await store.listKeys!("n/22", "n/2295x")).names, names.slice(2296));
  });

  it("refuses arguments that cannot be, and names that no object has", async () => {
    const storage = createStorage();
    const bad: [unknown, UnstorageDatastoreOptions, string][] = [
      [undefined, {}, "its storage must be an unstorage Storage with hasItem"],
      [{ ...storage, getKeys: undefined }, {}, "an unstorage Storage with getKeys"],
      [storage, { base: "a:b" }, "base must be 1 to 100 characters a-z 0-9 _ -"],
      [storage, { base: "" }, "base must be"],
      [storage, { concurrency: 0 }, "concurrency must be a whole number from 1 to 1000"],
    ];
    for (const [given, options, says] of bad) {
      assertThrows(() => unstorageDatastore(given as typeof storage, options), TundraError, says);
    }
    const store = unstorageDatastore(storage);
    for (const name of ["", "a//b", "/a", "a/../b", "a:b", "a?b", "a$", "x".repeat(901)]) {
      assertEquals((await failureOf(() => store.putKey(name, bytes)))[0], "BAD_ARGUMENT");
    }
    assertEquals((await failureOf(() => store.putKey("a", "text" as unknown as Uint8Array)))[0], "BAD_ARGUMENT");
    assertEquals(store.place, 'unstorage driver "memory", base "tundra"');
    assertEquals(await storage.getKeys(), []);
  });

  it("waits with its first request for the first call, and keeps to its concurrency", async () => {
    let [now, most] = [0, 0];
    const memory = memoryDriver();
    const store = other({
      ...memory,
      async getItemRaw(key) {
        most = Math.max(most, ++now);
        await new Promise((resolve) => setTimeout(resolve, 1));
        now--;
        return memory.getItemRaw!(key, {});
      },
    }, { concurrency: 3, nullIsAbsent: true });
    assertEquals(most, 0);
    await store.fetchKeys(Array.from({ length: 20 }, (_, i) => `n/${i}`));
    assertEquals(most, 3);
  });
});
