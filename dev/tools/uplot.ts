/**
 * `deno run -A dev/tools/uplot.ts`: writes src/page/uplot.ts, the copy of uPlot that the page serves, from the package in
 * node_modules. tests/page/charts.test.ts fails if the two differ.
 * @module
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const PACKAGE = join(ROOT, "node_modules", "uplot");

/** The files of uPlot that the page serves. */
export function uplotFiles(): { version: string; licence: string; notice: string; script: string; style: string } {
  const read = (name: string) => readFileSync(join(PACKAGE, name), "utf8");
  const { version, license: licence } = JSON.parse(read("package.json"));
  return {
    version,
    licence,
    notice: read("LICENSE"),
    script: read("dist/uPlot.iife.min.js"),
    style: read("dist/uPlot.min.css"),
  };
}

/** The text of src/page/uplot.ts. */
export function uplotModule(): string {
  const { version, licence, notice, script, style } = uplotFiles();
  const literal = (text: string) => "`" + text.replace(/[`\\]|\$\{/g, "\\$&") + "`";
  return `/**
 * uPlot ${version}, as npm has it, to be served by the page: https://github.com/leeoniya/uPlot (${licence}). Written by
 * dev/tools/uplot.ts.
 * @module
 */

/** Its licence. */
export const UPLOT_LICENCE: string = ${literal(notice)};

/** Its script, which defines \`uPlot\`. */
export const UPLOT_SCRIPT: string = ${literal(script)};

/** Its style sheet. */
export const UPLOT_STYLE: string = ${literal(style)};
`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  writeFileSync(join(ROOT, "src/page/uplot.ts"), uplotModule());
}
