/**
 * Reads the JUnit reports of `deno test`, `bun test` and `node --test-reporter=junit`, so that what is counted is tests
 * (`it`), not files, suites or hooks.
 * @module
 */

/** One test that ran, or should have. */
export interface TestResult {
  /** The titles of its suites and its own, joined by " > ". */
  name: string;
  outcome: "passed" | "failed" | "skipped";
  /** What its first failure says. */
  why?: string;
}

const TAG = /<(\/?)(testsuite|testcase|failure|error|skipped)((?:\s+[\w:-]+="[^"]*")*)\s*(\/?)>/g;

/** The tests of one report. A suite that fails while none of its tests does (a hook, say) counts as one failed test. */
export function parseJunit(xml: string): TestResult[] {
  const results: TestResult[] = [];
  const suites: string[] = [];
  let current: TestResult | undefined;
  const ownSuites = /<testsuites name="deno test"/.test(xml)
    ? 0
    : /<testsuites name="bun test"/.test(xml)
    ? 1
    : undefined;
  for (const [, closing, tag, attributes, selfClosing] of xml.replace(/<!--.*?-->/gs, "").matchAll(TAG)) {
    if (tag === "testsuite") {
      if (closing) suites.pop();
      else if (!selfClosing) suites.push(attribute(attributes!, "name"));
    } else if (tag === "testcase") {
      if (!closing) {
        // Deno puts the whole path into the name, and its suites are files; so is Bun's outermost suite.
        const titles = ownSuites === 0 ? [] : suites.slice(ownSuites ?? 0);
        current = { name: [...titles, attribute(attributes!, "name")].join(" > "), outcome: "passed" };
        results.push(current);
      }
      if (closing || selfClosing) current = undefined;
    } else if (current && !closing) {
      if (tag === "skipped") {
        if (current.outcome === "passed") current.outcome = "skipped";
      } else {
        current.outcome = "failed";
        current.why ??= attribute(attributes!, "message");
      }
    }
  }
  return ownSuites === 0 ? withoutSuites(results) : results;
}

/** Deno reports a suite as one more test. */
function withoutSuites(results: TestResult[]): TestResult[] {
  return results.filter((result) => {
    const children = results.filter((other) => other.name.startsWith(result.name + " > "));
    if (children.length === 0) return true;
    return result.outcome === "failed" && children.every((child) => child.outcome !== "failed");
  });
}

function attribute(attributes: string, name: string): string {
  return unescape(new RegExp(`\\s${name}="([^"]*)"`).exec(attributes)?.[1] ?? "");
}

const ENTITIES: Record<string, string> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };

function unescape(text: string): string {
  return text.replace(
    /&(?:#x([0-9a-f]+)|#(\d+)|(lt|gt|quot|apos|amp));/gi,
    (_, hex, decimal, entity) =>
      entity ? ENTITIES[entity.toLowerCase()]! : String.fromCodePoint(hex ? parseInt(hex, 16) : Number(decimal)),
  );
}
