/**
 * The common part of all checks of a server: its answers, and the end of one that fails.
 * @module
 */
import type { Answer, CallOptions, Connection, RedisCommand, Reply } from "../../upstash/connection.ts";
import { defineScript as counted, results } from "../../upstash/script.ts";
import type { Index } from "../prelude.ts";

/** The means of a probe of a server. */
export interface ServerProbe {
  connection: Connection;
  index: Index;
  /** Names of its own keys. */
  key: (name: string) => string;
  /** Milliseconds after which its keys go by themselves. */
  ttlMs: number;
  call: CallOptions;
  /** The payload of a value with all bytes, once it was read. */
  dump?: Uint8Array<ArrayBuffer>;
}

/** One assumption: resolves with what was seen if it holds, throws a {@linkcode Refuted} or the call's error if not. */
export interface ServerCheck {
  name: string;
  try: (probe: ServerProbe) => Promise<string>;
}

/** An assumption that does not hold: what was seen, and what to do. */
export class Refuted {
  constructor(readonly detail: string) {}
}

/** The reply of one command. */
export async function ask(probe: ServerProbe, what: string, ...command: RedisCommand): Promise<Reply> {
  return results(what, [await probe.connection.command(command, probe.call)])[0]!;
}

/** The answer to one command, an error or not. */
export async function answerOf({ call, connection }: ServerProbe, ...command: RedisCommand): Promise<Answer> {
  return await connection.command(command, call);
}

/** Runs a script without flags, as every server takes it; the probe's keys are declared. What it runs is counted. */
export async function run(
  probe: ServerProbe,
  what: string,
  lua: string,
  names: readonly string[],
  args: RedisCommand = [],
): Promise<Reply> {
  const { counting } = counted("probe", [], lua);
  const reply = await ask(probe, what, "EVAL", counting, names.length, ...names.map(probe.key), ...args);
  const [commands, result] = Array.isArray(reply) ? reply : [];
  expect(typeof commands === "number", `a script that replies a list replies ${String(reply)}`);
  probe.call.onCommands?.(commands as number);
  return result ?? null;
}

/** Throws what was seen unless an assumption holds. */
export function expect(holds: boolean, detail: string): void {
  if (!holds) throw new Refuted(detail);
}
