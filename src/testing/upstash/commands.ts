/**
 * The commands of a request: some are refused, scripts are sent with their keys enforced.
 * @module
 */
import { Buffer } from "node:buffer";
import { type LockedScript, lockKeys, originalError } from "../key_locking.ts";
import { type CommandPart, type RedisConnection, RedisError, type Reply } from "../resp.ts";
import { parseJson, partText, percentDecode, toCommand, toCommands } from "./body.ts";

/** Which commands are taken, and how. */
export interface CommandOptions {
  /**
   * Accept `#!lua flags=allow-key-locking` and enforce it? With `false`, scripts reach Redis as they are. Default:
   * true.
   */
  keyLocking?: boolean;
  /** The only flags of a shebang that it takes, and its words for any other. Default: Redis decides. */
  scriptFlags?: { taken: readonly string[]; refusal: (flag: string) => string };
  /** Commands that it does not know, in upper case. */
  unknownCommands?: readonly string[];
}

// Commands that need a connection of their own, or are the operator's.
const REFUSED = new Set(
  `MULTI EXEC DISCARD WATCH UNWATCH SUBSCRIBE PSUBSCRIBE SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE MONITOR SELECT AUTH
  HELLO QUIT RESET CLIENT BLPOP BRPOP BLMOVE BRPOPLPUSH BZPOPMIN BZPOPMAX BLMPOP BZMPOP WAIT WAITAOF SYNC PSYNC REPLICAOF
  SLAVEOF SHUTDOWN DEBUG CONFIG`.split(/\s+/),
);

/** An answer before it is JSON. */
export interface Answer {
  status: number;
  body: unknown;
  commands?: CommandPart[][];
}

/** Answers a request that is not an event stream: its URL, its path as it was sent, its body. */
export function commandRunner(
  connection: RedisConnection,
  options: CommandOptions,
): (url: URL, path: string, body: Buffer) => Promise<Answer> {
  const { keyLocking = true } = options;

  const run = async (command: unknown): Promise<Answer> => {
    const parts = toCommand(command);
    const [result] = await runAll([parts]);
    return { status: result!.error === undefined ? 200 : 400, body: result, commands: [parts] };
  };

  const runAll = async (commands: CommandPart[][]) => {
    const prepared = commands.map((command) => prepare(command, keyLocking));
    const refused = commands.map((command) => refusal(command, options));
    const replies = await connection.pipeline(prepared.filter((_, i) => !refused[i]).map(({ command }) => command));
    return prepared.map((one, i) => refused[i] ? { error: refused[i] } : entry(one.restore(replies.shift()!)));
  };

  const runTransaction = async (commands: CommandPart[][]): Promise<Answer> => {
    const no = commands.map((command) => refusal(command, options)).find((text) => text !== undefined);
    if (no) return { status: 400, body: { error: `EXECABORT Transaction discarded because of: ${no}` }, commands };
    const prepared = commands.map((command) => prepare(command, keyLocking));
    const replies = await connection.pipeline([["MULTI"], ...prepared.map(({ command }) => command), ["EXEC"]]);
    const results = replies.pop()!;
    if (Array.isArray(results)) {
      return { status: 200, body: prepared.map((one, i) => entry(one.restore(results[i]!))), commands };
    }
    const cause = replies.find((reply) => reply instanceof RedisError) ?? results;
    const reason = cause instanceof RedisError ? cause.message : "no reply";
    return { status: 400, body: { error: `EXECABORT Transaction discarded because of: ${reason}` }, commands };
  };

  const answer = async (url: URL, path: string, body: Buffer): Promise<Answer> => {
    if (path === "/") return run(parseJson(body));
    if (path === "/pipeline") {
      const commands = toCommands(parseJson(body));
      return { status: 200, body: await runAll(commands), commands };
    }
    if (path === "/multi-exec") return runTransaction(toCommands(parseJson(body)));
    const command: CommandPart[] = path.slice(1).split("/").map(percentDecode);
    if (body.length > 0) command.push(body);
    for (const [name, value] of url.searchParams) {
      if (name !== "_token") command.push(name, ...value === "" ? [] : [value]);
    }
    return run(command);
  };

  return answer;
}

const scripts = new Map<string, LockedScript | null>(); // by text
const scriptsBySha1 = new Map<string, LockedScript>(); // only names: what is loaded is Redis' business

function locked(text: string): LockedScript | null {
  let script = scripts.get(text);
  if (script === undefined) {
    script = lockKeys(text) ?? null;
    scripts.set(text, script);
    if (script) scriptsBySha1.set(script.sha1, script);
  }
  return script;
}

/** The command as Redis shall see it, and how its reply becomes the application's again. */
function prepare(
  command: CommandPart[],
  keyLocking: boolean,
): { command: CommandPart[]; restore(reply: Reply): Reply } {
  const same = { command, restore: (reply: Reply) => reply };
  if (!keyLocking || command.length < 2) return same;
  const name = partText(command[0]!).toUpperCase();
  if (name === "SCRIPT" && command.length > 2) {
    const action = partText(command[1]!).toUpperCase();
    if (action === "LOAD") {
      const script = locked(partText(command[2]!));
      if (!script) return same;
      return {
        command: [command[0]!, command[1]!, script.text, ...command.slice(3)],
        restore: (reply) => reply instanceof RedisError ? restoreError(script, reply) : Buffer.from(script.sha1),
      };
    }
    if (action !== "EXISTS") return same;
    const sha1s = command.slice(2).map((part) => scriptsBySha1.get(partText(part).toLowerCase())?.textSha1 ?? part);
    return { ...same, command: [command[0]!, command[1]!, ...sha1s] };
  }
  const bySha1 = name === "EVALSHA" || name === "EVALSHA_RO";
  if (!bySha1 && name !== "EVAL" && name !== "EVAL_RO") return same;
  const named = partText(command[1]!);
  const script = bySha1 ? scriptsBySha1.get(named.toLowerCase()) : locked(named);
  if (!script) return same;
  return {
    command: [command[0]!, bySha1 ? script.textSha1 : script.text, ...command.slice(2)],
    restore: (reply) => reply instanceof RedisError ? restoreError(script, reply) : reply,
  };
}

function restoreError(script: LockedScript, error: RedisError): RedisError {
  return new RedisError(originalError(script, error.message));
}

function refusal(command: CommandPart[], { scriptFlags, unknownCommands }: CommandOptions): string | undefined {
  const name = partText(command[0]!).toUpperCase();
  if (unknownCommands?.includes(name)) {
    const echo = command.slice(1).map((part) => `'${partText(part).slice(0, 128)}'`).join(" ");
    return `ERR unknown command '${name}', with args beginning with: ${echo}`;
  }
  if (scriptFlags && (name === "EVAL" || name === "EVAL_RO")) {
    const flags = /^#!lua flags=(\S*)/.exec(partText(command[1] ?? ""))?.[1]?.split(",") ?? [];
    const refused = flags.find((flag) => !scriptFlags.taken.includes(flag));
    if (refused !== undefined) return scriptFlags.refusal(refused);
  }
  const blocks = name.startsWith("XREAD") && command.some((part) => partText(part).toUpperCase() === "BLOCK");
  return REFUSED.has(name) || blocks ? `ERR Command is not available: '${name}'` : undefined;
}

function entry(reply: Reply): { result: Reply; error?: undefined } | { error: string; result?: undefined } {
  return reply instanceof RedisError ? { error: reply.message } : { result: reply };
}
