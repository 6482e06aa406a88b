/** Freezers that work in place, wait for a service, fail: what a store makes of it. */
import { beforeEach, it } from "node:test";
import { assertEquals, assertStringIncludes } from "@std/assert";
import { type Freezer, TundraError } from "../../mod.ts";
import { placeOf } from "../../src/archive/place.ts";
import { BUCKET, describePackings, names, tundraError, withArchive } from "../support/fixtures.ts";
import { sleep } from "../support/waiting.ts";

/** Asks a key service before it works in place, and notes the names of the objects. */
function service(): Freezer & { failure: unknown; told: Set<string> } {
  const work = async (bytes: Uint8Array, { name }: { name: string }): Promise<Uint8Array> => {
    await sleep(1);
    if (self.failure !== undefined) throw self.failure;
    self.told.add(name);
    for (let i = 0; i < bytes.length; i++) bytes[i]! ^= 255;
    return bytes;
  };
  const self = { id: "service", freeze: work, thaw: work, failure: undefined as unknown, told: new Set<string>() };
  return self;
}

describePackings("a freezer", (packBytes) => {
  const stack = withArchive({ packBytes });
  beforeEach(() => stack.flush());
  const NOW = { retryBackoffMs: 0 };

  it("is told the name that the object has in the archive, in freezing and in thawing", async () => {
    const [freezing, thawing] = [service(), service()];
    const store = stack.store({ freezer: freezing });
    const keys = [...names(3), "ü/🧊", "k".repeat(2000)];
    for (const key of keys) await stack.raw("SET", key, "value");
    await store.dirty(keys);
    await store.tick();
    await store.evict(keys);
    const objects = stack.objectNames().filter((name) => !name.includes("/~owner"));
    assertEquals([...freezing.told].sort(), objects.toSorted());
    await stack.store({ freezer: thawing }).ensureKs(keys);
    assertEquals([...thawing.told].sort(), objects.toSorted());
    assertEquals(await stack.exists(...keys), keys.length);
  });

  it("that thaws in place harms no concurrent ensureKs that shares the fetch", async () => {
    const store = stack.store({ freezer: service() });
    for (let round = 0; round < 20; round++) {
      await stack.raw("SET", "k", `value ${round}`);
      await store.dirty("k");
      await store.tick();
      await store.evict("k");
      await Promise.all(Array.from({ length: 4 }, () => store.ensureKs("k")));
      assertEquals(await stack.get("k"), `value ${round}`);
    }
  });

  for (
    const [what, failure] of [
      ["throws anything", new Error("the key service is down")],
      [
        "throws a retryable TundraError",
        new TundraError("UNSUPPORTED", "the key service is down", { retryable: true }),
      ],
    ] as const
  ) {
    it(`that ${what} for a while kills no key and damages none: each is archived, or comes back, afterwards`, async () => {
      const freezer = service();
      const store = stack.store({ freezer });
      const keys = names(5);
      for (const key of keys) await stack.raw("SET", key, `value of ${key}`);
      await store.dirty(keys);
      freezer.failure = failure;
      for (let i = 0; i < 4; i++) {
        const { frozen, dead, errors } = await store.tick({ ...NOW, nattempts: 3 });
        assertEquals([frozen, dead], [0, 0]);
        for (const { code, message, attempt } of errors) {
          assertEquals([code, attempt], [failure instanceof TundraError ? "UNSUPPORTED" : "UNAVAILABLE", 0]);
          assertStringIncludes(message, 'freezer "service" must accept it: the key service is down');
        }
      }
      freezer.failure = undefined;
      assertEquals((await store.tick(NOW)).frozen, keys.length);
      assertEquals((await store.evict(keys)).evicted.length, keys.length);

      freezer.failure = failure;
      const error = await tundraError("ENSURE_FAILED", () => store.ensureKs(keys));
      assertEquals(Object.keys(error.causes).sort(), keys);
      for (const cause of Object.values(error.causes) as TundraError[]) {
        assertEquals([cause.code === "CORRUPT", cause.retryable, cause.cause], [false, true, failure]);
      }
      freezer.failure = undefined;
      await store.ensureKs(keys);
      for (const key of keys) assertEquals(await stack.get(key), `value of ${key}`);
    });
  }

  it("fails its own call only: what is damaged is CORRUPT, whatever the freezer says", async () => {
    const freezer = service();
    const keys = ["good", "bad", "fine"];
    // each has a block of its own
    for (const key of keys) await stack.raw("SET", key, crypto.getRandomValues(new Uint8Array(30_000)));
    const values = [await stack.get("good"), await stack.get("fine")];
    const store = stack.store({ freezer });
    await store.dirty(keys);
    await store.tick();
    await store.evict(keys);
    const { ver, pack, offset } = placeOf((await stack.record("bad"))!.ver);
    const name = pack === "" ? `default/bad/${ver}` : `default/~packs/${pack}`;
    stack.s3.objects(BUCKET).get(name)![offset + 60]! ^= 1;
    const error = await tundraError("ENSURE_FAILED", () => store.ensureKs(keys));
    assertEquals(Object.entries(error.causes).map(([key, cause]) => [key, (cause as TundraError).code]), [
      ["bad", "CORRUPT"],
    ]);
    assertEquals([await stack.get("good"), await stack.get("fine")], values);
  });
});
