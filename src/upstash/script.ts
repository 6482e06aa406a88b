/**
 * Lua scripts: declared once, sent by their SHA-1, with the shebang flags that the server at hand accepts.
 * @module
 */
import { sha1 } from "@noble/hashes/legacy";
import { TundraError } from "../base/errors.ts";
import { hex, hexDigest } from "../base/platform.ts";
import type { Answer, CallOptions, Connection, RedisCommand, Reply } from "./connection.ts";
import { saidOf, saysDenied, saysUnsupported } from "./said.ts";

/** Flags of a script's shebang line. */
export type ScriptFlag = "allow-key-locking" | "allow-oom" | "no-writes";

/** A script without its first two lines. */
export interface Script {
  /** The script's second line, by which MONITOR and SLOWLOG tell scripts apart. */
  readonly name: string;
  readonly flags: readonly ScriptFlag[];
  readonly lua: string;
  /** The same, but it replies how many commands it ran, and then its reply. */
  readonly counting: string;
  /** `true`: it is sent as text, as a server seldom knows it when it is needed. */
  readonly rare: boolean;
}

// Each command's name passes through _c: so no call changes but by that, and errors name the lines of `lua`.
const COUNTER = "local _n = 0 local function _c(name) _n = _n + 1 return name end local function _main()";
const REPLY = "\nend\nlocal reply = _main()\nreturn { _n, reply }";

/** A script that locks just the keys it declares; `flags` are those it needs besides. */
export function defineScript(name: string, flags: readonly ScriptFlag[], lua: string, rare = false): Script {
  const counting = COUNTER + lua.replace(/(redis\.p?call\()('\w+'|ARGV\[8\])/g, "$1_c($2)") + REPLY;
  return { name, flags: ["allow-key-locking", ...flags], lua, counting, rare };
}

/** Runs scripts on one connection and remembers what its server refused. */
export interface ScriptRunner {
  /**
   * Runs a script. Cost: one request; one more if the server does not know the script (yet, or any more), and some
   * more, once, if it refuses flags or the commands that only read.
   */
  run(script: Script, keys: string[], args: (string | number)[], options?: CallOptions): Promise<Reply>;
  /** Bytes that one request may have, as far as is known. */
  requestLimit(): number;
  /** Bytes that one reply may have. */
  replyLimit(): number;
  /**
   * The text to send in a pipeline. A flag that is refused there cannot be taken back: so it asks for a flag only if
   * that is known to work, and never for key locking inside MULTI (which takes the global lock anyway).
   */
  inlineSource(script: Script, insideMulti: boolean): string;
}

/** Among what a server refused: EVAL_RO and EVALSHA_RO. */
const READ_ONLY_COMMANDS = "_RO";

export function scriptRunner(connection: Connection): ScriptRunner {
  const refused = new Set<string>();
  const working = new Set<ScriptFlag>();

  const run: ScriptRunner["run"] = async (script, keys, args, options) => {
    const rest = [keys.length, ...keys, ...args];
    // kept for this call: one beside it may learn of a refusal meanwhile
    const without = new Set(refused);
    for (;;) {
      const flags = script.flags.filter((flag) => !without.has(flag));
      const source = sourceOf(script, "counting", flags);
      const suffix = flags.includes("no-writes") && !without.has(READ_ONLY_COMMANDS) ? "_RO" : "";
      let answer: Answer | undefined;
      if (!script.rare) {
        answer = await connection.command([`EVALSHA${suffix}`, await sha1Hex(source), ...rest], options);
      }
      if (answer === undefined || saidOf(answer)?.startsWith("NOSCRIPT")) {
        answer = await connection.command([`EVAL${suffix}`, source, ...rest], options);
      }
      const unwanted = answer.error === undefined ? undefined : whatItRefuses(saidOf(answer)!, flags, suffix !== "");
      if (unwanted === undefined) { // it has taken what was left: now the refusals are certain
        for (const each of without) refused.add(each);
        if (answer.error !== undefined) throw scriptError(script, answer);
        for (const flag of flags) working.add(flag);
        const [commands, reply] = answer.result as [number, Reply?];
        options?.onCommands?.(commands);
        return reply ?? null;
      }
      if (unwanted.length === 0) throw scriptError(script, answer);
      for (const each of unwanted) without.add(each);
    }
  };

  return {
    run,
    requestLimit: () => connection.requestLimit(),
    replyLimit: () => connection.replyLimit(),
    inlineSource(script, insideMulti) {
      const flags = script.flags.filter((flag) => working.has(flag) && !refused.has(flag));
      return sourceOf(script, "lua", insideMulti ? flags.filter((flag) => flag !== "allow-key-locking") : flags);
    },
  };
}

/**
 * The flags and commands that a server has refused, in whatever words. Empty: it speaks of flags that are left out
 * already; `undefined`: it speaks of something else. Optional flags go first, as key locks keep others from waiting.
 */
function whatItRefuses(said: string, flags: readonly ScriptFlag[], readOnly: boolean): string[] | undefined {
  if (readOnly && /\beval(sha)?_ro\b|\*_ro\b|unknown command/i.test(said)) return [READ_ONLY_COMMANDS];
  // a server in a state that a flag has to do with, or an error in the middle of the script
  if (/^(OOM|READONLY|MASTERDOWN|MISCONF|NOREPLICAS|NOPERM)\b/.test(said) || said.includes("@user_script:")) {
    return undefined;
  }
  const named = flags.filter((flag) => said.includes(flag));
  if (named.length === 0 && !/\bflags?\b|shebang|near '#'/i.test(said)) return undefined;
  if (named.length === 1) return named;
  const optional = flags.filter((flag) => flag !== "allow-key-locking");
  return optional.length > 0 ? optional : [...flags];
}

const sources = new WeakMap<Script, Map<string, string>>();

/**
 * The text to send, of some kilobytes: made once for each set of flags. Without flags there is no shebang either: every
 * server takes that.
 */
function sourceOf(script: Script, kind: "counting" | "lua", flags: readonly ScriptFlag[]): string {
  const shebang = flags.length > 0 ? `#!lua flags=${flags.join(",")}` : "";
  let made = sources.get(script);
  if (!made) sources.set(script, made = new Map());
  let source = made.get(kind + shebang);
  if (source === undefined) made.set(kind + shebang, source = `${shebang}\n-- ${script.name}\n${script[kind]}`);
  return source;
}

/**
 * Up to so many bytes, SHA-1 in JavaScript takes less time than WebCrypto, which crosses into the runtime and back: see
 * docs/decisions/cpu.md.
 */
const SMALL_BYTES = 2048;

const digests = new Map<string, string>(); // few and small: one for each script and set of flags

/** Lower-case hexadecimal SHA-1, as Redis computes it. */
export async function sha1Hex(data: string | Uint8Array): Promise<string> {
  if (typeof data !== "string") return data.length > SMALL_BYTES ? await hexDigest("SHA-1", data) : hex(sha1(data));
  let digest = digests.get(data);
  if (digest === undefined) {
    digest = await hexDigest("SHA-1", new TextEncoder().encode(data));
    digests.set(data, digest);
  }
  return digest;
}

/** The error for a server's error reply: `said` decides its code, `shown` is in its message. */
export function replyError(what: string, shown: string, said: string = shown): TundraError {
  const code = saysUnsupported(said) ? "UNSUPPORTED" : "UNAVAILABLE";
  const retryable = code === "UNAVAILABLE" && !saysDenied(said);
  return new TundraError(code, `Cannot ${what} as Redis refused it: ${shown}`, { retryable });
}

function scriptError(script: Script, answer: Answer): TundraError {
  return replyError(`run the script ${script.name}`, answer.error!, saidOf(answer));
}

/** The reply of one command; throws for an error. */
export async function ask(
  connection: Connection,
  what: string,
  command: RedisCommand,
  call?: CallOptions,
): Promise<Reply> {
  return results(what, [await connection.command(command, call)])[0]!;
}

/** The results of a pipeline or transaction; throws for the first error in it. */
export function results(what: string, answers: Answer[]): Reply[] {
  return answers.map((answer) => {
    if (answer.error !== undefined) throw replyError(what, answer.error, saidOf(answer));
    return answer.result ?? null;
  });
}
