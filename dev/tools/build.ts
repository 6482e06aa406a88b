/**
 * `deno task build`: the npm package in dist/, ES modules and their types, a file for each source file, so that a
 * bundler keeps only what an application uses.
 * @module
 */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const DIST = join(ROOT, "dist");

/** Builds into dist/; the command-line compiler says what is wrong with the types. */
export function build(): void {
  rmSync(DIST, { recursive: true, force: true });
  const manifest = JSON.parse(readFileSync(join(ROOT, "deno.json"), "utf8"));
  const entries = Object.values(manifest.exports as Record<string, string>);
  const { bin } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { bin: Record<string, string> };
  entries.push(...Object.values(bin).map((path) => path.replace("./dist/", "./").replace(/\.js$/, ".ts")));
  const options = [
    ...["--outDir", "dist", "--rootDir", ".", "--noEmit", "false", "--declaration", "--skipLibCheck"],
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
  for (const name of readdirSync(DIST, { recursive: true, encoding: "utf8" })) {
    const path = join(DIST, name);
    if (name.endsWith(".d.ts")) writeFileSync(path, importsOfJavaScript(readFileSync(path, "utf8")));
  }
}

/** The compiler rewrites the imports of code, but not those of declarations. */
function importsOfJavaScript(text: string): string {
  return text.replace(/((?:from|import) ?\(?")(\.{1,2}\/[^"]+)\.ts"/g, '$1$2.js"');
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  build();
  console.log(`built ${readdirSync(DIST, { recursive: true }).length} files into dist/`);
}
