/**
 * Lua scripts: declared once, sent by their SHA-1, with the shebang flags that the server at hand accepts.
 * @module
 */
import { digest as digestOf } from "../ambient.ts";
import { TundraError } from "../errors.ts";
import type { Answer, CallOptions, Connection, Reply } from "./connection.ts";

/** Flags of a script's shebang line. */
export type ScriptFlag = "allow-key-locking" | "allow-oom" | "no-writes";

/** A script without its first two lines. */
export interface Script {
  /** Stands in its second line, for whoever watches Redis. */
  readonly name: string;
  readonly flags: readonly ScriptFlag[];
  readonly lua: string;
}

/** A script that locks just the keys it declares; `flags` are those it needs besides. */
export function defineScript(name: string, flags: readonly ScriptFlag[], lua: string): Script {
  return { name, flags: ["allow-key-locking", ...flags], lua };
}

/** Runs scripts on one connection and remembers which flags its server refused. */
export interface ScriptRunner {
  /**
   * One request; one more where the server does not know the script (yet, or any more), and once more, once, where it
   * refuses a flag.
   */
  run(script: Script, keys: string[], args: (string | number)[], options?: CallOptions): Promise<Reply>;
  /**
   * The text to send in a pipeline, where a refused flag could not be taken back: with key locking only where that is
   * known to work, and never inside MULTI (which takes the global lock anyway).
   */
  inlineSource(script: Script, insideMulti: boolean): string;
}

export function scriptRunner(connection: Connection): ScriptRunner {
  const refused = new Set<string>();
  let keyLockingWorks = false;

  const run: ScriptRunner["run"] = async (script, keys, args, options) => {
    const readOnly = script.flags.includes("no-writes") ? "_RO" : "";
    const rest = [keys.length, ...keys, ...args];
    for (;;) {
      // kept for this call: one beside it may learn of a refusal meanwhile
      const sent = new Set(script.flags.filter((flag) => !refused.has(flag)));
      const source = sourceOf(script, refused);
      let answer = await connection.command([`EVALSHA${readOnly}`, await sha1Hex(source), ...rest], options);
      if (answer.error?.startsWith("NOSCRIPT")) {
        answer = await connection.command([`EVAL${readOnly}`, source, ...rest], options);
      }
      if (answer.error === undefined) {
        keyLockingWorks ||= sent.has("allow-key-locking");
        return answer.result ?? null;
      }
      const flag = /unexpected flag in script shebang:? *([a-z-]+)/i.exec(answer.error)?.[1];
      if (flag === undefined || !sent.has(flag as ScriptFlag)) throw scriptError(script, answer.error);
      refused.add(flag);
    }
  };

  return {
    run,
    inlineSource: (script, insideMulti) =>
      sourceOf(script, keyLockingWorks && !insideMulti ? refused : new Set([...refused, "allow-key-locking"])),
  };
}

function sourceOf(script: Script, refused: ReadonlySet<string>): string {
  const flags = script.flags.filter((flag) => !refused.has(flag));
  return `#!lua${flags.length > 0 ? ` flags=${flags.join(",")}` : ""}\n-- ${script.name}\n${script.lua}`;
}

const digests = new Map<string, string>(); // few and small: one for each script and set of flags

/** Lower-case hexadecimal SHA-1, as Redis computes it. */
export async function sha1Hex(data: string | Uint8Array): Promise<string> {
  if (typeof data !== "string") return hex(await digestOf("SHA-1", data as Uint8Array<ArrayBuffer>));
  let digest = digests.get(data);
  if (digest === undefined) {
    digest = hex(await digestOf("SHA-1", new TextEncoder().encode(data)));
    digests.set(data, digest);
  }
  return digest;
}

function hex(digest: Uint8Array): string {
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What a server's error reply means for the caller. */
export function replyError(what: string, error: string): TundraError {
  const unsupported = /^ERR (unknown|wrong number|syntax|error compiling|unexpected)|^NOPROTO/i.test(error);
  return new TundraError(unsupported ? "UNSUPPORTED" : "UNAVAILABLE", `Cannot ${what} as Redis refused it: ${error}`);
}

function scriptError(script: Script, error: string): TundraError {
  return replyError(`run the script ${script.name}`, error);
}

/** The results of a pipeline or transaction; throws for the first error in it. */
export function results(what: string, answers: Answer[]): Reply[] {
  return answers.map((answer) => {
    if (answer.error !== undefined) throw replyError(what, answer.error);
    return answer.result ?? null;
  });
}
