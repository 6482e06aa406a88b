/** probe of archives that lie or lack things: just that check fails, and says what to do. */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Datastore, type MemoryDatastore, memoryDatastore, notFound, TundraError } from "../../mod.ts";
import { probe } from "../../src/operations/mod.ts";
import { hooked, withArchive } from "../support/fixtures.ts";
import { detailOf, failing, QUICK, SHORT } from "../support/probe.ts";

describe("probe of an archive", () => {
  const stack = withArchive();
  let archive: MemoryDatastore;
  beforeEach(async () => {
    await stack.flush();
    archive = memoryDatastore();
  });

  /** Just this check fails if the datastore is like this. */
  const lies = async (hooks: Partial<Datastore>, name: string, detail: RegExp) => {
    const report = await probe(stack.store({ datastore: hooked(archive, hooks), redis: QUICK }), SHORT);
    assertEquals([failing(report), report.ok], [[`archive: ${name}`], false]);
    assertMatch(detailOf(report, `archive: ${name}`), detail);
    assertEquals(archive.objects.size, 0);
  };

  it("that changes or loses objects", async () => {
    const cut = async (names: string[]) =>
      (await archive.fetchKeys(names)).map((object) => object instanceof Error ? object : object.slice(0, 1_024));
    await lies({ fetchKeys: cut }, "PUT and GET", /1048576 bytes were put and 1024 others came back/);
  });

  it("that does not say that an object is absent", async () => {
    const denied = async (names: string[]) =>
      (await archive.fetchKeys(names)).map((object, i) =>
        object instanceof Error && names[i]!.endsWith("absent") ? new TundraError("UNAVAILABLE", "403") : object
      );
    await lies({ fetchKeys: denied }, "absent objects", /403.*s3:ListBucket/);
    await lies({ hasKeys: (names) => Promise.resolve(names.map(() => true)) }, "absent objects", /true and true/);
  });

  it("that reads other ranges, or fewer bytes than asked for", async () => {
    const whole: Datastore["fetchRanges"] = (reads) => archive.fetchKeys(reads.map(({ name }) => name));
    await lies({ fetchRanges: whole }, "ranges", /packBytes: 0/);
    const shifted: Datastore["fetchRanges"] = (reads) =>
      archive.fetchRanges(reads.map((read) => ({ ...read, offset: Math.max(0, read.offset - 1) })));
    await lies({ fetchRanges: shifted }, "ranges", /bytes 250 to 549/);
    const absentBeyond: Datastore["fetchRanges"] = async (reads) =>
      (await archive.fetchRanges(reads)).map((part, i) => part instanceof Error ? notFound(reads[i]!.name) : part);
    await lies({ fetchRanges: absentBeyond }, "ranges", /must be an error/);
  });

  it("without conditional PUT: fine if it lists; and one that replaces what it refuses", async () => {
    const putKey: Datastore["putKey"] = (name, value) => archive.putKey(name, value);
    const report = await probe(stack.store({ datastore: hooked(archive, { putKey }), redis: QUICK }), SHORT);
    assert(report.ok);
    assertMatch(detailOf(report, "archive: conditional PUT"), /replaces the object: Tundra then/);
    const { fetchKeys, deleteKeys } = archive;
    const blind = await probe(stack.store({ datastore: { putKey, fetchKeys, deleteKeys }, redis: QUICK }), SHORT);
    assertEquals(failing(blind), ["archive: conditional PUT"]);
    const both: Datastore["putKey"] = async (name, value, options) => {
      const taken = options?.ifAbsent && archive.objects.has(name);
      await archive.putKey(name, value);
      if (taken) throw new TundraError("CONFLICT", "taken");
      return true;
    };
    await lies({ putKey: both }, "conditional PUT", /replaced the object all the same/);
  });

  it("whose listing has no order, misses names, or ends after a page", async () => {
    const reversed: Datastore["listKeys"] = async (prefix) => {
      const { names } = await archive.listKeys(prefix);
      return { names: names.length < 10 ? names.reverse() : names };
    };
    const all: Datastore["listKeys"] = (prefix) =>
      Promise.resolve({ names: [...archive.objects.keys()].filter((name) => name.startsWith(prefix)).sort() });
    const complete = (listKeys: Datastore["listKeys"]): Datastore["listKeys"] => async (prefix, cursor) =>
      prefix.includes("/list/") ? await listKeys!(prefix, cursor) : await all!(prefix);
    await lies({ listKeys: complete(reversed) }, "list", /ascending order/);
    const late: Datastore["listKeys"] = async (prefix) => ({ names: (await all!(prefix)).names.slice(1) });
    await lies({ listKeys: complete(late) }, "list", /all that were put/);
    const onePage: Datastore["listKeys"] = async (prefix) => ({ names: (await archive.listKeys(prefix)).names });
    const report = await probe(stack.store({ datastore: hooked(archive, { listKeys: onePage }), redis: QUICK }));
    assertEquals(failing(report), ["archive: pages of a listing"]);
    assertMatch(detailOf(report, "archive: pages of a listing"), /1000 of 1001 names were listed/);
    assertEquals(archive.objects.size, 0);
  });

  it("that deletes nothing gets no thousand objects", async () => {
    const report = await probe(
      stack.store({ datastore: hooked(archive, { deleteKeys: () => Promise.resolve() }), redis: QUICK }),
    );
    assertEquals(failing(report).slice(0, 1), ["archive: delete"]);
    assertMatch(detailOf(report, "archive: delete"), /still there/);
    assert(archive.objects.size < 20, `${archive.objects.size} objects`);
  });

  it("of two functions is enough, and what goes without the others is said", async () => {
    const { putKey, fetchKeys } = archive;
    const report = await probe(stack.store({ datastore: { putKey, fetchKeys }, redis: QUICK }), SHORT);
    assertEquals([failing(report), report.ok], [[], true]);
    assertMatch(detailOf(report, "archive: delete"), /del\(\) leaves the bytes/);
    assertMatch(detailOf(report, "archive: list"), /not noticed/);
    assertMatch(detailOf(report, "removes what it has made"), /\d objects stay/);
  });

  it("whose freezers change a value", async () => {
    const freezer = { id: "x", freeze: (bytes: Uint8Array) => bytes, thaw: (bytes: Uint8Array) => bytes.slice(1) };
    const report = await probe(stack.store({ datastore: archive, freezer, redis: QUICK }), SHORT);
    assertEquals(failing(report), ["archive: freezers"]);
  });

  it("that is down: each check says so, and the server's hold", async () => {
    const down = () => Promise.reject(new TundraError("UNAVAILABLE", "503 slow down"));
    const all = { putKey: down, fetchKeys: down, fetchRanges: down, deleteKeys: down, hasKeys: down, listKeys: down };
    const report = await probe(stack.store({ datastore: all, redis: QUICK }), SHORT);
    for (const { name, ok, detail } of report.checks) {
      if (name.startsWith("redis: ") || name === "archive: freezers") assert(ok, `${name}: ${detail}`);
      else if (!name.includes("pages")) assertMatch(detail, /503 slow down/, name);
    }
  });
});
