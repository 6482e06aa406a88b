/** What an application carries: the sizes of bundles, and that unused parts stay out of them. */
import { describe, it } from "node:test";
import { relative } from "node:path";
import { assert, assertEquals, assertLess, assertLessOrEqual } from "@std/assert";
import { type BundleSize, bundleSize, WORKER, WORKER_BUDGET_KB } from "../../dev/bundle.ts";
import { DEPENDENCIES } from "../../dev/manifests.ts";

const KB = 1024;

const kb = (bytes: number) => (bytes / KB).toFixed(1).padStart(5);

/**
 * In KB (1,024 bytes), with all dependencies. 45 for a whole Worker is the budget; the others are what was measured, and
 * a little, so that nothing grows unseen: lower them when something gets smaller.
 */
const LIMITS: [what: string, entry: string, most: number][] = [
  ["a whole Worker (examples/cloudflare-worker)", WORKER, WORKER_BUDGET_KB],
  ["a whole application on S3: tundraFromEnv()", `export { tundraFromEnv } from "./mod.ts"`, 51],
  ["everything in mod.ts", `export * from "./mod.ts"`, 51],
  ["everything in cloudflare.ts", `export * from "./src/adapters/cloudflare.ts"`, 3.5],
  ["everything in http.ts", `export * from "./src/adapters/http.ts"`, 2.5],
];

describe("the size of a bundle, minified and gzipped", () => {
  for (const [what, entry, most] of LIMITS) {
    it(`${what}: at most ${most} KB`, async () => {
      const { bytes } = await bundleSize(entry);
      console.log(`${kb(bytes)} of ${most} KB: ${what}`);
      assertLessOrEqual(bytes, most * KB);
    });
  }

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
    assertLess(shares["@upstash/redis"]!, 14 * KB);
    const dependencies = new Set(
      Object.keys(whole.inputs).filter((path) => !/^(src|mod|examples)\b|^<stdin>/.test(path))
        .map((path) => path.split("/").slice(0, path.startsWith("@") ? 2 : 1).join("/")),
    );
    assertEquals([...dependencies].sort().filter((name) => name !== "uncrypto"), [...DEPENDENCIES]);
  });
});

describe("a bundler leaves out", () => {
  const has = ({ inputs }: BundleSize, part: RegExp) => Object.keys(inputs).filter((path) => part.test(path));

  it("S3 and its signatures where an application uses R2", async () => {
    const size = await bundleSize(WORKER);
    assertEquals(has(size, /s3|aws4fetch|xml|env\.ts|memory|dynamodb|aes|encrypt/), []);
    assertEquals(has(size, /datastores\/r2/).length, 1);
  });

  it("R2, adapters, DynamoDB and encryption where an application uses S3", async () => {
    const size = await bundleSize(`export { s3Datastore, tundraStore } from "./mod.ts"`);
    assertEquals(has(size, /r2\.ts|adapters|memory|env\.ts|dynamodb|aes|encrypt/), []);
    assertEquals(has(size, /datastores\/s3\.ts|aws4fetch/).length, 2);
  });

  it("the store and all dependencies where only an adapter or a helper is used", async () => {
    for (
      const entry of [
        `export { cronHandler } from "./src/adapters/http.ts"`,
        `export { scheduledHandler } from "./src/adapters/cloudflare.ts"`,
        `export { r2Datastore } from "./src/adapters/cloudflare.ts"`,
        `export { toUrlsafe } from "./mod.ts"`,
      ]
    ) {
      const size = await bundleSize(entry);
      assertEquals(has(size, /upstash|scripts|store\.ts|fflate|aws4fetch|archive/), [], entry);
      assertLess(size.bytes, 3 * KB);
    }
  });

  it("nothing that it should keep: every file of a store is in a store's bundle", async () => {
    const { inputs } = await bundleSize(`export { tundraStore } from "./mod.ts"`);
    const files = Object.keys(inputs).map((path) => relative(".", path));
    for (
      const part of ["src/store.ts", "src/tick.ts", "src/scripts/commit.ts", "src/upstash/http.ts", "src/ensure.ts"]
    ) {
      assert(files.includes(part), `${part}: ${files}`);
    }
  });
});
