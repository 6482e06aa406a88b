/** The weight of the package in an application: the sizes of bundles, and that unused parts stay out of them. */
import { relative } from "node:path";
import { describe, it } from "node:test";
import { assert, assertEquals, assertLess, assertLessOrEqual } from "@std/assert";
import {
  type BundleSize,
  bundleSize,
  ENTRY_POINTS,
  OWN_BUDGET_KB,
  WORKER,
  WORKER_BUDGET_KB,
} from "../../dev/tools/bundle.ts";
import { DEPENDENCIES } from "../../dev/tools/manifests.ts";

const KB = 1024;

const kb = (bytes: number) => (bytes / KB).toFixed(1).padStart(5);

/** In KB of 1,024 bytes, with all dependencies. Why they are what they are: docs/decisions/dependencies.md. */
const ENTRY_POINT_LIMITS: Record<string, number> = {
  ".": 93,
  "./cli": 110,
  "./cloudflare": 5,
  "./dynamodb": 14,
  "./encryption": 35,
  "./http": 3,
  "./metrics": 6,
  "./operations": 110,
  "./page": 55,
  "./testing": 30,
  "./transparent": 58,
  "./unstorage": 6,
};

/**
 * The built-ins that the entry points for servers, "./testing" and "./cli", may import; another one that does is found
 * by architecture.test.ts.
 */
const BUILT_IN = /^node:/;
/** All imports of packages. */
const DEPENDENCY = new RegExp(`^(${DEPENDENCIES.join("|")})`);

async function weigh(what: string, most: number, entry: string, without?: RegExp): Promise<void> {
  const { bytes } = await bundleSize(entry, without);
  console.log(`${kb(bytes)} of ${most} KB: ${what}`);
  assertLessOrEqual(bytes, most * KB);
}

describe("the size of a bundle, minified and gzipped", () => {
  it(`a whole Worker on R2: at most ${WORKER_BUDGET_KB} KB`, () => weigh("a whole Worker", WORKER_BUDGET_KB, WORKER));

  it(`Tundra's own part of it: at most ${OWN_BUDGET_KB} KB`, () =>
    weigh("Tundra's own part", OWN_BUDGET_KB, WORKER, DEPENDENCY));

  it("an entry point, alone: at most what is allowed here, and none is without a limit", async () => {
    assertEquals(Object.keys(ENTRY_POINTS), Object.keys(ENTRY_POINT_LIMITS));
    for (const [name, path] of Object.entries(ENTRY_POINTS)) {
      await weigh(`everything in ${name}`, ENTRY_POINT_LIMITS[name]!, `export * from "${path}"`, BUILT_IN);
    }
  });

  it("a transparent client: at most 12 KB beyond the store", async () => {
    const store = `export { tundraStore } from "./mod.ts";`;
    const [alone, both] = await Promise.all(
      [store, `${store} export { transparentRedis } from "./src/transparent/mod.ts";`].map((entry) =>
        bundleSize(entry)
      ),
    );
    console.log(`${kb(both!.bytes - alone!.bytes)} KB: a transparent client`);
    assertLessOrEqual(both!.bytes - alone!.bytes, 12 * KB);
    assertEquals(Object.keys(alone!.inputs).filter((path) => /transparent|scripts\/command/.test(path)), []);
  });

  it("is mostly that of the client and of Tundra itself; each dependency is what it says here", async () => {
    const whole = await bundleSize(`export * from "./mod.ts"`);
    const shares: Record<string, number> = {};
    for (const name of DEPENDENCIES) {
      const rest = await bundleSize(`export * from "./mod.ts"`, new RegExp(`^${name}`));
      shares[name] = whole.bytes - rest.bytes;
      console.log(`${kb(shares[name])} KB: ${name}`);
      assert(shares[name] > 0.5 * KB, `${name} must be in the bundle`);
    }
    const own = whole.bytes - Object.values(shares).reduce((sum, bytes) => sum + bytes);
    console.log(`${kb(own)} KB: Tundra`);
    assertLess(shares["@upstash/redis"]!, 20 * KB);
    assertLess(shares["cbor-x"]!, 12 * KB);
    const dependencies = new Set(
      Object.keys(whole.inputs).filter((path) => !/^(src|mod|examples)\b|^<stdin>/.test(path))
        .map((path) => path.split("/").slice(0, path.startsWith("@") ? 2 : 1).join("/")),
    );
    assertEquals([...dependencies].sort().filter((name) => name !== "uncrypto"), [...DEPENDENCIES]);
  });
});

describe("large values, the search for lost records, markers, and events", () => {
  it("weigh nothing at the start; one file that holds everything is at most 11 KB larger", async () => {
    const atOnce = await bundleSize(WORKER);
    const all = await bundleSize(WORKER, undefined, true);
    console.log(`${kb(all.bytes)} KB: a whole Worker as one file`);
    assertLess(all.bytes - atOnce.bytes, 11 * KB);
    const isLate = (path: string) => /large|stage|piece|parts|lost_|markers|note_hour|observe/.test(path);
    assertEquals(Object.keys(atOnce.inputs).filter(isLate), []);
    assert(Object.keys(all.inputs).filter(isLate).length > 12);
  });
});

describe("a bundler leaves out", () => {
  const has = ({ inputs }: BundleSize, part: RegExp) => Object.keys(inputs).filter((path) => part.test(path));

  it("S3 and its signatures if an application uses R2", async () => {
    const size = await bundleSize(WORKER);
    assertEquals(has(size, /s3|unstorage|aws4fetch|xml|env\.ts|memory|dynamodb|aes|encrypt|metrics/), []);
    assertEquals(has(size, /datastores\/r2/).length, 1);
  });

  it("R2, adapters, DynamoDB and encryption if an application uses S3", async () => {
    const size = await bundleSize(`export { s3Datastore, tundraStore } from "./mod.ts"`);
    assertEquals(has(size, /r2\.ts|unstorage|adapters|memory|env\.ts|dynamodb|aes|encrypt/), []);
    assertEquals(has(size, /datastores\/s3\/datastore\.ts|aws4fetch/).length, 2);
  });

  it("the store and all dependencies if only an adapter or a helper is used", async () => {
    for (
      const entry of [
        `export { cronHandler } from "./src/adapters/http.ts"`,
        `export { scheduledHandler } from "./src/adapters/cloudflare.ts"`,
        `export { r2Datastore } from "./src/adapters/cloudflare.ts"`,
        `export { toUrlsafe } from "./mod.ts"`,
      ]
    ) {
      const size = await bundleSize(entry);
      assertEquals(has(size, /upstash|scripts|store\.ts|fflate|aws4fetch|cbor|archive/), [], entry);
      assertLess(size.bytes, 3.4 * KB);
    }
  });

  it("nothing that it should keep: every file of a store is in a store's bundle", async () => {
    const { inputs } = await bundleSize(`export { tundraStore } from "./mod.ts"`);
    const files = Object.keys(inputs).map((path) => relative(".", path));
    for (
      const part of [
        "src/store.ts",
        "src/tick/tick.ts",
        "src/scripts/commit.ts",
        "src/upstash/transport.ts",
        "src/ensure.ts",
      ]
    ) {
      assert(files.includes(part), `${part}: ${files}`);
    }
  });
});
