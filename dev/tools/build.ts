/**
 * `deno task build [--unless-built]`: the npm package in dist/, ES modules and their types, a file for each source file,
 * so that a bundler keeps only what an application uses.
 * @module
 */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const DIST = join(ROOT, "dist");
const NEW = join(ROOT, "dist.new");

/** Builds dist/, all of it or nothing; the command-line compiler says what is wrong with the types. */
export function build(): void {
  for (const folder of [DIST, NEW]) rmSync(folder, { recursive: true, force: true });
  const manifest = JSON.parse(readFileSync(join(ROOT, "deno.json"), "utf8"));
  const entries = Object.values(manifest.exports as Record<string, string>);
  const { bin } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { bin: Record<string, string> };
  entries.push(...Object.values(bin).map((path) => path.replace("./dist/", "./").replace(/\.js$/, ".ts")));
  const options = [
    ...["--outDir", "dist.new", "--rootDir", ".", "--noEmit", "false", "--declaration", "--skipLibCheck"],
    ...[
      "--target",
      "ES2022",
      "--lib",
      "ES2024,DOM,DOM.Iterable",
      "--module",
      "ESNext",
      "--moduleResolution",
      "Bundler",
    ],
    ...["--strict", "--rewriteRelativeImportExtensions"],
  ];
  const compiler = join(ROOT, "node_modules", "typescript", "bin", "tsc");
  const command = process.versions.deno ? ["run", "-A", compiler] : [compiler];
  const { status } = spawnSync(process.execPath, [...command, ...options, ...entries], { cwd: ROOT, stdio: "inherit" });
  if (status !== 0) throw new Error(`Cannot build: the compiler ended with ${status}`);
  for (const name of readdirSync(NEW, { recursive: true, encoding: "utf8" })) {
    const path = join(NEW, name);
    if (name.endsWith(".d.ts")) writeFileSync(path, importsOfJavaScript(readFileSync(path, "utf8")));
  }
  renameSync(NEW, DIST);
}

/** True if nothing is newer than dist/ that it is built from, files that are gone included: their folder is. */
function isBuilt(): boolean {
  if (!existsSync(DIST)) return false;
  const sources = readdirSync(join(ROOT, "src"), { recursive: true, encoding: "utf8" }).map((name) =>
    join("src", name)
  );
  const { mtimeMs } = statSync(join(DIST, "mod.js"));
  return ["mod.ts", "src", "deno.json", "package.json", "dev/tools/build.ts", ...sources]
    .every((name) => statSync(join(ROOT, name)).mtimeMs < mtimeMs);
}

/** The compiler rewrites the imports of code, but not those of declarations. */
function importsOfJavaScript(text: string): string {
  return text.replace(/((?:from|import) ?\(?")(\.{1,2}\/[^"]+)\.ts"/g, '$1$2.js"');
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  // npm prepares what it installs from git twice, and what it packs after an installation
  if (!process.argv.includes("--unless-built") || !isBuilt()) build();
  console.log(`built ${readdirSync(DIST, { recursive: true }).length} files into dist/`);
}
