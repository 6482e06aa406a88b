/**
 * Which of Tundra's scripts is it? The line below the shebang tells.
 * @module
 */
import type { ModelRedis } from "./redis.ts";

/** The name that the script has in src/scripts. */
export function scriptName(source: string): string {
  const name = /^(?:#!.*)?\n-- (\w+)\n/.exec(source)?.[1];
  if (name === undefined) throw new Error(`No script of src/scripts begins like this: ${source.slice(0, 100)}`);
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
