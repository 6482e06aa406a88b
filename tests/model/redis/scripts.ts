/**
 * Commands and scripts as processes send them: which of Tundra's scripts is it (the line below the shebang tells), and
 * does it only read?
 * @module
 */
import { createHash } from "node:crypto";
import type { Platform } from "../../../src/base/platform.ts";
import { type ModelRedis, sha1 } from "./redis.ts";

/** Scripts by their SHA-1, as a client computed it: a store sends the text only to a server that lacks it. */
export const loadedScripts = new Map<string, string>();

/** The digests of all processes: at once, and it keeps the scripts that it sees. */
export const digest: Platform["digest"] = (algorithm, data) => {
  if (algorithm === "SHA-1" && ((data[0] === 35 && data[1] === 33) || (data[0] === 10 && data[1] === 45))) { // "#!", "\n-"
    const source = String.fromCharCode(...data);
    loadedScripts.set(sha1(source), source);
  }
  return Promise.resolve(digestOf(algorithm, data).slice().buffer);
};

/** Digests of what is hashed again and again, such as a container each time it is read. */
const digests = new Map<string, Uint8Array<ArrayBuffer>>();
const SMALL = 1_000;
const binary = (bytes: Uint8Array): string => String.fromCharCode.apply(null, bytes as unknown as number[]);

function digestOf(algorithm: "SHA-1" | "SHA-256", data: Uint8Array): Uint8Array<ArrayBuffer> {
  const name = data.length > SMALL ? undefined : algorithm + binary(data);
  let found = name === undefined ? undefined : digests.get(name);
  if (!found) {
    found = new Uint8Array(createHash(algorithm === "SHA-1" ? "sha1" : "sha256").update(data).digest());
    if (digests.size > 20_000) digests.clear();
    if (name !== undefined) digests.set(name, found);
  }
  return found;
}

const READS =
  /^(EVAL_RO|EVALSHA_RO|MGET|GET|DUMP|PEXPIRETIME|TIME|INFO|SCAN|ZRANGE|ZRANGEBYSCORE|ZCARD|GETRANGE|STRLEN)$/i;

/** Do all these commands only read? */
export function onlyRead(commands: readonly (readonly string[])[]): boolean {
  return commands.every(([name]) => READS.test(name!));
}

const names = new Map<string, string>();

/** The name that the script has in src/scripts; each text is read once. */
export function scriptName(source: string): string {
  let name = names.get(source);
  if (name === undefined) {
    name = /^(?:#!.*)?\n-- (\w+)\n/.exec(source)?.[1];
    if (name === undefined) throw new Error(`No script of src/scripts begins like this: ${source.slice(0, 100)}`);
    names.set(source, name);
  }
  return name;
}

/** The script that a command runs; `undefined`: none. */
export function scriptOf(command: readonly string[], redis: ModelRedis): string | undefined {
  const name = command[0]!.toUpperCase();
  if (!name.startsWith("EVAL")) return undefined;
  return name.startsWith("EVALSHA") ? redis.script(command[1]!) : command[1];
}

/** A command on one line. */
export function describeCommand(command: readonly string[], redis: ModelRedis): string {
  const source = scriptOf(command, redis);
  if (source === undefined) return command.join(" ").slice(0, 200);
  const count = Number(command[2]);
  return `${scriptName(source)}(${command.slice(3, 3 + count)}; ${command.slice(3 + count).join(" ").slice(0, 300)})`;
}
