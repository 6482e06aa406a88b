/**
 * The rules about the source of the package, as functions of source text. architecture.test.ts applies them to
 * the files and shows that each one can fail.
 * @module
 */
import ts from "typescript";

/** A file of the package: its path from the root of the repository, and its text. */
export interface SourceFile {
  path: string;
  text: string;
}

/** The only bare imports. */
export const BARE_IMPORTS: readonly string[] = [
  "@noble/hashes/legacy",
  "@upstash/redis",
  "aws4fetch",
  "cbor-x/decode",
  "cbor-x/encode",
  "fflate",
];

/** The one file that may use time, timers and randomness. */
const PLATFORM = "src/base/platform.ts";

/**
 * The one kind of file that may look for `process` and `Deno`, and only on `globalThis`: those that read options from
 * the environment.
 */
const ENVIRONMENT = /^src\/(.+\/)?(from_)?env\.ts$/;

/** The room of servers for tests: it needs Node's built-ins, and no other room imports from it. */
const TESTING = "src/testing";
/** The room of the command line: so does it, and no other room imports from it. */
const CLI = "src/cli";
/** The one module that looks if it is the program, and the one that imports what a person names. */
const [PROGRAM, LOADER] = ["src/cli/mod.ts", "src/cli/load_module.ts"];
/** A program, which is never imported. */
export const NEVER_IMPORTED = "src/cli/bin.ts";
const BUILT_IN = /^node:[a-z_]+$/;

/**
 * Rooms, and the layer of each. A room imports from lower layers and from itself; rooms of one layer do not import each
 * other. A folder inside a room belongs to it; `src` holds the public calls.
 */
export const LAYERS: Record<string, number> = {
  "src/base": 0,
  "src/freezers": 1,
  "src/upstash": 1,
  "src/datastores": 1,
  "src/archive": 2,
  "src/scripts": 2,
  "src/core": 3,
  "src/tick": 4,
  "src": 5,
  "src/adapters": 6,
  "src/metrics": 6,
  "src/operations": 6,
  "src/transparent": 6,
  "src/encryption": 7,
  "src/page": 7,
  "mod.ts": 7,
  "src/testing": 7,
  "src/cli": 8,
};

/** At most so many lines a file and a function of `src`, and so many files that lie in `src` itself. */
export const LIMITS = { fileLines: 300, functionLines: 70, looseFiles: 10 };

/** The extension points: types without a runtime part, which every room above the base may name. */
const INTERFACES = ["src/datastores/datastore.ts", "src/archive/freezer.ts"];

const RUNTIME_GLOBALS = new Set([
  "Buffer",
  "process",
  "Deno",
  "Bun",
  "require",
  "module",
  "exports",
  "__dirname",
  "__filename",
]);
const PLATFORM_GLOBALS = new Set([
  ...["setTimeout", "setInterval", "setImmediate", "clearTimeout", "clearInterval", "clearImmediate"],
  ...["queueMicrotask", "performance", "requestAnimationFrame", "scheduler"],
]);
const PLATFORM_MEMBERS = new Set([
  ...["Date.now", "Math.random", "crypto.randomUUID", "crypto.getRandomValues", "AbortSignal.timeout"],
  ...["subtle.generateKey", "subtle.digest", "Temporal.Now"],
]);

/** The rooms that may send Redis commands; every other room calls the functions of src/scripts. */
const COMMAND_ROOMS = ["src/scripts", "src/upstash", TESTING];
const CONNECTION_METHODS = new Set(["command", "multi", "pipeline"]);
/** They send a command, or read what a connection answers. */
const COMMAND_HELPERS = new Set(["ask", "results"]);

/** A docstring that begins like a question. */
const DOCSTRING_QUESTION = /\/\*\*[\s*]*(What|Why|How|Whether|When|Where|Who|Is|Are|Does|May|Can)\b/g;

/** The rules that one file breaks, a line each: `path:line: sentence`. */
export function fileProblems({ path, text }: SourceFile): string[] {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const problems: string[] = [];
  const onServers = [TESTING, CLI].includes(roomOf(path));
  const say = (node: ts.Node, sentence: string): void => {
    problems.push(`${path}:${source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1}: ${sentence}`);
  };

  const visit = (node: ts.Node): void => {
    if (node.kind === ts.SyntaxKind.AnyKeyword) say(node, "any is no type");
    if (ts.isExportAssignment(node) || hasDefault(node)) say(node, "a default export");
    if (ts.isExportSpecifier(node) && node.name.text === "default") say(node, "a default export");
    if (ts.isMetaProperty(node) && path !== PROGRAM) say(node, "import.meta differs between runtimes");
    if (!onServers) portability(node);
    if (!COMMAND_ROOMS.includes(roomOf(path))) rawCommands(node);
    ts.forEachChild(node, visit);
  };
  const rawCommands = (node: ts.Node): void => {
    const method = ts.isBindingElement(node)
      ? (node.propertyName ?? node.name).getText(source)
      : ts.isCallExpression(node)
      ? memberOf(node.expression)?.[1]
      : undefined;
    if (method !== undefined && CONNECTION_METHODS.has(method)) {
      say(node, `${method}() of a connection belongs to src/scripts`);
    }
    if (ts.isImportSpecifier(node) && COMMAND_HELPERS.has((node.propertyName ?? node.name).text)) {
      say(node, `${node.getText(source)} belongs to src/scripts`);
    }
  };
  const portability = (node: ts.Node): void => {
    if (ts.isIdentifier(node) && !isMemberName(node)) {
      if (RUNTIME_GLOBALS.has(node.text)) say(node, `${node.text} exists on some runtimes only`);
      if (PLATFORM_GLOBALS.has(node.text) && path !== PLATFORM) say(node, `${node.text} belongs to ${PLATFORM}`);
    }
    const member = memberOf(node);
    if (member) {
      const [object, name] = member;
      if (PLATFORM_MEMBERS.has(`${object}.${name}`) && path !== PLATFORM) {
        say(node, `${object}.${name} belongs to ${PLATFORM}`);
      }
      if (object === "globalThis" || object === "self") {
        if (RUNTIME_GLOBALS.has(name) && !ENVIRONMENT.test(path)) say(node, `${name} exists on some runtimes only`);
        if (PLATFORM_GLOBALS.has(name) && path !== PLATFORM) say(node, `${name} belongs to ${PLATFORM}`);
      }
    }
    if (ts.isNewExpression(node) || ts.isCallExpression(node)) {
      const { expression } = node;
      const noArguments = (node.arguments?.length ?? 0) === 0;
      if (ts.isIdentifier(expression) && expression.text === "Date" && noArguments && path !== PLATFORM) {
        say(node, `the current date belongs to ${PLATFORM}`);
      }
      if (ts.isCallExpression(node) && memberOf(expression)?.[1] === "fetch") {
        say(node, "fetch called as a method: an illegal invocation on workerd");
      }
    }
  };
  visit(source);

  for (const { 1: word, index } of text.matchAll(DOCSTRING_QUESTION)) {
    const line = source.getLineAndCharacterOfPosition(index).line + 1;
    problems.push(`${path}:${line}: a docstring begins with ${word}, not with a noun or a verb that names the thing`);
  }
  for (const { node, specifier } of importsOf(source)) {
    if (specifier === undefined) {
      if (path !== LOADER) say(node, "an import whose name is not a literal");
    } else if (specifier.startsWith(".")) {
      const target = resolveImport(path, specifier);
      if (!target.endsWith(".ts")) say(node, `imports ${specifier}, which names no file`);
      else if (target !== "mod.ts" && !target.startsWith("src/")) {
        say(node, `imports ${target}, which is not published`);
      } else if (!pointsDown(path, target)) say(node, `imports ${target}, which is no lower room`);
    } else if (onServers && BUILT_IN.test(specifier)) continue;
    else if (!BARE_IMPORTS.includes(specifier)) say(node, `imports ${specifier}, which is no runtime dependency`);
  }
  return problems;
}

/** Modules that a file imports from twice, and relative imports that do not stand by path, the farthest folder first. */
export function importOrderProblems({ path, text }: SourceFile): string[] {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const specifiers = source.statements.filter(ts.isImportDeclaration)
    .map(({ moduleSpecifier }) => (moduleSpecifier as ts.StringLiteral).text);
  const twice = specifiers.filter((specifier, i) => specifiers.indexOf(specifier) < i);
  const rank = (specifier: string) => [9 - specifier.split("../").length, specifier.replace(/^(\.\.?\/)+/, "")].join();
  const relative = specifiers.filter((specifier) => specifier.startsWith("."));
  const late = relative.filter((specifier, i) => i > 0 && rank(relative[i - 1]!) > rank(specifier));
  return [
    ...twice.map((specifier) => `${path}: imports from ${specifier} twice`),
    ...late.map((specifier) => `${path}: the import from ${specifier} stands too late`),
  ];
}

/** Circles of imports among the files, each once, as `a -> b -> a`. */
export function importCycles(files: SourceFile[]): string[] {
  const graph = new Map(files.map(({ path, text }) => {
    const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
    const targets = importsOf(source).map(({ specifier }) => specifier)
      .filter((specifier) => specifier?.startsWith(".")).map((specifier) => resolveImport(path, specifier!));
    return [path, targets];
  }));
  const done = new Set<string>();
  const cycles: string[] = [];
  const walk = (path: string, trail: string[]): void => {
    const start = trail.indexOf(path);
    if (start >= 0) cycles.push([...trail.slice(start), path].join(" -> "));
    if (start >= 0 || done.has(path)) return;
    for (const target of graph.get(path) ?? []) walk(target, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) walk(path, []);
  return cycles;
}

/** The imports that the entry points reach, each once: relative ones are followed, built-ins left out. */
export function bareImports(entries: string[], read: (path: string) => string): string[] {
  const bare = new Set<string>();
  const waiting = [...entries];
  const seen = new Set(entries);
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    const source = ts.createSourceFile(path, read(path), ts.ScriptTarget.Latest, true);
    for (const { specifier } of importsOf(source)) {
      if (specifier === undefined) continue; // a rule of its own refuses it
      if (!specifier.startsWith(".")) {
        if (!BUILT_IN.test(specifier)) bare.add(specifier);
      } else {
        const target = resolveImport(path, specifier);
        if (!seen.has(target)) waiting.push(target);
        seen.add(target);
      }
    }
  }
  return [...bare].sort();
}

function importsOf(source: ts.SourceFile): { node: ts.Node; specifier: string | undefined }[] {
  const found: { node: ts.Node; specifier: string | undefined }[] = [];
  const literal = (node: ts.Node | undefined) => node && ts.isStringLiteralLike(node) ? node.text : undefined;
  const visit = (node: ts.Node): void => {
    if ((ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && node.moduleSpecifier) {
      found.push({ node, specifier: literal(node.moduleSpecifier) });
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      found.push({ node, specifier: literal(node.arguments[0]) });
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      found.push({ node, specifier: literal(node.argument.literal) });
    } else if (ts.isImportEqualsDeclaration(node)) found.push({ node, specifier: undefined });
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

function resolveImport(from: string, specifier: string): string {
  const url = new URL(specifier, new URL(from, "file:///package/"));
  return url.pathname.startsWith("/package/") ? url.pathname.slice("/package/".length) : url.pathname;
}

/** The room of a file. */
export function roomOf(path: string): string {
  return /^(src(?:\/[^/]+)?)\//.exec(path)?.[1] ?? path;
}

function pointsDown(from: string, to: string): boolean {
  const [above, below] = [roomOf(from), roomOf(to)];
  const [upper, lower] = [LAYERS[above], LAYERS[below]];
  if (upper === undefined || lower === undefined) return false;
  if (above === below) return above !== "mod.ts";
  return lower < upper || (INTERFACES.includes(to) && upper > 0);
}

/** The rooms that each room imports from, the highest first: a line a room, with its files and lines. */
export function roomTable(files: SourceFile[]): string[] {
  const rooms = new Map<string, { files: number; lines: number; below: Set<string> }>();
  for (const { path, text } of files) {
    const room = roomOf(path);
    const row = rooms.get(room) ?? { files: 0, lines: 0, below: new Set<string>() };
    rooms.set(room, row);
    row.files++;
    row.lines += text.split("\n").length - 1;
    const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
    for (const { specifier } of importsOf(source)) {
      const below = specifier?.startsWith(".") ? roomOf(resolveImport(path, specifier)) : room;
      if (below !== room) row.below.add(below);
    }
  }
  return [...rooms].sort(([a], [b]) => (LAYERS[b] ?? 0) - (LAYERS[a] ?? 0)).map(([room, { files, lines, below }]) =>
    `${room.padEnd(16)} layer ${LAYERS[room]}  ${String(files).padStart(2)} files ${
      String(lines).padStart(5)
    } lines  -> ` +
    [...below].sort().join(", ")
  );
}

/** Files and functions that are longer than {@linkcode LIMITS} allow, and too many loose files. */
export function sizeProblems(files: SourceFile[]): string[] {
  const problems: string[] = [];
  for (const { path, text } of files) {
    const lines = text.split("\n").length - 1;
    if (lines > LIMITS.fileLines) problems.push(`${path}: ${lines} lines`);
    const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
    const lineOf = (at: number) => source.getLineAndCharacterOfPosition(at).line;
    const visit = (node: ts.Node): void => {
      if (ts.isFunctionLike(node) && "body" in node && node.body) {
        const length = lineOf(node.getEnd()) - lineOf(node.getStart(source)) + 1;
        if (length > LIMITS.functionLines) {
          problems.push(`${path}:${lineOf(node.getStart(source)) + 1}: a function of ${length} lines`);
        }
      }
      ts.forEachChild(node, visit);
    };
    visit(source);
  }
  const loose = files.filter(({ path }) => roomOf(path) === "src").length;
  if (loose > LIMITS.looseFiles) problems.push(`src: ${loose} files lie in it`);
  return problems;
}

/**
 * `[object, member]` of `object.member` and `object["member"]`, casts taken off; the object's last name if it is a
 * chain.
 */
function memberOf(node: ts.Node): [string, string] | undefined {
  let name: string;
  let object: ts.Expression;
  if (ts.isPropertyAccessExpression(node)) [object, name] = [node.expression, node.name.text];
  else if (ts.isElementAccessExpression(node) && ts.isStringLiteralLike(node.argumentExpression)) {
    [object, name] = [node.expression, node.argumentExpression.text];
  } else return undefined;
  while (ts.isParenthesizedExpression(object) || ts.isAsExpression(object) || ts.isNonNullExpression(object)) {
    object = object.expression;
  }
  if (ts.isIdentifier(object)) return [object.text, name];
  return [ts.isPropertyAccessExpression(object) ? object.name.text : "", name];
}

/**
 * A name that is not looked up in scope: a member, a property of a literal or a type, an imported or exported alias.
 */
function isMemberName(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent) || ts.isMetaProperty(parent)) return parent.name === node;
  if (ts.isQualifiedName(parent)) return parent.right === node;
  if (ts.isBindingElement(parent)) return parent.propertyName === node;
  return (ts.isPropertyAssignment(parent) || ts.isPropertySignature(parent) || ts.isPropertyDeclaration(parent) ||
    ts.isMethodSignature(parent) || ts.isMethodDeclaration(parent)) && parent.name === node;
}

function hasDefault(node: ts.Node): boolean {
  return ts.canHaveModifiers(node) &&
    (ts.getModifiers(node)?.some((modifier) => modifier.kind === ts.SyntaxKind.DefaultKeyword) ?? false);
}
