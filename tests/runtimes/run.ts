/**
 * Programs as a user would start them. Asynchronous: the servers that they talk to run in this process.
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";

/** Runs a program to its end; its output. Throws with the output if it fails or takes too long. */
export async function run(
  command: string,
  args: readonly string[],
  cwd: string,
  env: Record<string, string> = {},
  timeoutMs = 120_000,
): Promise<string> {
  const program = start(command, args, cwd, env);
  const timer = setTimeout(() => void program.stop(), timeoutMs);
  const code = await program.ended;
  clearTimeout(timer);
  if (code === 0) return program.output();
  throw new Error(`${command} ${args.join(" ")} ended with ${code}\n${program.output()}`);
}

/** A program under way. */
export interface Program {
  /** Its output so far. */
  output(): string;
  /** Its exit status, or the signal that ended it. */
  readonly ended: Promise<number | string>;
  /** Resolves with the match as soon as its output matches; rejects when it ends first, or after `timeoutMs`. */
  printed(pattern: RegExp, timeoutMs?: number): Promise<RegExpExecArray>;
  /** Ends it and all that it has started. */
  stop(): Promise<void>;
}

/** Starts a program in a process group of its own. */
export function start(
  command: string,
  args: readonly string[],
  cwd: string,
  env: Record<string, string> = {},
): Program {
  const child: ChildProcess = spawn(command, args, {
    cwd,
    detached: true,
    env: { ...process.env, NO_COLOR: "1", FORCE_COLOR: "0", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  const watchers = new Set<() => void>();
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.on("data", (chunk) => {
      output += chunk;
      watchers.forEach((watch) => watch());
    });
  }
  const kill = () => {
    try {
      process.kill(-child.pid!, "SIGKILL");
    } catch {
      // it has ended
    }
  };
  process.on("exit", kill);
  const ended = new Promise<number | string>((resolve) => {
    child.on("error", (error) => resolve(String(error)));
    child.on("close", (code, signal) => resolve(code ?? String(signal)));
  }).finally(() => process.off("exit", kill));
  return {
    output: () => output,
    ended,
    printed(pattern, timeoutMs = 60_000) {
      return new Promise((resolve, reject) => {
        const give = (error: Error) => {
          watchers.delete(watch);
          reject(error);
        };
        const timer = setTimeout(() => give(new Error(`${command} did not print ${pattern}:\n${output}`)), timeoutMs);
        const watch = () => {
          const match = pattern.exec(output);
          if (!match) return;
          clearTimeout(timer);
          watchers.delete(watch);
          resolve(match);
        };
        watchers.add(watch);
        watch();
        void ended.then((code) => {
          clearTimeout(timer);
          give(new Error(`${command} ended with ${code}:\n${output}`));
        });
      });
    },
    async stop() {
      kill();
      await ended;
    },
  };
}
