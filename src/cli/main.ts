/**
 * runCommandLine: arguments in, output on streams, an exit code out.
 * @module
 */
import { type Arguments, readArguments, UsageError } from "./arguments.ts";
import type { Command } from "./command.ts";
import { COMMANDS } from "./commands.ts";
import { configure } from "./configuration.ts";
import { diagnose } from "./diagnose.ts";
import { failureOf } from "./failure.ts";
import { commandHelp, generalHelp, optionsOf } from "./help.ts";
import { Ending, type Host, processHost } from "./host.ts";
import { EXIT, newRun, type Run, writeMessage } from "./run.ts";

/**
 * Runs one command of the command line `tundra` and returns its exit code. It ends no process, and takes no signals but
 * the host's.
 *
 * @param args the arguments, as after `tundra`
 * @param host the surroundings; by default those of this process
 * @example
 * ```ts
 * import { runCommandLine } from "@tundra/store/cli";
 *
 * const exitCode = await runCommandLine(["status", "--help"]);
 * console.log(exitCode); // 0
 * ```
 */
export async function runCommandLine(args: readonly string[], host: Host = processHost()): Promise<number> {
  const complain = async (message: string, exitCode: number) => {
    await writeMessage(host.stderr, message);
    return exitCode;
  };
  const [name = "--help", ...rest] = args[0] === "help" ? [args[1] ?? "--help", "--help"] : args;
  if (["--help", "-h"].includes(name)) {
    await host.stdout.write(`${generalHelp()}\n`);
    return args.length === 0 ? EXIT.usage : EXIT.fine;
  }
  if (!Object.hasOwn(COMMANDS, name)) {
    const list = Object.keys(COMMANDS).join(", ");
    const what = name.startsWith("-") ? "The command comes first, before" : "There is no command";
    return await complain(`tundra: ${what} ${JSON.stringify(name)}\nCommands: ${list}`, EXIT.usage);
  }
  const command = await COMMANDS[name]!.load();
  let run: Run | undefined;
  try {
    const given = readArguments(rest, { ...optionsOf(command) });
    if (given.has("help")) {
      await host.stdout.write(`${commandHelp(name, command)}\n`);
      return EXIT.fine;
    }
    checkWords(command, given);
    run = newRun(name, given, host, configure(given, host));
    const exitCode = await command.run(run);
    return host.signal?.aborted ? await ended(run, host.signal.reason) : exitCode;
  } catch (thrown) {
    if (host.signal?.aborted) return await ended(run, host.signal.reason);
    const { exitCode, text, unavailable } = failureOf(thrown, name, Boolean(host.env.TUNDRA_DEBUG));
    run?.end();
    await complain(text, exitCode);
    if (unavailable && run) await run.say((await diagnose(run)).join("\n"));
    return exitCode;
  } finally {
    run?.end();
  }
}

function checkWords({ usage = "", words: [least, most] = [0, 0] }: Command, { words }: Arguments): void {
  if (words.length >= least && words.length <= most) return;
  const extra = words.length > most ? `${JSON.stringify(words[most])} is one too many` : "one is missing";
  throw new UsageError(most === 0 ? `It takes options only: ${extra}` : `It takes ${usage}: ${extra}`);
}

async function ended(run: Run | undefined, reason: unknown): Promise<number> {
  if (!(reason instanceof Ending)) return 130;
  if (reason.message && reason.exitCode < 128) await run?.say(`tundra: ${reason.message}`);
  else if (reason.message) await run?.say("Interrupted");
  return reason.exitCode;
}
