/**
 * A command that runs in a script of Tundra's, after its keys were brought back.
 * @module
 */
import { TundraError } from "../base/errors.ts";
import { countKeys, showKeys } from "../base/keys.ts";
import type { Context } from "../core/context.ts";
import { checkIdentity } from "../core/identity.ts";
import { movedOn, unsupportedRecord } from "../core/key_errors.ts";
import { told } from "../core/told.ts";
import { ensureKs } from "../ensure.ts";
import type { Checked } from "../scripts/check.ts";
import { runCommand } from "../scripts/command.ts";
import { bytes, type Reply } from "../upstash/connection.ts";
import { namedError } from "../upstash/requester.ts";
import { touchIdle } from "./noted.ts";
import type { Request, RequestAnswer, Transparent } from "./parts.ts";
import type { Plan } from "./plan.ts";

/** A key that is evicted anew before each of so many rounds is changed by others all the time. */
const MOST_ROUNDS = 6;

/** Runs a command where nothing of what it uses is evicted, and marks what it changes; brings keys back until it can. */
export async function runGuarded(transparent: Transparent, plan: Plan, request: Request): Promise<RequestAnswer> {
  return await told(
    transparent.context,
    "command",
    plan.ours.length,
    (context) => guarded(transparent, context, plan, request),
  );
}

async function guarded(
  transparent: Transparent,
  context: Context,
  plan: Plan,
  request: Request,
): Promise<RequestAnswer> {
  const { ensure, mark, uses, tell } = transparent;
  const { name: command, ours } = plan;
  const settings = { freezeDelayMs: context.freezeDelayMs, nameUnknown: context.lookInArchive && ensure };
  const declared = { ...plan, marks: mark };
  let allowed: string | undefined;
  for (let round = 0; round < MOST_ROUNDS; round++) {
    const outcome = await runCommand(context.index, declared, { ...settings, allowed }, { signal: request.signal });
    if ("reply" in outcome) {
      const { idle } = outcome;
      const isTouched = idle.length === 0 || await touchIdle(context, idle).then(() => true, () => false);
      uses.note(isTouched ? ours : ours.filter((key) => !idle.includes(key))); // else tried again at the next use
      tell({ type: "marked", command, keys: outcome.marked });
      return { result: shownReply(outcome.reply), error: undefined };
    }
    if ("error" in outcome) return { result: undefined, error: namedError(outcome.error, [plan.words]) };
    if ("unsupported" in outcome) throw unsupportedRecord(`run ${command.toUpperCase()} on`, outcome.unsupported[0]!);
    if ("id" in outcome) {
      if (!await checkIdentity(context, outcome.id, { signal: request.signal })) allowed = outcome.id;
    } else {
      const { evicted } = outcome;
      if (!ensure) throw evictedError(command, evicted.findings.map(({ key }) => key));
      await bringBack(transparent, command, evicted);
      settings.nameUnknown = false;
    }
  }
  throw movedOn(`run ${command.toUpperCase()} on`, ours[0] ?? "");
}

/** Brings back what a check, or a script instead of it, has found just now. */
export async function bringBack({ context, tell }: Transparent, command: string, checked: Checked): Promise<void> {
  const keys = checked.findings.map(({ key }) => key);
  await told(context, "ensureKs", keys.length, (counting) => ensureKs(counting, keys, checked));
  tell({ type: "brought back", command, keys });
}

/** The error of a client that brings nothing back. */
function evictedError(command: string, keys: string[]): TundraError {
  return new TundraError(
    "CONFLICT",
    `Cannot run ${command.toUpperCase()} as ${countKeys(keys)} (${
      showKeys(keys)
    }) must be in Redis: evicted, and this ` +
      `client has ensure: false; call ensureKs() first`,
    { keys },
  );
}

/** A reply as the client's own requester gives it: strings are text. */
function shownReply(reply: Reply): unknown {
  if (typeof reply === "string") return new TextDecoder().decode(bytes(reply));
  return Array.isArray(reply) ? reply.map(shownReply) : reply;
}
