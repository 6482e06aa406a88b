/**
 * `deno task check`: everything that can be known without running the tests. Runs every step, says how long each took,
 * and exits with 1 if one of them failed.
 * @module
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { type DocJson, documentationProblems, lintProblems } from "./documentation.ts";
import { lockProblems, manifestProblems } from "./manifests.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const deno = process.versions.deno ? process.execPath : "deno";

function run(...args: string[]): boolean {
  return spawnSync(deno, args, { cwd: ROOT, stdio: ["ignore", "inherit", "inherit"] }).status === 0;
}

function output(...args: string[]): string {
  const { stdout, stderr } = spawnSync(deno, args, { cwd: ROOT, encoding: "utf8", maxBuffer: 64 * 1024 ** 2 });
  return stdout || stderr;
}

function manifest(name: string): Record<string, unknown> {
  return JSON.parse(readFileSync(join(ROOT, name), "utf8"));
}

function present(...paths: string[]): string[] {
  return paths.filter((path) => existsSync(join(ROOT, path)));
}

/** `deno check` with the lowest `@upstash/redis` of the range instead of the newest. */
function checkOldest(): boolean {
  const imports = { ...manifest("deno.json").imports as Record<string, string> };
  imports["@upstash/redis"] = imports["@upstash/redis"]!.replace("@^", "@");
  const folder = mkdtempSync(join(tmpdir(), "tundra-check-"));
  const map = join(folder, "imports.json");
  writeFileSync(map, JSON.stringify({ imports }));
  const good = run("check", "--quiet", `--import-map=${map}`, ...frozen, "mod.ts", ...entries);
  rmSync(folder, { recursive: true });
  return good;
}

const entries = Object.values(manifest("deno.json").exports as Record<string, string>);
const frozen = process.env.CI ? ["--frozen"] : [];

const steps: Record<string, () => boolean> = {
  "dependencies": () => run("install", "--quiet", ...frozen),
  "types": () => run("check", "--quiet", ...present("mod.ts", "src", "dev", "tests", "bench", "examples")),
  "types of the examples in docstrings, README and docs": () =>
    run("check", "--quiet", "--doc", ...present("mod.ts", "src", "README.md", "docs")),
  "types of the public API, as tsc sees them": () =>
    run("run", "--allow-all", "--no-check", "node_modules/typescript/bin/tsc", "--project", "tests/types"),
  "types with the oldest @upstash/redis": checkOldest,
  "lint": () => run("lint"),
  "format": () => run("fmt", "--check"),
  "manifests": () => {
    const npm = manifest("package.json");
    const problems = [
      ...manifestProblems(manifest("deno.json"), manifest("jsr.json"), npm),
      ...lockProblems(manifest("deno.lock"), npm),
    ];
    for (const problem of problems) console.error(problem);
    return problems.length === 0;
  },
  "examples in docstrings run": () =>
    run("test", "--quiet", "--doc", "--reporter=dot", "-A", ...frozen, ...present("mod.ts", "src")),
  "documentation": () => {
    const { problems, share } = documentationProblems(JSON.parse(output("doc", "--json", ...entries)) as DocJson);
    problems.push(...lintProblems(output("doc", "--lint", ...entries), ["Redis"]));
    for (const problem of problems) console.error(problem);
    console.log(`       ${entries.length} entry points, ${(share * 100).toFixed(0)} % of their symbols described`);
    return problems.length === 0;
  },
  "slow types and publishing": () => run("publish", "--dry-run", "--allow-dirty", "--quiet"),
};

const failed: string[] = [];
for (const [name, step] of Object.entries(steps)) {
  const from = performance.now();
  const good = step();
  if (!good) failed.push(name);
  console.log(`${good ? "ok    " : "FAILED"} ${name}, ${((performance.now() - from) / 1000).toFixed(1)} s`);
}
if (failed.length > 0) {
  console.error(`Checks failed: ${failed.join(", ")}`);
  process.exitCode = 1;
}
