/**
 * deno.json, jsr.json and package.json describe one package: what must be the same in all of them.
 * @module
 */
import { isDeepStrictEqual } from "node:util";

/** A parsed manifest. */
export type Manifest = Record<string, unknown>;

/** The runtime dependencies, no more. */
export const DEPENDENCIES: readonly string[] = ["@noble/hashes", "@upstash/redis", "aws4fetch", "cbor-x", "fflate"];

/** The lowest client of the range, under a name of its own, for the tests. */
const OLDEST_CLIENT = "upstash-redis-oldest";

/** The fields that JSR reads. Deno ignores jsr.json if there is a deno.json, so only this keeps it true. */
const PUBLISHED = ["name", "version", "license", "exports", "publish", "imports"];

/** The contradictions between the manifests, a sentence each. */
export function manifestProblems(deno: Manifest, jsr: Manifest, npm: Manifest): string[] {
  const problems: string[] = [];
  const differ = (what: string, a: unknown, b: unknown): void => {
    if (!isDeepStrictEqual(a, b)) problems.push(`${what}: ${JSON.stringify(a)} is not ${JSON.stringify(b)}`);
  };
  for (const name of PUBLISHED) differ(`${name} of deno.json and jsr.json`, deno[name], jsr[name]);
  for (const name of Object.keys(jsr)) {
    if (!PUBLISHED.includes(name)) problems.push(`jsr.json has ${name}, which nobody compares`);
  }
  for (const name of ["name", "version", "license"]) {
    differ(`${name} of deno.json and package.json`, deno[name], npm[name]);
  }
  differ("exports of deno.json, built, and those of package.json", built(deno.exports), npm.exports);
  const dependencies = (npm.dependencies ?? {}) as Record<string, string>;
  differ("dependencies of package.json and those allowed", Object.keys(dependencies).sort(), DEPENDENCIES);
  const client = dependencies["@upstash/redis"] ?? "";
  const { [OLDEST_CLIENT]: oldest } = (npm.devDependencies ?? {}) as Record<string, string>;
  if (!/^\^\d+\.\d+\.\d+$/.test(client)) problems.push(`the range of @upstash/redis: ${client} is no ^x.y.z`);
  differ(`${OLDEST_CLIENT} and the lowest of that range`, oldest, `npm:@upstash/redis@${client.slice(1)}`);
  for (const [specifier, target] of Object.entries((deno.imports ?? {}) as Record<string, string>)) {
    const match = /^npm:(@[^/]+\/[^/@]+|[^/@]+)@([^/]+)(\/.*)?$/.exec(target);
    if (!match) {
      if (specifier !== "@std/assert") {
        problems.push(`deno.json imports ${specifier} from ${target}, which is not npm:`);
      }
      continue;
    }
    const [, name, range, path] = match;
    differ(`the specifier of ${target} in deno.json`, specifier, `${name}${path ?? ""}`);
    differ(`the range of ${name} in deno.json and package.json`, range, dependencies[name!]);
  }
  return problems;
}

/** The versions that deno.lock lacks for tests of both ends of the client's range, a sentence each. */
export function lockProblems(lock: Manifest, npm: Manifest): string[] {
  const range = (npm.dependencies as Record<string, string>)["@upstash/redis"]!;
  const locked = lock.specifiers as Record<string, string>;
  const [newest, oldest] = [range, range.slice(1)].map((version) => locked[`npm:@upstash/redis@${version}`]);
  if (oldest !== range.slice(1)) return [`deno.lock has ${oldest} for the oldest @upstash/redis, ${range.slice(1)}`];
  const minor = (version: string | undefined) => Number(version?.split(".")[1]);
  if (minor(newest) > minor(oldest)) return [];
  return [`deno.lock has ${newest} for @upstash/redis ${range}, which is not the newest: deno made one of the two`];
}

/**
 * Imports of the published files that a manifest does not declare, and declarations without an import, a sentence each.
 *
 * @param specifiers all imports of the files that the entry points reach; without relative ones and built-ins
 */
export function importProblems(specifiers: Iterable<string>, jsr: Manifest, npm: Manifest): string[] {
  const problems: string[] = [];
  const used = new Set(specifiers);
  const declared = Object.keys((jsr.imports ?? {}) as Record<string, string>);
  const dependencies = Object.keys((npm.dependencies ?? {}) as Record<string, string>);
  const packageOf = (specifier: string): string => /^(@[^/]+\/[^/]+|[^/]+)/.exec(specifier)![0];
  for (const specifier of used) {
    if (!declared.includes(specifier)) problems.push(`jsr.json declares no ${specifier}`);
    if (!dependencies.includes(packageOf(specifier))) problems.push(`package.json declares no ${packageOf(specifier)}`);
  }
  for (const name of dependencies) {
    if (![...used].some((specifier) => packageOf(specifier) === name)) problems.push(`nothing imports ${name}`);
  }
  return problems;
}

/** The exports of an npm package whose files were built one by one into dist/. */
function built(exports: unknown): unknown {
  const entries = typeof exports === "string" ? [[".", exports]] : Object.entries(exports as Record<string, string>);
  return Object.fromEntries(entries.map(([name, path]) => {
    const base = path!.replace(/^\.\//, "./dist/").replace(/\.ts$/, "");
    return [name!, { types: `${base}.d.ts`, default: `${base}.js` }];
  }));
}
