/** The commands from which the tables of docs/costs.md are computed, measured. */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { BATCH, BILLED, RECORD_BYTES } from "../../src/operations/prices.ts";
import { names, withArchive } from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";

describe("what archiving, evicting and bringing back cost", () => {
  const stack = withArchive();
  const { raw } = stack;
  beforeEach(() => stack.flush());

  /** The number of runs of each command since the last call, and whether it writes. */
  let before: Record<string, number> = {};
  async function spent(): Promise<{ commands: number; writes: number }> {
    const text = String(await raw("INFO", "commandstats"));
    const calls = Object.fromEntries(
      [...text.matchAll(/^cmdstat_(\S+?):calls=(\d+)/gm)].map(([, name, count]) => [name!, Number(count)]),
    );
    let [commands, writes] = [0, 0];
    for (const [name, count] of Object.entries(calls)) {
      const ran = count - (before[name] ?? 0);
      if (ran <= 0 || ["info", "command|info"].includes(name)) continue;
      commands += ran;
      const [info] = await raw("COMMAND", "INFO", name.split("|")[0]!) as [[unknown, unknown, unknown[]]];
      const isScript = name === "eval" || name === "evalsha"; // it may write, so it may be billed again too
      if (isScript || info[2].some((flag) => String(flag) === "write")) writes += ran;
    }
    before = calls;
    return { commands, writes };
  }

  it("is what src/operations/prices.ts says, per key and per batch", async () => {
    const keys = names(BATCH);
    const store = stack.store({ redisTtlMs: 10 * HOUR_MS });
    await raw("MSET", ...keys.flatMap((key) => [key, `value of ${key}`]));
    await store.dirty(keys);
    await store.tick({ batchKeys: 1000 });
    await store.evict(keys);
    await store.ensureKs(keys);
    const expected = (
      { perKey, perBatch, writesPerKey, writesPerBatch }: typeof BILLED[keyof typeof BILLED],
      n = BATCH,
    ) => ({
      commands: perKey * n + perBatch,
      writes: writesPerKey * n + writesPerBatch,
    });
    const measured = async (act: () => Promise<unknown>) => {
      await spent();
      await act();
      return await spent();
    };

    await store.dirty(keys);
    const archiving = stack.store(); // without redisTtlMs: what a claim then spends on idle keys counts as eviction's
    assertEquals(await measured(() => archiving.tick({ batchKeys: 1000 })), expected(BILLED.archive));
    await store.evict(keys);
    assertEquals(await measured(() => store.ensureKs(keys)), expected(BILLED.bringBack));
    await store.evict(keys);
    assertEquals(await measured(() => store.ensureKs(keys[0]!)), expected(BILLED.bringBack, 1));
    await store.ensureKs(keys);

    const idle = await measured(() => archiving.tick({ batchKeys: 1000 }));
    await stack.leaveAlone(11 * HOUR_MS, ...keys);
    const evicting = await measured(() => store.tick({ batchKeys: 1000 }));
    assertEquals(await stack.exists(...keys), 0);
    assertEquals(
      { commands: evicting.commands - idle.commands, writes: evicting.writes - idle.writes },
      expected(BILLED.evict),
    );
  });

  it("each ensureKs reads the archive until the first tick, and not afterwards", async () => {
    const store = stack.store();
    await raw("SET", "resident", "value");
    const listings = async () => {
      const before = stack.s3Count("ListObjectsV2");
      await store.ensureKs("missing");
      await store.ensureKs("resident");
      return stack.s3Count("ListObjectsV2") - before;
    };
    assertEquals([await listings(), await listings()], [2, 2]);
    await store.dirty("resident");
    await store.tick();
    assertEquals(await listings(), 0);
  });

  it("an evicted key's record takes as much memory as the tables say", async () => {
    const used = async () => Number(/^used_memory:(\d+)/m.exec(String(await raw("INFO", "memory")))![1]);
    const keys = names(1000, "session:0123456789:");
    const store = stack.store();
    await store.status();
    const empty = await used();
    await raw("MSET", ...keys.flatMap((key) => [key, "v".repeat(1000)]));
    await store.dirty(keys);
    await store.tick({ maxKeys: 1000, batchKeys: 1000 });
    await store.evict(keys);
    const perKey = (await used() - empty) / keys.length;
    assert(perKey > RECORD_BYTES / 1.5 && perKey < RECORD_BYTES * 1.5, `${perKey} bytes`);
  });
});
