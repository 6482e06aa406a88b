/** README and the pages of docs/: their links lead somewhere, their options are options, their lists are complete. */
import { describe, it } from "node:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";
import { checkTickOptions, type TickOptions } from "../../src/tick_options.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const read = (path: string) => readFileSync(join(ROOT, path), "utf8");
const inDocs = readdirSync(join(ROOT, "docs"), { recursive: true, encoding: "utf8" }).map((name) => `docs/${name}`);
const PAGES = ["README.md", "CHANGELOG.md", ...inDocs.filter((path) => path.endsWith(".md"))];

/** The anchors of a page's headings, as GitHub makes them. */
function anchorsOf(page: string): string[] {
  return [...page.matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading!.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-")
  );
}

describe("README and docs", () => {
  it("link to files and headings that exist", () => {
    const broken: string[] = [];
    let links = 0;
    for (const path of PAGES) {
      for (const [, target] of read(path).matchAll(/\]\((?!https?:)([^)\s]+)\)/g)) {
        const [file, anchor] = target!.split("#");
        const to = file === "" ? path : join(dirname(path), file!);
        links++;
        if (!existsSync(join(ROOT, to)) || (anchor && !anchorsOf(read(to)).includes(anchor))) {
          broken.push(`${path}: ${target}`);
        }
      }
    }
    assertEquals(broken, []);
    assert(links > 20, String(links));
  });

  it("have every page of docs/ linked from README", () => {
    const readme = read("README.md");
    const pages = inDocs.filter((path) => /^docs\/[^/]+\.md$/.test(path));
    assertEquals(pages.filter((path) => !readme.includes(`](${path})`) && !readme.includes(`](${path}#`)), []);
  });

  it("name the runtime dependencies that there are", () => {
    const { dependencies } = JSON.parse(read("package.json"));
    const [, named] = /with\s+all\s+\w+\s+dependencies \(([^)]+)\)/.exec(read("README.md")) ?? [];
    assertEquals([...named!.matchAll(/`([^`]+)`/g)].map(([, name]) => name).sort(), Object.keys(dependencies).sort());
  });

  it("show, per platform, options that a tick takes", () => {
    const page = read("docs/hosting.md");
    const [, deadlineMs] = /default deadline is ([\d,]+) ms/.exec(page) ?? [];
    assertEquals(Number(deadlineMs!.replace(",", "")), checkTickOptions().deadlineMs);
    const shown = [...page.matchAll(/`(?:store\.worker\()?\{ ([^}]+) \}\)?`/g)].map(([, options]) => options!);
    assert(shown.length >= 8, String(shown.length));
    for (const options of shown) {
      const pairs = options.split(", ").map((pair) => pair.split(": "));
      checkTickOptions(
        Object.fromEntries(pairs.map(([name, value]) => [name, Number(value!.replaceAll("_", ""))])) as TickOptions,
      );
    }
  });
});
