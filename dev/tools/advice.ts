/**
 * `deno run -A dev/tools/advice.ts`: writes the words of docs/errors.md into src/page/advice.ts, between its marks.
 * tests/page/views.test.ts fails if the two differ.
 * @module
 */
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Advice } from "../../src/page/advice.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const FILE = join(ROOT, "src/page/advice.ts");

/** The table of codes of docs/errors.md, as plain text: a link becomes its words and the page that it leads to. */
export function adviceOfManual(): Record<string, Advice> {
  const manual = readFileSync(join(ROOT, "docs/errors.md"), "utf8");
  const rows = [...manual.matchAll(/^\| `([A-Z_]+)` +\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$/gm)];
  const plain = (cell: string) =>
    cell.trim().replace(/^\[([^\]]+)\]\(([a-z-]+\.md)[^)]*\)/, "see “$1” in docs/$2").replace(
      /\[([^\]]+)\]\(([a-z-]+\.md)[^)]*\)/g,
      "$1 (docs/$2)",
    ).replaceAll("`", "");
  return Object.fromEntries(rows.map(([, code, ...cells]) => {
    const [meaning, todo, commandLine] = cells.map(plain);
    return [code!, { meaning: meaning!, todo: todo!, commandLine: commandLine! }];
  }));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const entries = Object.entries(adviceOfManual()).map(([code, advice]) =>
    `${code}: { ${Object.entries(advice).map(([field, words]) => `${field}: ${JSON.stringify(words)}`).join(", ")} },\n`
  );
  const text = readFileSync(FILE, "utf8");
  writeFileSync(
    FILE,
    text.replace(
      /(Record<TundraErrorCode, Advice>> = \{\n)[^]*?(\n\};)/,
      (_, head, tail) => head + entries.join("") + tail,
    ),
  );
  spawnSync("deno", ["fmt", "--quiet", FILE], { stdio: "inherit" });
}
