/**
 * Which of Tundra's scripts is it? Scripts travel without their names: their first comment tells.
 * @module
 */
import type { ModelRedis } from "./redis.ts";

const NAMES: [first: string, name: string][] = [
  ["Keys have changed", "mark"],
  ["The first due keys", "claim"],
  ["The same view", "snapshot"],
  ["Counts an attempt", "begin"],
  ["The archive holds these bytes", "commit"],
  ["What could not be archived", "fail"],
  ["Gives leases back", "release"],
  ["Keys leave Redis", "evict"],
  ["Which keys are not simply there", "check"],
  ["Keys are in use", "touch"],
  ["The key is there although", "reconcile"],
  ["Archived values come back", "restore"],
  ["Records and existence", "look"],
  ["Keys are deleted", "remove"],
  ["Dead keys go back", "revive"],
  ["The first one to come", "propose"],
  ["The owner object holds this uuid", "confirm"],
  ["Counts.", "status"],
];

const names = new Map<string, string>();

/** The name that the script has in src/scripts. */
export function scriptName(source: string): string {
  let name = names.get(source);
  if (name === undefined) {
    const first = /^-- (.*)$/m.exec(source)?.[1] ?? "";
    name = NAMES.find(([beginning]) => first.startsWith(beginning))?.[1];
    if (name === undefined) throw new Error(`No script of src/scripts is known to begin with: ${first}`);
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
