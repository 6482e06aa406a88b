import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { importProblems, lockProblems, type Manifest, manifestProblems } from "../../dev/tools/manifests.ts";
import {
  bareImports,
  fileProblems,
  importCycles,
  importOrderProblems,
  LIMITS,
  NEVER_IMPORTED,
  roomTable,
  sizeProblems,
  type SourceFile,
} from "../support/source_rules.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

function read(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}

function packageFiles(): SourceFile[] {
  const inSrc = readdirSync(join(ROOT, "src"), { recursive: true, encoding: "utf8" }).map((name) => `src/${name}`);
  return ["mod.ts", ...inSrc].filter((path) => path.endsWith(".ts"))
    .map((path) => ({ path, text: read(path) }));
}

/** Imports the modules in a process of this runtime; what they did at import. */
function callsAtImport(folder: string, modules: string[]): string[] {
  const program = join(ROOT, "tests", "support", "import_quietly.ts");
  const { deno, bun } = process.versions;
  const args = deno ? ["run", "-A", "--no-check"] : bun ? ["run"] : ["--import", "tsx"];
  const { status, stdout, stderr } = spawnSync(process.execPath, [...args, program, folder, ...modules], {
    cwd: ROOT,
    encoding: "utf8",
  });
  assertEquals(status, 0, stderr);
  return JSON.parse(stdout);
}

describe("the source of the package", () => {
  it("keeps every rule: rooms, bare imports, no runtime's own globals, time and randomness of the platform, commands in scripts, no any, no default export", () => {
    const files = packageFiles();
    assert(files.length >= 6, `only ${files.length} files found`);
    assertEquals(files.flatMap(fileProblems), []);
  });

  it("has rooms, each of which imports from lower ones only", () => {
    const table = roomTable(packageFiles());
    console.log(table.join("\n"));
    assert(table.length >= 12 && table[0]!.startsWith("src/cli") && table.at(-1)!.startsWith("src/base"));
    assertEquals(sizeProblems(packageFiles()), []);
  });

  it("says of each script what it is given and what it answers", () => {
    const scripts = packageFiles().filter(({ path }) => path.startsWith("src/scripts/"))
      .flatMap(({ path, text }) => text.split("defineScript(").slice(0, -1).map((before) => ({ path, before })));
    assert(scripts.length >= 18, `only ${scripts.length} scripts found`);
    for (const { path, before } of scripts) {
      assertMatch(before, /KEYS {2}\S.*\n[^]*OUT {3}\S[^/]*\*\/\n(export )?const [A-Z_]+ = $/, path);
    }
  });

  it("imports from each module once, in the order of paths", () => {
    assertEquals(packageFiles().flatMap(importOrderProblems), []);
  });

  it("has no circle of imports", () => {
    assertEquals(importCycles(packageFiles()), []);
  });

  it("does nothing at import: no time, timer, randomness or I/O, dependencies included", () => {
    const paths = packageFiles().map(({ path }) => path);
    assert(paths.includes(NEVER_IMPORTED));
    assertEquals(
      callsAtImport(ROOT, paths.filter((path) => path !== NEVER_IMPORTED).map((path) => join(ROOT, path))),
      [],
    );
  });

  it("has manifests that agree", () => {
    const [deno, jsr, npm] = ["deno.json", "jsr.json", "package.json"].map((name): Manifest => JSON.parse(read(name)));
    assertEquals(manifestProblems(deno!, jsr!, npm!), []);
    assertEquals(lockProblems(JSON.parse(read("deno.lock")), npm!), []);
  });

  it("imports from mod.ts and each subpath only what the published manifests declare, and all of it", () => {
    const [jsr, npm] = ["jsr.json", "package.json"].map((name): Manifest => JSON.parse(read(name)));
    const entries = Object.values(jsr!.exports as Record<string, string>).map((path) => path.replace("./", ""));
    assert(entries.length >= 3, String(entries));
    const imports = bareImports(entries, read);
    assertEquals(imports.filter((specifier) => specifier.startsWith("cbor-x")), ["cbor-x/decode", "cbor-x/encode"]);
    assertEquals(importProblems(imports, jsr!, npm!), []);
  });
});

describe("the rules about source", () => {
  const bad: [rule: string, path: string, text: string, sentence: string][] = [
    [
      "a Node built-in",
      "src/x.ts",
      `import { createHash } from "node:crypto";`,
      "imports node:crypto, which is no runtime",
    ],
    ["a Node built-in without prefix", "src/x.ts", `export * from "fs";`, "imports fs, which is no runtime dependency"],
    ["another dependency", "src/x.ts", `import "zod";`, "imports zod, which is no runtime dependency"],
    [
      "cbor-x as a whole, which reads the environment and loads an addon",
      "src/x.ts",
      `import { encode } from "cbor-x";`,
      "imports cbor-x, which is no runtime dependency",
    ],
    ["an npm: specifier", "src/x.ts", `import "npm:fflate";`, "imports npm:fflate"],
    ["a dynamic import", "src/x.ts", `const fs = await import("node:fs");`, "imports node:fs"],
    ["a computed import", "src/x.ts", `await import(name);`, "not a literal"],
    ["an import type", "src/x.ts", `type A = import("node:fs").Stats;`, "imports node:fs"],
    ["Buffer", "src/x.ts", `const b = Buffer.from("a");`, "Buffer exists on some runtimes only"],
    ["Buffer as a type", "src/x.ts", `let b: Buffer;`, "Buffer exists on some runtimes only"],
    ["process", "src/x.ts", `const e = process.env.A;`, "process exists on some runtimes only"],
    ["globalThis.process", "src/x.ts", `(globalThis as { process?: unknown }).process;`, "process exists on some"],
    ["globalThis[process]", "src/x.ts", `globalThis["process"];`, "process exists on some"],
    ["process in env.ts without globalThis", "src/env.ts", `process.env`, "process exists on some"],
    ["Deno", "src/x.ts", `Deno.env.get("A");`, "Deno exists on some runtimes only"],
    ["Bun", "src/x.ts", `const v = Bun.version;`, "Bun exists on some runtimes only"],
    ["require", "src/x.ts", `const x = require("x");`, "require exists on some runtimes only"],
    ["import.meta", "src/x.ts", `import.meta.url`, "import.meta differs"],
    ["Date.now", "src/x.ts", `const t = Date.now();`, "Date.now belongs to src/base/platform.ts"],
    ["Date.now through globalThis", "src/x.ts", `globalThis.Date.now()`, "Date.now belongs to src/base/platform.ts"],
    ["new Date()", "src/x.ts", `const t = new Date();`, "the current date belongs"],
    ["Date()", "src/x.ts", `const t = Date();`, "the current date belongs"],
    ["Math.random", "src/x.ts", `Math.random()`, "Math.random belongs"],
    ["Math.random as a value", "src/x.ts", `const r = Math.random;`, "Math.random belongs"],
    ["crypto.randomUUID", "src/x.ts", `crypto.randomUUID()`, "crypto.randomUUID belongs"],
    ["a digest that a simulation cannot see", "src/x.ts", `crypto.subtle.digest("SHA-1", a)`, "subtle.digest belongs"],
    ["crypto.getRandomValues", "src/x.ts", `globalThis.crypto.getRandomValues(a)`, "crypto.getRandomValues belongs"],
    ["setTimeout", "src/x.ts", `setTimeout(() => {}, 1)`, "setTimeout belongs"],
    ["globalThis.setTimeout", "src/x.ts", `globalThis.setTimeout(f)`, "setTimeout belongs"],
    ["setInterval", "src/x.ts", `setInterval(f)`, "setInterval belongs"],
    ["performance", "src/x.ts", `performance.now()`, "performance belongs"],
    ["AbortSignal.timeout", "src/x.ts", `AbortSignal.timeout(5)`, "AbortSignal.timeout belongs"],
    ["fetch as a method", "src/x.ts", `options.fetch("http://a")`, "fetch called as a method"],
    ["any", "src/x.ts", `export function f(a: any): void {}`, "any is no type"],
    ["any in a cast", "src/x.ts", `const a = b as any;`, "any is no type"],
    ["a default export", "src/x.ts", `export default 1;`, "a default export"],
    ["a default function", "mod.ts", `export default function f(): void {}`, "a default export"],
    ["a default alias", "mod.ts", `const a = 1; export { a as default };`, "a default export"],
    ["an import from dev", "src/x.ts", `import "../dev/a.ts";`, "imports dev/a.ts, which is not published"],
    ["an import from tests", "src/a/x.ts", `import "../../tests/a.ts";`, "imports tests/a.ts, which is not published"],
    ["an import without extension", "src/x.ts", `import "./errors";`, "names no file"],
    [
      "a base that looks up",
      "src/base/keys.ts",
      `import "../store.ts";`,
      "imports src/store.ts, which is no lower room",
    ],
    ["upstash that knows scripts", "src/upstash/a.ts", `import type { A } from "../scripts/a.ts";`, "no lower room"],
    ["upstash that knows the archive", "src/upstash/a.ts", `import "../archive/record.ts";`, "no lower room"],
    ["scripts that know the tick", "src/scripts/a.ts", `import "../tick/tick.ts";`, "no lower room"],
    ["the store that knows adapters", "src/store.ts", `import "./adapters/http.ts";`, "no lower room"],
    [
      "a tick that knows the store",
      "src/tick/tick.ts",
      `import "../store.ts";`,
      "imports src/store.ts, which is no lower",
    ],
    [
      "anyone who imports the facade",
      "src/store.ts",
      `export { a } from "../mod.ts";`,
      "imports mod.ts, which is no lower",
    ],
    [
      "the store that knows the servers for tests",
      "src/store.ts",
      `import "./testing/s3.ts";`,
      "which is no lower room",
    ],
    ["an adapter that knows them", "src/adapters/a.ts", `import "../testing/s3.ts";`, "which is no lower room"],
    ["the facade that knows them", "mod.ts", `export * from "./src/testing/local_stack.ts";`, "no lower room"],
    ["servers for tests that import a development tool", "src/testing/a.ts", `import "esbuild";`, "imports esbuild"],
    ["servers for tests that import from dev", "src/testing/a.ts", `import "../../dev/a.ts";`, "is not published"],
    ["an operation that knows the command line", "src/operations/a.ts", `import "../cli/run.ts";`, "no lower room"],
    ["servers for tests that know it", "src/testing/a.ts", `import "../cli/run.ts";`, "no lower room"],
    ["a command that sends a command", "src/cli/a.ts", `await connection.command([]);`, "belongs to src/scripts"],
    ["a command that imports by a name", "src/cli/a.ts", `await import(name);`, "not a literal"],
    ["a command that looks if it is the program", "src/cli/a.ts", `import.meta.main;`, "import.meta differs"],
    ["any in the command line", "src/cli/a.ts", `let a: any;`, "any is no type"],
    ["any in servers for tests", "src/testing/a.ts", `let a: any;`, "any is no type"],
    ["a command without a script", "src/tick/a.ts", `await connection.command(["TIME"]);`, "belongs to src/scripts"],
    ["a pipeline", "src/core/a.ts", `const all = await context["connection"].pipeline([]);`, "belongs to src/scripts"],
    ["a transaction", "src/a.ts", `const { multi } = connection;`, "belongs to src/scripts"],
    ["the helper that sends one", "src/a.ts", `import { ask } from "./upstash/script.ts";`, "belongs to src/scripts"],
    ["the same, renamed", "src/a.ts", `import { results as r } from "./upstash/script.ts";`, "belongs to src/scripts"],
    ["a docstring that asks", "src/a.ts", `/** Is it there? */\nconst a = 1;`, "a docstring begins with Is"],
    ["one of several lines", "src/a.ts", `/**\n * How it works.\n */\nconst a = 1;`, "a docstring begins with How"],
    ["a room without a declaration", "src/new/a.ts", `import "../errors.ts";`, "which is no lower room"],
  ];
  for (const [rule, path, text, sentence] of bad) {
    it(`refuse ${rule}`, () => {
      const problems = fileProblems({ path, text });
      assertStringIncludes(problems.join("\n"), sentence);
      assertStringIncludes(problems[0]!, `${path}:1: `);
    });
  }

  it("leave alone what only looks like it: comments, strings, members, types, lower rooms, src/base/platform.ts", () => {
    const good: [path: string, text: string][] = [
      [
        "src/x.ts",
        `// How process.env, Date.now(), any\n/** Isolates a Buffer. What is it? */ const a = "setTimeout(Deno)";`,
      ],
      ["src/x.ts", `const o = { process: 1 }; o.process; interface A { Buffer: number; Deno(): void }`],
      ["src/x.ts", `new Date(5); const { process: p } = o; f(fetch); const send = options.fetch; send("http://a");`],
      ["src/x.ts", `crypto.subtle.encrypt(a, b, c); Math.max(1); Date.UTC(1, 2);`],
      ["src/base/platform.ts", `Date.now(); Math.random(); setTimeout(f); performance.now(); crypto.randomUUID();`],
      ["src/env.ts", `(globalThis as { process?: { env: unknown } }).process?.env;`],
      ["src/archive/a.ts", `import type { Datastore } from "../datastores/datastore.ts"; import "./b.ts";`],
      ["src/scripts/a.ts", `import "../upstash/a.ts"; import "../base/errors.ts";`],
      ["src/tick/tick.ts", `import "../scripts/a.ts"; import "./freeze.ts"; import { Redis } from "@upstash/redis";`],
      ["src/adapters/a.ts", `import "../tick/tick.ts"; import "../datastores/r2.ts"; import "fflate";`],
      ["src/datastores/s3/a.ts", `import "../names.ts"; import "../../base/errors.ts";`],
      ["src/scripts/a.ts", `import { ask } from "../upstash/script.ts"; await connection.pipeline([]);`],
      ["src/adapters/a.ts", `store.redis.pipelined; const command = { multi: 1 }; entry.command; ask();`],
      ["src/testing/a.ts", `import { Buffer } from "node:buffer"; import "./s3.ts"; Buffer.alloc(1); Date.now();`],
      ["src/cli/a.ts", `import process from "node:process"; import "../operations/a.ts"; process.exit(); Date.now();`],
      ["src/cli/mod.ts", `if (import.meta.main) run();`],
      ["src/cli/load_module.ts", `await import(name);`],
      ["mod.ts", `export * from "./src/tick/tick.ts"; export { a } from "./src/adapters/a.ts";`],
    ];
    for (const [path, text] of good) assertEquals(fileProblems({ path, text }), [], text);
  });

  it("name files and functions that are too long, and files that lie loose", () => {
    const lines = (n: number) => "\n".repeat(n);
    const { fileLines, functionLines, looseFiles } = LIMITS;
    const loose = Array.from({ length: looseFiles }, (_, i) => ({ path: `src/${i}.ts`, text: "" }));
    const long = { path: "src/a/b.ts", text: `\nconst f = () => {${lines(functionLines - 1)}};${lines(fileLines)}` };
    assertEquals(sizeProblems([...loose, { path: "src/a/b.ts", text: lines(fileLines) }]), []);
    assertEquals(sizeProblems([...loose, { path: "src/b.ts", text: "" }]), [`src: ${looseFiles + 1} files lie in it`]);
    assertEquals(sizeProblems([{ ...long, text: long.text.replace("};", "\n};") }]), [
      `src/a/b.ts: ${fileLines + functionLines + 1} lines`,
      `src/a/b.ts:2: a function of ${functionLines + 1} lines`,
    ]);
  });

  it("name imports from one module, and those out of order", () => {
    const text = `import "x"; import "../../b.ts"; import "../a.ts"; import "./c/a.ts"; import "./b.ts"; import "x";`;
    assertEquals(importOrderProblems({ path: "src/a.ts", text }), [
      "src/a.ts: imports from x twice",
      "src/a.ts: the import from ./b.ts stands too late",
    ]);
  });

  it("print the rooms, the highest first, with what each imports from", () => {
    const table = roomTable([
      { path: "src/base/a.ts", text: "" },
      { path: "src/datastores/s3/b.ts", text: `import "../c.ts";\nimport "../../base/a.ts";\n` },
    ]);
    assertEquals(table.length, 2);
    assertMatch(table[0]!, /^src\/datastores +layer 1 +1 files +2 lines +-> src\/base$/);
    assertMatch(table[1]!, /^src\/base +layer 0 +1 files +0 lines +-> $/);
  });

  it("name a circle of imports, and the line of a problem", () => {
    const files = [
      { path: "src/a.ts", text: `import "./b.ts";` },
      { path: "src/b.ts", text: `import type { C } from "./c.ts";` },
      { path: "src/c.ts", text: `export * from "./b.ts"; import "./d.ts";` },
      { path: "src/d.ts", text: `` },
    ];
    assertEquals(importCycles(files), ["src/b.ts -> src/c.ts -> src/b.ts"]);
    assertEquals(importCycles(files.slice(0, 2)), []);
    assertEquals(fileProblems({ path: "src/x.ts", text: "\n\nlet a: any;" }), ["src/x.ts:3: any is no type"]);
  });

  it("see what a module does at import, also in a module that it imports", () => {
    const folder = mkdtempSync(join(tmpdir(), "tundra-import-"));
    const file = (name: string, text: string): string => {
      writeFileSync(join(folder, name), text);
      return join(folder, name);
    };
    try {
      const quiet = file("quiet.mjs", "export const later = () => Date.now(); export const a = Math.max(1, 2);");
      assertEquals(callsAtImport(folder, [quiet]), []);
      file("inner.mjs", "export const seed = Math.random();");
      for (
        const [call, text] of [
          ["Date.now", "export const t = Date.now();"],
          ["Math.random", `export { seed } from "./inner.mjs";`],
          ["setTimeout", "setTimeout(() => {}, 1);"],
          ["crypto.randomUUID", "crypto.randomUUID();"],
          ["crypto.getRandomValues", "crypto.getRandomValues(new Uint8Array(1));"],
          ["performance.now", "performance.now();"],
          ["fetch", `fetch("data:,x").catch(() => {});`],
        ] as const
      ) {
        const calls = callsAtImport(folder, [file("loud.mjs", text)]);
        assertEquals(calls[0]?.split(" ")[0], call); // Node's fetch itself looks at the time: what it calls comes after
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe("the rules about manifests", () => {
  const imports = {
    "@std/assert": "jsr:@std/assert@^1",
    "fflate": "npm:fflate@^1",
    "@noble/hashes/legacy": "npm:@noble/hashes@^1/legacy",
    "cbor-x/encode": "npm:cbor-x@^1/encode",
    "aws4fetch/part": "npm:aws4fetch@^1/part",
  };
  const deno: Manifest = { name: "@a/b", version: "1.0.0", license: "MIT", exports: "./mod.ts", publish: {}, imports };
  const dependencies = {
    "@noble/hashes": "^1",
    "@upstash/redis": "^1.2.3",
    "aws4fetch": "^1",
    "cbor-x": "^1",
    "fflate": "^1",
  };
  const exports = { ".": { types: "./dist/mod.d.ts", default: "./dist/mod.js" } };
  const devDependencies = { "upstash-redis-oldest": "npm:@upstash/redis@1.2.3" };
  const npm: Manifest = { name: "@a/b", version: "1.0.0", license: "MIT", exports, dependencies, devDependencies };

  it("accept manifests that agree", () => {
    assertEquals(manifestProblems({ ...deno, tasks: {} }, deno, npm), []);
  });

  const cases: [what: string, jsr: Manifest, npm: Manifest, sentence: string][] = [
    ["another version in jsr.json", { ...deno, version: "1.0.1" }, npm, "version of deno.json and jsr.json"],
    ["another version in package.json", deno, { ...npm, version: "2.0.0" }, "version of deno.json and package.json"],
    ["another name", { ...deno, name: "@a/c" }, npm, "name of deno.json and jsr.json"],
    ["an export that JSR lacks", { ...deno, exports: {} }, npm, "exports of deno.json and jsr.json"],
    ["other files to publish", { ...deno, publish: { include: [] } }, npm, "publish of deno.json and jsr.json"],
    ["other imports", { ...deno, imports: {} }, npm, "imports of deno.json and jsr.json"],
    ["a field that nobody compares", { ...deno, tasks: {} }, npm, "jsr.json has tasks"],
    [
      "an export that npm lacks",
      deno,
      { ...npm, exports: {} },
      "exports of deno.json, built, and those of package.json",
    ],
    ["another dependency", deno, { ...npm, dependencies: { ...dependencies, zod: "^1" } }, "those allowed"],
    [
      "a client that is pinned",
      deno,
      { ...npm, dependencies: { ...dependencies, "@upstash/redis": "~1.2.3" } },
      "~1.2.3 is no ^x.y.z",
    ],
    ["another oldest client", deno, { ...npm, devDependencies: {} }, "upstash-redis-oldest and the lowest"],
    ["another range", deno, { ...npm, dependencies: { ...dependencies, fflate: "^2" } }, "the range of fflate"],
  ];
  for (const [what, jsr, packageJson, sentence] of cases) {
    it(`refuse ${what}`, () => {
      assertStringIncludes(manifestProblems(deno, jsr, packageJson).join("\n"), sentence);
    });
  }

  it("refuse an import that no manifest declares, a subpath too, and a dependency that nothing imports", () => {
    const all = ["@noble/hashes/legacy", "@upstash/redis", "aws4fetch/part", "cbor-x/encode", "fflate"];
    const jsr = { ...deno, imports: { ...imports, "@upstash/redis": "npm:@upstash/redis@^1" } };
    assertEquals(importProblems(all, jsr, npm), []);
    assertEquals(importProblems(all, deno, npm), ["jsr.json declares no @upstash/redis"]);
    assertEquals(importProblems([...all, "cbor-x/decode"], jsr, npm), ["jsr.json declares no cbor-x/decode"]);
    assertEquals(importProblems(all, jsr, { ...npm, dependencies: { ...dependencies, zod: "^1" } }), [
      "nothing imports zod",
    ]);
    assertEquals(importProblems([...all, "zod/mini"], jsr, npm), [
      "jsr.json declares no zod/mini",
      "package.json declares no zod",
    ]);
  });

  it("refuse a lock that holds one client only", () => {
    const lock = (newest: string, oldest?: string) => ({
      specifiers: { "npm:@upstash/redis@^1.2.3": newest, ...(oldest && { "npm:@upstash/redis@1.2.3": oldest }) },
    });
    assertEquals(lockProblems(lock("1.9.0", "1.2.3"), npm), []);
    assertStringIncludes(
      lockProblems(lock("1.2.3", "1.2.3"), npm).join(),
      "deno.lock has 1.2.3 for @upstash/redis ^1.2.3",
    );
    assertStringIncludes(lockProblems(lock("1.9.0"), npm).join(), "deno.lock has undefined for the oldest");
  });

  it("refuse an import that is mapped to another package", () => {
    const wrong = { ...deno, imports: { fflate: "npm:pako@^1" } };
    assertStringIncludes(manifestProblems(wrong, wrong, npm).join("\n"), "the specifier of npm:pako@^1 in deno.json");
  });
});
