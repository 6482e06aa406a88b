/** The package as its users get it: from npm in an empty project, and what JSR would take. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { pathToFileURL } from "node:url";
import { stripVTControlCharacters } from "node:util";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { build } from "../../dev/tools/build.ts";
import { storeEnvironment } from "../../src/testing/environment.ts";
import { BUCKET, withArchive } from "../support/fixtures.ts";
import { run } from "./run.ts";
import { bin, installTools, ROOT, TOOLS } from "./tools.ts";

const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));

/** The first example of the README, as it stands there. */
function readmeExample(): string {
  const example = /```ts\n(.*?)```/s.exec(readFileSync(join(ROOT, "README.md"), "utf8"))?.[1] ?? "";
  assertStringIncludes(example, 'from "@tundra/store"');
  return example;
}

describe("the npm package", () => {
  const stack = withArchive();
  let folder: string;
  let tarball: string;
  let files: string[];

  before(async () => {
    installTools();
    build();
    folder = mkdtempSync(join(tmpdir(), "tundra-package-"));
    const packing = await run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], ROOT);
    const packed = JSON.parse(/^\[.*^\]/ms.exec(packing)![0]);
    tarball = join(folder, packed[0].filename);
    files = packed[0].files.map((file: { path: string }) => file.path);
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  const environment = () => storeEnvironment(stack.connection, stack.s3, BUCKET);

  /** A project with nothing in it but the package. */
  function project(name: string): string {
    const path = join(folder, name);
    mkdirSync(path);
    writeFileSync(join(path, "package.json"), JSON.stringify({ name, private: true, type: "module" }));
    return path;
  }

  it("holds what is built, documents and licence, and nothing else", () => {
    const others = files.filter((file) => !/^dist\/(mod|src\/[a-z0-9_/]+)\.(js|d\.ts)$/.test(file)).sort();
    const documents = ["CHANGELOG.md", "LICENSE", "README.md", "docs/PROTOCOL.md", "package.json"];
    assertEquals(others, documents.filter((file) => existsSync(join(ROOT, file))));
    for (const { types, default: code } of Object.values<Record<string, string>>(manifest.exports)) {
      for (const file of [types, code]) assert(files.includes(file!.slice(2)), `${file} must be in the package`);
    }
    const program = manifest.bin.tundra.slice(2);
    assert(files.includes(program), `${program} must be in the package`);
    assertMatch(readFileSync(join(ROOT, program), "utf8"), /^#!\/usr\/bin\/env node\n/);
  });

  it("imports JavaScript only, from files that are in it", () => {
    let imports = 0;
    for (const file of files.filter((file) => /\.(js|d\.ts)$/.test(file))) {
      const text = readFileSync(join(ROOT, file), "utf8").replace(/^\s*\*.*$/gm, "");
      for (const [, target] of text.matchAll(/(?:from|import) ?\(?"(\.[^"]+)"/g)) {
        const path = join(file, "..", target!).replace(/\\/g, "/");
        assertMatch(path, /\.js$/);
        assert(files.includes(path), `${file} imports ${target}`);
        imports++;
      }
    }
    assert(imports > 100, String(imports));
  });

  it("says in package.json what it is", () => {
    assert(manifest.description.length > 20 && manifest.license === "MIT" && manifest.type === "module");
    // operations make themselves known to ticks when they are imported
    assertEquals([manifest.sideEffects, manifest.private], [["./dist/src/operations/*.js"], undefined]);
    assertEquals(manifest.bin, { tundra: "./dist/src/cli/bin.js" });
    assertEquals(Object.keys(manifest.exports), [
      ...[
        ".",
        "./cli",
        "./cloudflare",
        "./dynamodb",
        "./encryption",
        "./http",
        "./metrics",
        "./operations",
        "./page",
        "./testing",
        "./transparent",
        "./unstorage",
      ],
    ]);
  });

  for (
    const [name, install, start] of [
      ["node", ["npm", "install", "--no-fund", "--no-audit", "--loglevel=error"], ["node", "example.mjs"]],
      ["bun", [bin("bun"), "add"], [bin("bun"), "run", "example.ts"]],
    ] as const
  ) {
    it(`installed in an empty ${name} project runs the README's example`, async () => {
      await stack.flush();
      const path = project(`on-${name}`);
      await run(install[0], [...install.slice(1), tarball], path);
      writeFileSync(join(path, start.at(-1)!), readmeExample());
      await run(start[0], start.slice(1), path, environment());
      assertEquals(String(await stack.raw("HGET", "cart:7", "apples")), "1");
      assertEquals(stack.objectNames().filter((object) => object.startsWith("default/cart.3A7/")).length, 1);
      assertEquals((await stack.record("cart:7"))?.rev, 0);

      const life = `
        import { tundraFromEnv } from "@tundra/store";
        import { cronHandler } from "@tundra/store/http";
        import { r2Datastore, scheduledHandler } from "@tundra/store/cloudflare";
        const store = tundraFromEnv();
        const { evicted } = await store.evict("cart:7");
        const gone = await store.redis.exists("cart:7");
        await store.ensureKs("cart:7");
        const back = await store.redis.hgetall("cart:7");
        await store.redis.del("cart:7");
        await store.dirty({ missing: "del" }, "cart:7");
        const { missing } = await store.tick();
        await store.del("cart:7");
        const kinds = [cronHandler, r2Datastore, scheduledHandler].map((each) => typeof each);
        console.log(JSON.stringify({ evicted, gone, back, missing, kinds }));`;
      writeFileSync(join(path, "life.mjs"), life);
      const output = await run(start[0], [...start.slice(1, -1), "life.mjs"], path, environment());
      assertEquals(JSON.parse(/^\{.*\}$/m.exec(output)![0]), {
        evicted: ["cart:7"],
        gone: 0,
        back: { apples: 1 },
        missing: 1,
        kinds: ["function", "function", "function"],
      });

      const program = join("node_modules", ".bin", "tundra");
      const status = await run(start[0], [...start.slice(1, -1), program, "status", "--json"], path, environment());
      assertEquals(JSON.parse(/^\{[^]*^\}/m.exec(status)![0]).totals.frozen, 1);

      const own = `
        import { s3Datastore, tundraFromEnv, tundraStore } from "@tundra/store";
        import { localStack } from "@tundra/store/testing";
        const stack = await localStack();
        const store = tundraStore(s3Datastore(stack.s3), { redis: stack.redis });
        await store.redis.set("page:1", "Hello");
        await store.dirty("page:1");
        await store.tick();
        const { evicted } = await store.evict("page:1");
        await tundraFromEnv(stack.env).ensureKs("page:1");
        console.log(JSON.stringify({ evicted, back: await store.redis.get("page:1") }));
        await stack.stop();`;
      writeFileSync(join(path, "own.mjs"), own);
      const said = await run(start[0], [...start.slice(1, -1), "own.mjs"], path);
      assertEquals(JSON.parse(/^\{.*\}$/m.exec(said)![0]), { evicted: ["page:1"], back: "Hello" });
    });
  }

  it("installed from git is built: what is committed here", async () => {
    const path = project("from-git");
    const repository = `git+${pathToFileURL(ROOT).href.replace(/\/$/, "")}`;
    await run("npm", ["install", "--no-fund", "--no-audit", "--loglevel=error", repository], path, {}, 300_000);
    const code = `
      import * as mod from "@tundra/store";
      import { r2Datastore } from "@tundra/store/cloudflare";
      import { cronHandler } from "@tundra/store/http";
      console.log([mod.tundraStore, mod.tundraFromEnv, r2Datastore, cronHandler].map((each) => typeof each).join());`;
    writeFileSync(join(path, "imports.mjs"), code);
    assertStringIncludes(await run("node", ["imports.mjs"], path), "function,function,function,function");
  });

  const range: string = manifest.dependencies["@upstash/redis"];
  const locked: Record<string, string> = JSON.parse(readFileSync(join(ROOT, "deno.lock"), "utf8")).specifiers;
  const newest = locked[`npm:@upstash/redis@${range}`]!;
  for (const version of [range.slice(1), newest]) {
    it(`in an application that has @upstash/redis ${version} leaves it with that one copy, and one type Redis`, async () => {
      const path = project(`beside-${version}`);
      const ignoreErrors = ["--no-fund", "--no-audit", "--loglevel=error", "--save-exact"];
      await run("npm", ["install", ...ignoreErrors, `@upstash/redis@${version}`], path);
      await run("npm", ["install", ...ignoreErrors, tarball], path);
      const installed = readdirSync(join(path, "node_modules"), { recursive: true, encoding: "utf8" });
      const copies = installed.filter((name) => /(^|\/)@upstash\/redis\/package\.json$/.test(name));
      assertEquals(copies, ["@upstash/redis/package.json"]);
      const copy = JSON.parse(readFileSync(join(path, "node_modules", copies[0]!), "utf8"));
      assertEquals(copy.version.replace("v", ""), version);

      const application = `
        import { Redis } from "@upstash/redis";
        import { memoryDatastore, tundraStore } from "@tundra/store";
        const own = new Redis({ url: "http://redis.example", token: "token" });
        const store = tundraStore(memoryDatastore(), { redis: { url: "http://redis.example", token: "token" } });`;
      writeFileSync(
        join(path, "typed.ts"),
        application + `
        export const theirs: Redis = store.redis;
        export const ours: typeof store.redis = own;
        export const marked = (key: string) => store.dirtyIn(own.multi().set(key, 1), key);`,
      );
      const compiler = join(ROOT, "node_modules", "typescript", "bin", "tsc");
      await run("node", [
        ...[compiler, "--noEmit", "--strict", "--target", "ES2022", "--lib", "ES2024,DOM,DOM.Iterable"],
        ...["--module", "NodeNext", "--moduleResolution", "NodeNext", "typed.ts"],
      ], path);
      writeFileSync(join(path, "same.mjs"), application + `console.log(store.redis instanceof Redis);`);
      assertEquals((await run("node", ["same.mjs"], path)).trim(), "true");
    });
  }

  it("brings types that a strict compiler accepts, under both ways to resolve modules", async () => {
    const path = join(folder, "on-node");
    writeFileSync(
      join(path, "example.ts"),
      readmeExample() + `
        import { cronHandler } from "@tundra/store/http";
        import { type R2BucketLike, r2Datastore } from "@tundra/store/cloudflare";
        import { type LocalStack, localStack } from "@tundra/store/testing";
        export const stack: Promise<LocalStack> = localStack({ ports: { redis: 6380 } });
        export const handle: (request: Request) => Promise<Response> = cronHandler(store, { secret: "x".repeat(16) });
        export const archive = (bucket: R2BucketLike) => r2Datastore(bucket);
        // @ts-expect-error a tick has no such option
        await store.tick({ maxKey: 1 });`,
    );
    const compiler = join(ROOT, "node_modules", "typescript", "bin", "tsc");
    for (const [module, resolution] of [["NodeNext", "NodeNext"], ["ESNext", "Bundler"]] as const) {
      await run("node", [
        ...[compiler, "--noEmit", "--strict", "--target", "ES2022", "--lib", "ES2024,DOM,DOM.Iterable"],
        ...["--module", module, "--moduleResolution", resolution, "example.ts"],
      ], path);
    }
  });
});

describe("a fresh clone", () => {
  it("installs without a warning of the package manager, so that the demo's first line is its own", async () => {
    const folder = mkdtempSync(join(tmpdir(), "tundra-clone-"));
    try {
      await run("git", ["clone", "--quiet", "--no-tags", pathToFileURL(ROOT).href, folder], ROOT);
      const output = await run(bin("deno"), ["install"], folder);
      assertEquals(/^.*(warning|ignored).*$/im.exec(output)?.[0], undefined);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

describe("publishing on JSR", () => {
  it("jsr publish --dry-run takes every entry point, without slow types", async () => {
    const deno = join(TOOLS, "node_modules", "deno", "deno");
    assert(existsSync(deno), `${deno} must be installed`);
    const coloured = await run(bin("jsr"), ["publish", "--dry-run", "--allow-dirty"], ROOT, { DENO_BIN_PATH: deno });
    const output = stripVTControlCharacters(coloured);
    assertStringIncludes(output, "Dry run complete");
    // a store of a person's own is known by name only when the command line runs
    const known = /warning\[unanalyzable-dynamic-import\]: .*\s+--> \S+\/src\/cli\/load_module\.ts:/;
    assertMatch(output, known);
    const rest = output.replace(known, "").replaceAll(/file:.*/g, "");
    assertEquals(/(warning|error|slow-type)\[?.*/i.exec(rest)?.[0], undefined);
    const published = output.split("\n").filter((line) => line.includes("file://")).map((line) =>
      line.trim().replace(pathToFileURL(ROOT).href, "").replace(/ \(.*/, "")
    );
    for (const wanted of ["mod.ts", "src/adapters/http.ts", "src/adapters/cloudflare.ts", "README.md", "LICENSE"]) {
      assert(published.includes(wanted), `${wanted} must be published: ${published}`);
    }
    assertEquals(
      published.filter((file) =>
        !/^(mod\.ts|src\/.*\.ts|(deno|jsr)\.json|README\.md|LICENSE|CHANGELOG\.md|docs\/PROTOCOL\.md)$/.test(file)
      ),
      [],
    );
  });
});
