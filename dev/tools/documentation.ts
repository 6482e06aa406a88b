/**
 * The rules of documentation that JSR scores: each entry point introduces itself, each exported symbol is described.
 * @module
 */

/** The output of `deno doc --json` for one entry point. */
interface EntryDoc {
  module_doc?: { doc?: string; tags?: { kind: string }[] };
  symbols: { name: string; declarations: { kind?: string; jsDoc?: { doc?: string } }[] }[];
}

/** `deno doc --json`, as far as it is read here. */
export interface DocJson {
  nodes: Record<string, EntryDoc>;
}

/**
 * Entry points without an introduction or an example, symbols without a description; and the share of described
 * symbols.
 */
export function documentationProblems(json: DocJson): { problems: string[]; share: number } {
  const problems: string[] = [];
  let symbols = 0;
  let described = 0;
  for (const [url, { module_doc, symbols: all }] of Object.entries(json.nodes)) {
    const entry = url.split("/").pop()!;
    if (!module_doc?.doc?.trim()) problems.push(`${entry} has no module doc`);
    if (!module_doc?.tags?.some((tag) => tag.kind === "example")) problems.push(`${entry} has no example`);
    for (const { name, declarations } of all) {
      // exported by another entry point too, and looked at there
      if (declarations.length > 0 && declarations.every(({ kind }) => kind === "reference")) continue;
      symbols++;
      if (declarations.some((declaration) => declaration.jsDoc?.doc?.trim())) described++;
      else problems.push(`${entry}: ${name} is not described`);
    }
  }
  if (symbols === 0) problems.push("no exported symbol was found");
  return { problems, share: symbols === 0 ? 0 : described / symbols };
}

/**
 * The findings of `deno doc --lint`, one line each, without the types of other packages: a public type may refer to
 * those, and they cannot be exported again.
 */
export function lintProblems(output: string, foreign: readonly string[]): string[] {
  // deno-lint-ignore no-control-regex
  const lines = output.replace(/\x1b\[[0-9;]*m/g, "").split("\n").filter((line) => /^error\[/.test(line));
  return lines.filter((line) =>
    !foreign.some((name) => line.startsWith("error[private-type-ref]") && line.endsWith(`private type '${name}'`))
  );
}
