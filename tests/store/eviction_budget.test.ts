/** A tick within a bound on requests must go on with both: archiving what is dirty, evicting what is idle. */
import type { Buffer } from "node:buffer";
import { beforeEach, it } from "node:test";
import { assert, assertEquals, assertGreater } from "@std/assert";
import { deflateFreezer } from "../../mod.ts";
import { BUCKET, describePackings, names, withArchive } from "../support/fixtures.ts";
import { freezeRecord } from "../support/records.ts";
import { HOUR_MS } from "../support/times.ts";

describePackings("maxSubrequests if each idle key costs a question to the archive", (packBytes) => {
  const stack = withArchive({ packBytes });
  beforeEach(() => stack.flush());

  /** Clean keys whose version is three days old, unused since. */
  async function idleKeys(n: number): Promise<string[]> {
    const keys = names(n, "idle");
    await stack.raw("MSET", ...keys.flatMap((key) => [key, "value"]));
    await stack.store().dirty(keys);
    await stack.store().tick();
    const objects = stack.s3.objects(BUCKET);
    for (const name of stack.objectNames()) objects.delete(name);
    const at = Math.floor(await stack.nowMs() - 72 * HOUR_MS);
    const ver = `${String(at * 1000).padStart(16, "0")}-0badcafe`;
    const dump = new Uint8Array(await stack.raw("DUMP", keys[0]!) as Buffer);
    for (const key of keys) {
      const name = `default/${key.replace(":", ".3A")}/${ver}`;
      objects.set(name, await freezeRecord({ key, ver, at, exp: 0, dump }, [deflateFreezer()]));
      await stack.editRecord(key, { ver });
    }
    await stack.leaveAlone(72 * HOUR_MS, ...keys);
    return keys;
  }

  for (const maxSubrequests of [12, 14, 20, 45]) {
    const both = maxSubrequests >= 20;
    it(`${maxSubrequests}: each tick archives some ${both ? "and" : "or"} evicts some, until both are done`, async () => {
      const n = maxSubrequests < 45 ? 15 : 120;
      const idle = await idleKeys(n);
      const dirty = names(n, "dirty");
      await stack.raw("MSET", ...dirty.flatMap((key) => [key, "value"]));
      const store = stack.store({ redisTtlMs: 10 * HOUR_MS });
      await store.dirty(dirty);
      let frozen = 0;
      let evicted = 0;
      while (frozen < n || evicted < n) {
        const report = await store.tick({ maxSubrequests });
        assert(report.subrequests <= maxSubrequests, `${report.subrequests} of ${maxSubrequests}`);
        assertEquals([report.errors, report.failed, report.rescued], [[], 0, 0]);
        assertGreater(report.frozen + report.evicted, 0);
        if (both && frozen < n) assertGreater(report.frozen, 0);
        if (both && evicted < n) assertGreater(report.evicted, 0);
        assertEquals(report.done, frozen + report.frozen === n && evicted + report.evicted === n);
        frozen += report.frozen;
        evicted += report.evicted;
        assertEquals(await stack.endLeases(), 0);
      }
      assertEquals([frozen, evicted, await stack.exists(...idle)], [n, n, 0]);
      await store.ensureKs(idle);
      assertEquals(await stack.exists(...idle), n);
    });
  }
});
