/**
 * The tools of .ci/tools: runtimes' emulators and publishing tools. Installed at the first use.
 * @module
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

/** The root of the repository. */
export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** The folder of the tools. */
export const TOOLS = join(ROOT, ".ci", "tools");

/** Libraries whose clients nobody here wrote. */
const CLIENTS = ["@upstash/ratelimit", "@auth/upstash-redis-adapter", "hono", "elysia"];
/** Libraries that read metrics. */
const METRICS = [
  ...["api", "context-async-hooks", "exporter-prometheus", "sdk-metrics", "sdk-trace-base"].map((name) =>
    `@opentelemetry/${name}`
  ),
  "parse-prometheus-text-format",
];
/** The check of a workflow of GitHub Actions. */
const WORKFLOWS = ["@action-validator/cli", "@action-validator/core"];

/** The browser's driver, and what looks for barriers in a page. */
const BROWSER = ["puppeteer-core", "axe-core"];

/** Installs the tools unless all are there. */
export function installTools(): void {
  const libraries = [...CLIENTS, ...METRICS, ...WORKFLOWS, ...BROWSER];
  const wanted = ["wrangler", "miniflare", "jsr", "deno", "bun", "s3rver", ...libraries];
  if (wanted.every((name) => existsSync(join(TOOLS, "node_modules", name, "package.json")))) return;
  const args = ["ci", "--no-fund", "--no-audit", "--loglevel=error"];
  const { status } = spawnSync("npm", args, { cwd: TOOLS, stdio: ["ignore", "inherit", "inherit"] });
  if (status !== 0) throw new Error(`Cannot install the tools: npm ci in .ci/tools ended with ${status}`);
}

/** A tool's program. */
export function bin(name: string): string {
  return join(TOOLS, "node_modules", ".bin", name);
}

/** A tool, or with `from` another package's dependency, as a module. */
export function load<T>(name: string, from = TOOLS): T {
  return createRequire(join(from, "package.json"))(name) as T;
}

/** A library in the folder of the tools, as `import` of a module finds it. */
export async function library<T>(name: string): Promise<T> {
  const folder = join(TOOLS, "node_modules", name);
  const { exports, main } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  return await import(pathToFileURL(join(folder, exports?.["."].import ?? main)).href) as T;
}

/** The part of miniflare that these tests use. */
export interface Miniflare {
  readonly ready: Promise<URL>;
  dispatchFetch(url: string, init?: RequestInit): Promise<Response>;
  getR2Bucket<T>(name: string): Promise<T>;
  getWorker(): Promise<{ scheduled(options?: { cron?: string; scheduledTime?: Date }): Promise<{ outcome: string }> }>;
  dispose(): Promise<void>;
}

/** Starts a workerd. */
export function miniflare(options: Record<string, unknown>): Miniflare {
  const { Miniflare } = load<{ Miniflare: new (options: Record<string, unknown>) => Miniflare }>("miniflare");
  return new Miniflare({ modules: true, compatibilityDate: "2026-04-01", ...options });
}
