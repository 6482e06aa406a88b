/**
 * Runs tests/**\/*.test.ts on Deno, Bun and Node, each file in a process of its own, and ends with the line
 * `N passed, N failed`: tests, summed over the runtimes. Deno and Node have the newest `@upstash/redis` of its range, Bun
 * has the oldest; `--only=newest` is Bun with the newest.
 *
 *     deno task test [--only=deno,bun,node,newest] [--filter=TEXT] [--jobs=N] [--timeout-s=N] [FILE or FOLDER ...]
 *
 * Without `--jobs` there are as many files at a time as cores, and up to four more while cores are idle.
 *
 * Files in tests/runtimes run on Node only, those in tests/guides on Deno only: they start workerd, edge-runtime and the
 * other runtimes by themselves. The table before the last line says which suite ran where: folders of tests, and suites
 * of the portable bundle.
 *
 * `--filter` runs the files in which TEXT occurs and counts the tests whose full name holds it.
 * @module
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { parseJunit, type TestResult } from "./junit.ts";
import { LOOK_MS, pace } from "./pace.ts";

/** Tests that drive other runtimes and tools: they run on Node alone, which starts those. */
const HOSTS = join("tests", "runtimes");
/** Tests that follow pages of docs/ as a reader does: they run on Deno alone, and start the other runtimes. */
const GUIDES = join("tests", "guides");
const ROOT = fileURLToPath(new URL("..", import.meta.url));
const TOOLS = join(ROOT, ".ci", "tools");
/** Suites of which a file may take its turn on Bun or on Node. */
const BY_TURNS = /^tests.(cli|conformance|dev|faults|model|operations|page|scripts|store|transparent|unit)\b/;
const TURNS =
  "turns    with TUNDRA_TURN a file of the large suites runs on Deno, and by turns on Bun, on Node, on neither\n";
/** Files of ten seconds and more, the longest first: they begin first, so that none is left alone at the end. */
const LONG = [
  "runtimes/package",
  "model/crashes/every_request",
  "store/progress",
  "guides/newcomer",
  "model/simulation/seeded_bugs",
  "runtimes/portable",
  "faults/every_request",
  "store/packs_expired",
  "conformance/s3_s3rver",
  "store/attempts",
  "runtimes/examples",
  "runtimes/page_browser",
  "store/lost_records",
  "runtimes/metrics",
  "faults/rollback",
  "model/exploration/explore",
  "store/request_limits",
  "runtimes/draining",
  "faults/damage",
  "runtimes/workerd",
  "model/simulation/simulation",
  "store/tick_options",
  "runtimes/workerd_packs",
  "unit/s3",
  "faults/radosgw",
  "model/redis/differential",
].map((name) => join("tests", `${name}.test.ts`));
/** The oldest client of the range, by its name in package.json. */
const OLDEST = join(ROOT, "node_modules", "upstash-redis-oldest");

interface Runtime {
  name: string;
  version: string;
  command: string;
  args(file: string, report: string): string[];
  /** Of its processes, besides this one's. */
  env?: Record<string, string>;
}

interface FileResult {
  runtime: string;
  file: string;
  tests: TestResult[];
  seconds: number;
}

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: "string", default: "deno,bun,node" },
    filter: { type: "string", default: "" },
    jobs: { type: "string" },
    "timeout-s": { type: "string", default: "900" },
  },
});

/** Files at a time: as many as cores, since a test that waits for a timer must not wait for a core. */
const jobs = Number(options.jobs ?? Math.min(4, Math.max(2, availableParallelism())));
/** Further ones while cores are idle. */
const moreJobs = options.jobs === undefined ? 4 : 0;

const scratch = mkdtempSync(join(tmpdir(), "tundra-tests-"));
const running = new Set<number>();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    for (const pid of running) killGroup(pid);
    rmSync(scratch, { recursive: true, force: true });
    process.exit(130);
  });
}

const started = performance.now();
const files = testFiles(positionals.length > 0 ? positionals : ["tests"])
  .filter((file) => readFileSync(join(ROOT, file), "utf8").includes(options.filter));
const names = options.only.split(",");
installDependencies();
const runtimes = names.map(findRuntime);
const results = await runAll(longestFirst(runtimes.flatMap(filesOf)));
rmSync(scratch, { recursive: true, force: true });
process.exitCode = report() ? 0 : 1;

function testFiles(paths: string[]): string[] {
  const found = paths.flatMap((path) => {
    const full = resolve(path);
    if (!statSync(full).isDirectory()) return [full];
    return readdirSync(full, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".test.ts"))
      .map((name) => join(full, name));
  });
  return [...new Set(found.map((file) => relative(ROOT, file)))].sort();
}

function filesOf(runtime: Runtime): { runtime: Runtime; file: string }[] {
  return files.filter((file, i) => isItsTurn(runtime.name, file, i))
    .filter((file) => runtime.name === "node" || !file.startsWith(HOSTS))
    .filter((file) => runtime.name === "deno" || !file.startsWith(GUIDES))
    .map((file) => ({ runtime, file }));
}

function longestFirst<T extends { file: string }>(all: T[]): T[] {
  const place = ({ file }: T) => LONG.includes(file) ? LONG.indexOf(file) : LONG.length;
  return all.toSorted((a, b) => place(a) - place(b));
}

/**
 * With TUNDRA_TURN, a number, each file of the large suites runs on Deno, and by turns on Bun, on Node and on neither:
 * so a gate takes less than 20 minutes, and three numbers in a row play all.
 */
function isItsTurn(runtime: string, file: string, i: number): boolean {
  const turn = process.env.TUNDRA_TURN;
  if (turn === undefined || (runtime !== "bun" && runtime !== "node") || !BY_TURNS.test(file)) return true;
  return (i + Number(turn)) % 3 === (runtime === "bun" ? 0 : 1);
}

function denoCommand(): string {
  return process.versions.deno ? process.execPath : "deno";
}

/** One installer for all three runtimes: Deno's, whose node_modules the others read too. */
function installDependencies(): void {
  const args = ["install", "--quiet", ...(process.env.CI ? ["--frozen"] : [])];
  const { status } = spawnSync(denoCommand(), args, { cwd: ROOT, stdio: ["ignore", "inherit", "inherit"] });
  if (status !== 0) throw new Error(`Cannot install the dependencies: deno ${args.join(" ")} ended with ${status}`);
}

function findRuntime(name: string): Runtime {
  const timeoutMs = String(Number(options["timeout-s"]) * 1000);
  const runtime: Omit<Runtime, "args"> = { name, command: name, version: "" };
  let args: Runtime["args"];
  if (name === "deno") {
    runtime.command = denoCommand();
    const frozen = process.env.CI ? ["--frozen"] : [];
    args = (file, report) => [
      ...["test", "-A", "--no-check", ...frozen, "--preload=./tests/support/deno_uncaught.ts"],
      ...[`--junit-path=${report}`, file],
    ];
  } else if (name === "bun" || name === "newest") {
    runtime.command = findBun();
    const override = name === "bun" ? [`--tsconfig-override=${oldestClient()}`] : [];
    if (name === "bun") runtime.env = { TUNDRA_OLDEST_CLIENT: "1" };
    args = (file, report) => [
      ...["test", ...override, "--timeout", timeoutMs, "--reporter=junit", `--reporter-outfile=${report}`],
      file,
    ];
  } else if (name === "node") {
    args = (file, report) => [
      ...["--import", "tsx", "--test-reporter=spec", "--test-reporter-destination=stdout"],
      ...["--test-reporter=junit", `--test-reporter-destination=${report}`],
      file,
    ];
  } else {
    const must = "--only must be some of deno, bun, node, newest";
    throw new Error(`Cannot run the tests as ${must}: current value is ${name}`);
  }
  runtime.version = versionOf(runtime.command) ??
    fatal(`Cannot run the tests as ${name} must be on PATH: it does not start`);
  return { ...runtime, args };
}

/** A tsconfig.json by which Bun finds the oldest client. */
function oldestClient(): string {
  const config = JSON.parse(readFileSync(join(ROOT, "tsconfig.json"), "utf8"));
  const { paths } = config.compilerOptions;
  for (const name of Object.keys(paths)) paths[name] = paths[name].map((path: string) => join(ROOT, path));
  paths["@upstash/redis"] = [join(OLDEST, JSON.parse(readFileSync(join(OLDEST, "package.json"), "utf8")).module)];
  const file = join(scratch, "oldest.json");
  writeFileSync(file, JSON.stringify(config));
  return file;
}

/** Bun from PATH, else the pinned one of .ci/tools. */
function findBun(): string {
  if (versionOf("bun")) return "bun";
  const own = join(TOOLS, "node_modules", ".bin", "bun");
  if (!existsSync(own)) {
    console.log("bun is not on PATH: npm installs the one of .ci/tools");
    spawnSync("npm", ["ci", "--no-fund", "--no-audit"], { cwd: TOOLS, stdio: ["ignore", "inherit", "inherit"] });
  }
  return own;
}

function versionOf(command: string): string | undefined {
  const { status, stdout } = spawnSync(command, ["--version"], { encoding: "utf8" });
  return status === 0 ? /\d+\.\d+\.\d+/.exec(stdout)?.[0] : undefined;
}

function fatal(message: string): never {
  throw new Error(message);
}

async function runAll(queue: { runtime: Runtime; file: string }[]): Promise<FileResult[]> {
  const results: FileResult[] = [];
  const underWay = new Set<Promise<unknown>>();
  let next = 0;
  const start = () => {
    const index = next++;
    const { runtime, file } = queue[index]!;
    const running = runFile(runtime, file, join(scratch, `${index}.xml`)).then((result) => {
      results.push(result);
      print(result, `[${results.length} of ${queue.length}, ${((performance.now() - started) / 1000).toFixed(0)} s]`);
      underWay.delete(running);
    });
    underWay.add(running);
  };
  const filesNow = pace(jobs, jobs + moreJobs);
  while (next < queue.length || underWay.size > 0) {
    while (next < queue.length && underWay.size < filesNow()) start();
    await Promise.race([...underWay, new Promise((wake) => setTimeout(wake, LOOK_MS).unref())]);
  }
  return results;
}

function print({ runtime, file, tests, seconds }: FileResult, soFar: string): void {
  console.log(`${runtime.padEnd(6)} ${file.padEnd(52)} ${count(tests)} ${seconds.toFixed(1).padStart(6)} s  ${soFar}`);
}

/** One test file on one runtime. Its output is shown in full if something failed. */
async function runFile(runtime: Runtime, file: string, report: string): Promise<FileResult> {
  const from = performance.now();
  const { status, output, timedOut } = await execute(
    runtime.command,
    runtime.args("./" + file, report),
    { ...runtime.env, TUNDRA_UNCAUGHT: `${report}.uncaught` },
  );
  const seconds = (performance.now() - from) / 1000;
  const all = existsSync(report) ? parseJunit(readFileSync(report, "utf8")) : [];
  const tests = all.filter((test) => test.name.includes(options.filter));
  const noneFailed = tests.every((test) => test.outcome !== "failed");
  if (timedOut) tests.push({ name: `ends within ${options["timeout-s"]} s`, outcome: "failed" });
  else if (all.length === 0) tests.push({ name: "reports at least one test", outcome: "failed" });
  else if (existsSync(`${report}.uncaught`)) {
    tests.push({ name: "throws nothing outside of its tests", outcome: "failed" });
  } else if (status !== 0 && noneFailed && !options.filter) tests.push({ name: "exits with 0", outcome: "failed" });

  const failed = tests.filter((test) => test.outcome === "failed");
  const skipped = tests.filter((test) => test.outcome === "skipped");
  if (failed.length > 0) {
    console.log(`\n---- ${runtime.name}: ${file}, exit status ${status}\n${output.trimEnd()}\n----`);
  }
  for (const test of [...failed, ...skipped]) console.log(verdict(runtime.name, file, test));
  return { runtime: runtime.name, file, tests, seconds };
}

function verdict(runtime: string, file: string, { outcome, name, why = "" }: TestResult): string {
  return `${runtime} ${outcome.toUpperCase()} ${file}: ${name}\n${why}`.trimEnd();
}

function execute(
  command: string,
  args: string[],
  own: Record<string, string>,
): Promise<{ status: number | string; output: string; timedOut: boolean }> {
  return new Promise((done) => {
    let output = "";
    let timedOut = false;
    const env = { ...process.env, NO_COLOR: "1", RUST_BACKTRACE: "0", ...own };
    // A group of its own, so that a file that hangs takes its servers with it.
    const child = spawn(command, args, { cwd: ROOT, env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
    const pid = child.pid;
    if (pid) running.add(pid);
    const timer = setTimeout(() => {
      timedOut = true;
      if (pid) killGroup(pid);
    }, Number(options["timeout-s"]) * 1000);
    const end = (status: number | string) => {
      clearTimeout(timer);
      if (pid) {
        running.delete(pid);
        killGroup(pid);
      }
      done({ status, output, timedOut });
    };
    child.stdout.on("data", (chunk) => output += chunk);
    child.stderr.on("data", (chunk) => output += chunk);
    child.on("error", (error) => end(String(error)));
    // Not "close": a server that was left behind would hold the pipes open.
    child.on("exit", (code, signal) => setTimeout(end, 50, code ?? String(signal)));
  });
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // nobody is left
  }
}

function count(tests: TestResult[]): string {
  const of = (outcome: TestResult["outcome"]) => tests.filter((test) => test.outcome === outcome).length;
  const skipped = of("skipped");
  return `${of("passed")} passed, ${of("failed")} failed${skipped ? `, ${skipped} skipped` : ""}`;
}

/**
 * `portable > HOST > SUITE > TEST` ran on that host; every other test on the runtime of its file, in its folder's
 * suite.
 */
function placeOf(result: FileResult, test: TestResult): { runtime: string; suite: string } {
  const [, host, suite] = /^portable > (.+?) > (.+?) > /.exec(test.name) ?? [];
  if (host && suite && result.file.startsWith(HOSTS)) return { runtime: host, suite: `portable: ${suite}` };
  return { runtime: result.runtime, suite: result.file.split(/[\\/]/)[1] ?? "" };
}

/** Reasons for which some fields of the matrix have less than others. */
function whyFewer(): string {
  return `
"-"      these tests need a file system and processes, which that host has not: its own suite is the portable one.
         "runtimes" starts all hosts itself, so it runs once, on Node; so does "guides", on Deno
bun      has the oldest @upstash/redis of the range; all others have the newest
model    Bun and Node play fewer seeded bugs and scopes: what differs there is no rule of the protocol
${process.env.TUNDRA_TURN === undefined ? "" : TURNS}`;
}

/** Suites by runtimes: how many passed, `!` and how many did not. */
function printMatrix(): void {
  const cells = new Map<string, Map<string, TestResult[]>>();
  const columns: string[] = [];
  for (const result of results) {
    for (const test of result.tests) {
      const { runtime, suite } = placeOf(result, test);
      if (!columns.includes(runtime)) columns.push(runtime);
      const row = cells.get(suite) ?? new Map<string, TestResult[]>();
      cells.set(suite, row.set(runtime, [...row.get(runtime) ?? [], test]));
    }
  }
  const order = ["deno", "bun", "node", "newest", "workerd", "workerd, nodejs_compat", "edge-runtime"];
  columns.sort((a, b) => order.indexOf(a) - order.indexOf(b));
  const width = Math.max(...[...cells.keys()].map((name) => name.length));
  console.log(["suite".padEnd(width), ...columns].join("  "));
  for (const [suite, row] of [...cells].sort(([a], [b]) => a < b ? -1 : 1)) {
    const counts = columns.map((name) => {
      const tests = row.get(name) ?? [];
      const passed = tests.filter((test) => test.outcome === "passed").length;
      const rest = tests.length > passed ? `!${tests.length - passed}` : "";
      return (tests.length === 0 ? "-" : passed + rest).padStart(name.length);
    });
    console.log([suite.padEnd(width), ...counts].join("  "));
  }
  console.log(whyFewer());
}

/** Prints the summary; true if every runtime ran tests and all of them passed. A skipped test is not a passed one. */
function report(): boolean {
  let good = true;
  console.log();
  printMatrix();
  for (const runtime of runtimes) {
    const own = results.filter((result) => result.runtime === runtime.name);
    const tests = own.flatMap((result) => result.tests);
    const seconds = own.reduce((sum, result) => sum + result.seconds, 0);
    if (tests.length === 0) console.log(`${runtime.name} ran no test`);
    if (tests.length === 0 || tests.some((test) => test.outcome !== "passed")) good = false;
    console.log(`${runtime.name.padEnd(6)} ${runtime.version.padEnd(9)} ${count(tests)}, ${seconds.toFixed(1)} s`);
  }
  const more = moreJobs > 0 ? ", and more while cores were idle" : "";
  console.log(`${((performance.now() - started) / 1000).toFixed(1)} s in all, ${jobs} files at a time${more}`);
  // Once more, as whoever has only the end of a long log must find them there.
  for (const { runtime, file, tests } of results) {
    for (const test of tests) if (test.outcome !== "passed") console.log(verdict(runtime, file, test));
  }
  const all = results.flatMap((result) => result.tests);
  const passed = all.filter((test) => test.outcome === "passed").length;
  console.log(`${passed} passed, ${all.length - passed} failed`);
  return good;
}
