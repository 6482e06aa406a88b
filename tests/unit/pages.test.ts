/** README and the pages of docs/: their links lead somewhere, their options are options, their lists are complete. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";
import { checkTickOptions, type TickOptions } from "../../src/tick/options.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const read = (path: string) => readFileSync(join(ROOT, path), "utf8");
const inDocs = readdirSync(join(ROOT, "docs"), { recursive: true, encoding: "utf8" }).map((name) => `docs/${name}`);
const AT_ROOT = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "llms.txt"];
const EXAMPLES = readdirSync(join(ROOT, "examples")).map((name) => `examples/${name}/README.md`)
  .filter((path) => existsSync(join(ROOT, path)));
const PAGES = [...AT_ROOT, ...EXAMPLES, ...inDocs.filter((path) => path.endsWith(".md"))];

/** The anchors of a page's headings, as GitHub makes them. */
function anchorsOf(page: string): string[] {
  return [...page.matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading!.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-")
  );
}

/** The page's prose: no code, neither in lines nor in blocks. */
function proseOf(page: string): string {
  return page.replace(/^( *)```[^]*?^\1```$/gm, "").replace(/`[^`\n]*`/g, "");
}

/** True if the text holds the word, also with an ending: `bury`, `buries`. */
function holds(text: string, word: string): boolean {
  return new RegExp(`\\b${word.replace(/y$/, "[yi]").replaceAll(" ", "\\s+")}`, "i").test(text);
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

  it("name files and folders that exist", () => {
    const missing: string[] = [];
    let paths = 0;
    for (const page of PAGES) {
      for (const [, path] of read(page).matchAll(/`((?:tests|dev|docs|src|examples|bench)\/[^`\s]*)`/g)) {
        if (path!.includes("NAME") || path!.includes("{")) continue; // to be filled in; testing_doc.test.ts reads the latter
        paths++;
        if (!existsSync(join(ROOT, path!))) missing.push(`${page}: ${path}`);
      }
    }
    assertEquals(missing, []);
    assert(paths > 60, String(paths));
  });

  for (const list of ["README.md", "llms.txt"]) {
    it(`have every page of docs/ linked from ${list}`, () => {
      const text = read(list);
      const pages = inDocs.filter((path) => /^docs\/[^/]+\.md$/.test(path));
      assertEquals(pages.filter((path) => !text.includes(`](${path})`) && !text.includes(`](${path}#`)), []);
    });
  }

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

describe("docs/GLOSSARY.md", () => {
  const glossary = read("docs/GLOSSARY.md");
  const [terms, unused] = glossary.split("## Words that are not used");
  const defined = [...terms!.matchAll(/^- \*\*(.+?)\*\*: (.*(?:\n {2}.*)*)/gm)]
    .map(([, word, definition]) => ({ word: word!, definition: definition!.replace(/\s+/g, " ") }));
  const banned = [...unused!.matchAll(/^\| ([^|]+?) +\|/gm)].map(([, word]) => word!)
    .filter((word) => word !== "not" && !/^-+$/.test(word));

  it("defines 30 to 60 words, in alphabetical order, in a sentence or two each", () => {
    const words = defined.map(({ word }) => word);
    assert(words.length >= 30 && words.length <= 60, String(words.length));
    assertEquals(words, words.toSorted((a, b) => a < b ? -1 : 1));
    assertEquals(
      defined.filter(({ definition }) => definition.split(/\.(?: |$)/).length > 4).map(({ word }) => word),
      [],
    );
  });

  it("defines no word that the pages do not use", () => {
    const text = PAGES.filter((path) => path !== "docs/GLOSSARY.md").map(read).join("\n");
    assertEquals(defined.map(({ word }) => word).filter((word) => !holds(text, word)), []);
  });

  it("bans words that the pages do not use", () => {
    assert(banned.length >= 8, banned.join());
    const found = PAGES.filter((path) => path !== "docs/GLOSSARY.md").flatMap((path) =>
      banned.filter((word) => holds(proseOf(read(path)), word)).map((word) => `${path}: ${word}`)
    );
    assertEquals(found, []);
  });

  it("knows a word by its endings, and no code", () => {
    assertEquals([holds("it buries a", "bury"), holds("own\nfaults", "own fault"), holds("insight", "sight")], [
      ...[true, true, false],
    ]);
    assertEquals(proseOf("a `bury` b\n```ts\nbury();\n```\nc"), "a  b\n\nc");
  });
});

describe("docs/ARCHITECTURE.md", () => {
  it("names files that are in src/", () => {
    const files = readdirSync(join(ROOT, "src"), { recursive: true, encoding: "utf8" }).map((path) => basename(path));
    const named = [...read("docs/ARCHITECTURE.md").matchAll(/`(?:[a-z_]+\/)*([a-z0-9_]+\.ts)`/g)].map(([, name]) =>
      name!
    );
    assert(named.length > 30, String(named.length));
    assertEquals(named.filter((name) => name !== "mod.ts" && !files.includes(name)), []);
  });
});
