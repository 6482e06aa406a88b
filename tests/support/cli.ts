/**
 * The command line in tests: as a process of this runtime, and in this process with streams in memory.
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";
import type { Host, HostStream } from "../../src/cli/host.ts";
import { runCommandLine } from "../../src/cli/main.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** The end of a run. */
export interface Ended {
  exitCode: number;
  stdout: string;
  stderr: string;
}

/** A run of the command line that is under way. */
export interface Running {
  readonly child: ChildProcess;
  /** What it has written so far. */
  readonly output: { stdout: string; stderr: string };
  readonly ended: Promise<Ended>;
}

/**
 * The command that starts the command line on this runtime. Node runs one file that holds it all, in a fifth of the time
 * that its sources take; `fromSource`: the sources, so that a module of a test shares them.
 */
function program(fromSource: boolean): [command: string, args: string[]] {
  const { deno, bun } = process.versions;
  const [main, bin] = ["mod.ts", "bin.ts"].map((name) => join(ROOT, "src", "cli", name)) as [string, string];
  if (deno) return [process.execPath, ["run", "-A", "--no-check", main]];
  if (bun) return [process.execPath, [main]];
  return [process.execPath, fromSource ? ["--import", import.meta.resolve("tsx"), bin] : [bundleOf(bin)]];
}

let bundle: string | undefined;

function bundleOf(entryPoint: string): string {
  if (bundle !== undefined) return bundle;
  const outfile = join(emptyFolder(), "bin.mjs");
  const tsconfig = join(ROOT, "tsconfig.json");
  buildSync({
    entryPoints: [entryPoint],
    outfile,
    tsconfig,
    bundle: true,
    platform: "node",
    format: "esm",
    logLevel: "error",
  });
  return bundle = outfile;
}

let scratch: string | undefined;

/** A folder without a .env, which goes with this process. */
export function emptyFolder(): string {
  if (scratch === undefined) {
    const folder = mkdtempSync(join(tmpdir(), "tundra-cli-"));
    const remove = () => rmSync(folder, { recursive: true, force: true });
    process.once("exit", remove);
    if (process.versions.deno) globalThis.addEventListener("unload", remove); // its tests end without "exit"
    scratch = folder;
  }
  return mkdtempSync(join(scratch, "folder-"));
}

/** Starts it with these variables, and no others that it would read. */
export function startCli(args: readonly string[], env: Record<string, string> = {}, cwd = ROOT): Running {
  const [command, own] = program(args.includes("--store"));
  const inherited = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(TUNDRA_|UPSTASH_|KV_REST_|AWS_|NO_COLOR$)/.test(name)),
  );
  const child = spawn(command, [...own, ...args], {
    cwd,
    env: { ...inherited, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const output = { stdout: "", stderr: "" };
  child.stdout!.setEncoding("utf8").on("data", (text: string) => output.stdout += text);
  child.stderr!.setEncoding("utf8").on("data", (text: string) => output.stderr += text);
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on("error", reject);
    // Deno takes an exit code of 130 for a process that SIGINT has ended
    const codeOf = (signal: string | null) => process.versions.deno && signal === "SIGINT" ? 130 : -1;
    child.on("close", (code, signal) => resolve({ exitCode: code ?? codeOf(signal), ...output }));
  });
  return { child, output, ended };
}

/** Runs it as a process to its end. */
export async function cli(args: readonly string[], env?: Record<string, string>, cwd?: string): Promise<Ended> {
  return await startCli(args, env, cwd).ended;
}

/** The surroundings of a run in this process. */
export interface MemoryHost {
  env?: Record<string, string>;
  folder?: string;
  signal?: AbortSignal;
  /** Columns of the terminal; without it the streams are none. */
  terminal?: number;
}

/** Runs it in this process. */
export async function cliInMemory(args: readonly string[], options: MemoryHost = {}): Promise<Ended> {
  const { env = {}, folder = ROOT, signal, terminal } = options;
  const [stdout, stderr] = [memoryStream(terminal), memoryStream(terminal)];
  const host: Host = { env, folder, stdout: stdout.stream, stderr: stderr.stream, signal };
  const exitCode = await runCommandLine(args, host);
  return { exitCode, stdout: stdout.text(), stderr: stderr.text() };
}

/** A stream that keeps what is written. */
export function memoryStream(terminal?: number): { stream: HostStream; text(): string } {
  let all = "";
  const decoder = new TextDecoder();
  return {
    stream: {
      isTerminal: terminal !== undefined,
      columns: terminal ?? 80,
      write(data) {
        all += typeof data === "string" ? data : decoder.decode(data);
        return Promise.resolve();
      },
    },
    text: () => all,
  };
}
