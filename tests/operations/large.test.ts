/** Large values met by operations on whole archives: rebuilds, copies, sweeps, erasures. */
import type { Buffer } from "node:buffer";
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { memoryDatastore, TundraError } from "../../mod.ts";
import { erase, list, rebuild, sweep, warm } from "../../src/operations/mod.ts";
import { BUCKET, withArchive } from "../support/fixtures.ts";
import { makeValue } from "../support/large.ts";

const LIMIT = 100_000;
const LARGE = 150_000;
/** Its object's name does not tell it. */
const LONG = "Large:" + "k".repeat(300);

describe("large values and the whole archive", () => {
  const stack = withArchive({ upstash: { maxRequestBytes: LIMIT, maxReplyBytes: LIMIT } });
  beforeEach(() => stack.flush());
  const store = () => stack.store({ redis: { maxRequestBytes: LIMIT } });

  /** Evicted keys with large values, one of them with an expiry of its own; and their values. */
  async function evicted(): Promise<Map<string, Buffer>> {
    const values = new Map<string, Buffer>();
    for (const key of ["large", LONG]) {
      await makeValue(stack, key, "string", LARGE, true);
      values.set(key, await stack.raw("GET", key) as Buffer);
    }
    await stack.raw("PEXPIRE", "large", 3_600_000);
    await store().dirty([...values.keys()]);
    assertEquals((await store().tick()).frozen, 2);
    assertEquals((await store().evict([...values.keys()])).evicted.length, 2);
    return values;
  }

  async function assertBack(values: Map<string, Buffer>): Promise<void> {
    for (const [key, value] of values) assert(value.equals(await stack.raw("GET", key) as Buffer), `${key} differs`);
  }

  it("a rebuild finds them by their names, or by their heads, and they come back", async () => {
    const values = await evicted();
    await stack.raw("FLUSHALL");
    const report = await rebuild(store());
    assertEquals([report.done, report.evicted, report.errors], [true, 2, []]);
    await store().ensureKs([...values.keys()]);
    await assertBack(values);
    assert(await stack.raw("PEXPIRETIME", "large") as number > 0);
  });

  it("a rebuild from another archive copies them, segment by segment", async () => {
    const values = await evicted();
    await stack.raw("FLUSHALL");
    const copy = stack.store({ redis: { maxRequestBytes: LIMIT }, datastore: memoryDatastore() });
    const report = await rebuild(copy, { from: stack.datastore() });
    assertEquals([report.done, report.evicted, report.errors], [true, 2, []]);
    stack.s3.objects(BUCKET).clear();
    await copy.ensureKs([...values.keys()]);
    await assertBack(values);
  });

  it("a copy fails for a damaged one, and names it, unless it is to pass over it", async () => {
    const values = await evicted();
    const [name] = stack.objectNames().filter((each) => each.includes("/large/")) as [string];
    const whole = stack.s3.objects(BUCKET).get(name)!;
    const flipped = whole.slice();
    flipped[12 + new DataView(whole.buffer, whole.byteOffset).getUint32(8)]! ^= 255; // the length of a segment
    const damaged: [string, Uint8Array][] = [
      ["the head's length", whole.map((byte, i) => i === 8 ? 255 : byte)],
      ["a segment's length", flipped],
      ["cut off", whole.slice(0, -1000)],
      ["nothing of it", new Uint8Array(100)],
    ];
    for (const [what, bytes] of damaged) {
      stack.s3.objects(BUCKET).set(name, bytes);
      await stack.raw("FLUSHALL");
      const copy = stack.store({ redis: { maxRequestBytes: LIMIT }, datastore: memoryDatastore() });
      const error = await assertRejects(() => rebuild(copy, { from: stack.datastore() }), TundraError);
      assertEquals([what, error.code, error.message.includes(name)], [what, "CORRUPT", true]);
      assertMatch(error.message, /skipDamaged/);
      const { done, evicted, errors } = await rebuild(copy, { from: stack.datastore(), skipDamaged: true });
      assertEquals([what, done, evicted, errors.map(({ code }) => code)], [what, true, 1, ["CORRUPT"]]);
      await copy.ensureKs(LONG);
      await assertBack(new Map([[LONG, values.get(LONG)!]]));
    }
    // a failure of the own archive is no damage
    stack.s3.objects(BUCKET).set(name, whole);
    await stack.raw("FLUSHALL");
    const memory = memoryDatastore();
    const putKey = async (each: string, bytes: Uint8Array) => {
      if (each === name) throw new TundraError("TOO_LARGE", "Cannot put as it is too large");
      return await memory.putKey(each, bytes);
    };
    const copy = stack.store({ redis: { maxRequestBytes: LIMIT }, datastore: { ...memory, putKey } });
    const { code } = await assertRejects(
      () => rebuild(copy, { from: stack.datastore(), skipDamaged: true }),
      TundraError,
    );
    assertEquals(code, "TOO_LARGE");
  });

  it("warm brings them back, list counts them, a sweep leaves them, an erasure removes all of one", async () => {
    const values = await evicted();
    const before = stack.objectNames();
    const swept = await sweep(store());
    assertEquals([swept.done, swept.errors, stack.objectNames()], [true, [], before]);
    const found: string[] = [];
    for await (const { key } of list(store())) found.push(key);
    assertEquals(found.sort(), [...values.keys()].sort());
    const { warmed, failed } = await warm(store(), [...values.keys()]);
    assertEquals([warmed, failed], [2, 0]);
    await assertBack(values);
    await erase(store(), ["large"]);
    assertEquals(stack.objectNames().filter((name) => name.includes("/large/") && name.endsWith("a")), []);
    assertEquals([await stack.exists("large"), await stack.exists(LONG)], [0, 1]);
  });
});
