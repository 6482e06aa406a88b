/**
 * Each command that changes something, interrupted at its requests one after the other, in this process: it ends with 130,
 * and the same command done once more has what it would have had.
 */
import { after, beforeEach, describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { Ending } from "../../src/cli/host.ts";
import { storeEnvironment } from "../../src/testing/environment.ts";
import { cliInMemory } from "../support/cli.ts";
import { BUCKET, names, withArchive } from "../support/fixtures.ts";

/** The requests before which a run is interrupted. */
const AT = [1, 2, 4, 7, 11];
const KEYS = names(30);

describe("a command that is interrupted", () => {
  const stack = withArchive();
  const environment = () => storeEnvironment(stack.connection, stack.s3, BUCKET);
  const { fetch } = globalThis;
  after(() => void (globalThis.fetch = fetch));

  /** Runs it, and interrupts it before the nth request; tells if it came to that. */
  async function interrupted(args: string[], nth: number): Promise<boolean> {
    const controller = new AbortController();
    let requests = 0;
    globalThis.fetch = (input, init) => {
      if (++requests === nth) controller.abort(new Ending("SIGINT", 130));
      return fetch(input, init);
    };
    try {
      const { exitCode, stderr } = await cliInMemory(args, { env: environment(), signal: controller.signal });
      if (requests < nth) {
        assertEquals(exitCode, 0, stderr);
        return false;
      }
      assertEquals(exitCode, 130, stderr);
      assert(stderr.endsWith("Interrupted\n") && !stderr.includes("    at "), stderr);
      return true;
    } finally {
      globalThis.fetch = fetch;
    }
  }

  async function archived(): Promise<void> {
    await stack.raw("MSET", ...KEYS.flatMap((key) => [key, `value of ${key}`]));
    const store = stack.store();
    await store.dirty(KEYS);
    await store.tick();
  }

  const evicted = async () => {
    await archived();
    assertEquals((await stack.store().evict(KEYS)).evicted.length, KEYS.length);
  };
  const counts = async () => {
    const { dead, dirty, evicted, resident } = await stack.store().status();
    return { dead, dirty, evicted, resident };
  };

  beforeEach(() => stack.flush());

  const cases: [args: string[], prepare: () => Promise<void>, expected: () => Promise<void>][] = [
    [["adopt", "--yes"], async () => {
      await stack.store().tick();
      await stack.raw("MSET", ...KEYS.flatMap((key) => [key, "v"]));
    }, async () => assertEquals((await counts()).dirty, KEYS.length)],
    [["tick"], async () => {
      await archived();
      await stack.raw("MSET", ...KEYS.flatMap((key) => [key, "newer"]));
      await stack.store().dirty(KEYS);
    }, async () => {
      await stack.endLeases(); // of ticks whose giving back was interrupted too
      await stack.store().tick();
      assertEquals((await counts()).dirty, 0);
    }],
    [["warm", "--match", "*", "--yes"], evicted, async () => assertEquals(await stack.exists(...KEYS), KEYS.length)],
    [["erase", "--match", "k:1*", "--yes"], archived, async () => {
      const left = KEYS.filter((key) => !key.startsWith("k:1"));
      assertEquals((await stack.versions()).map((version) => version.split(" ")[0]), left.sort());
      assertEquals(await stack.exists(...KEYS), left.length);
    }],
    [["rebuild", "--yes"], async () => {
      await evicted();
      await stack.raw("FLUSHDB");
    }, async () => {
      await stack.store().ensureKs(KEYS);
      assertEquals(await stack.get("k:7"), "value of k:7");
      assertEquals(await stack.exists(...KEYS), KEYS.length);
    }],
    [["verify"], archived, async () => assertEquals((await counts()).resident, KEYS.length)],
    [["sweep", "--yes"], archived, async () => assertEquals((await stack.versions()).length, KEYS.length)],
    [["dead", "retry", "--all", "--yes"], async () => {
      await archived();
      await stack.store().dirty(KEYS);
      const now = await stack.nowMs();
      for (const key of KEYS) {
        await stack.editRecord(key, { attempts: 3, error: "TOO_LARGE for a test" });
        await stack.raw("ZREM", "tundra:default:dirty", key);
        await stack.raw("ZADD", "tundra:default:dead", now, key);
      }
    }, async () => assertEquals((await counts()).dead, 0)],
    [["restore", "k:7", "--at", "0s", "--to", "k:copy", "--yes"], archived, async () => {
      assertEquals(await stack.get("k:copy"), "value of k:7");
    }],
  ];
  for (const [args, prepare, expected] of cases) {
    it(`${args.join(" ")}: the next run completes it`, async () => {
      let last = 0;
      for (const nth of AT) {
        await stack.flush();
        await prepare();
        if (!await interrupted(args, nth)) break;
        last = nth;
        const { exitCode, stderr } = await cliInMemory(args, { env: environment() });
        assert(exitCode === 0 || (args[0] === "restore" && /exists|must hold nothing|CONFLICT/.test(stderr)), stderr);
        await expected();
      }
      assert(last > 0);
    });
  }

  it("that only reads ends with 130 as well", async () => {
    await archived();
    for (
      const args of [["status"], ["list"], ["versions", "k:1"], ["peek", "k:1"], ["dead"], ["probe", "--quick"], [
        "advise",
      ]]
    ) {
      assertEquals(await interrupted(args, 1), true, args[0]);
      assertEquals((await stack.raw("KEYS", "tundra:default:tmp:*") as unknown[]).length, 0);
    }
  });
});
