/**
 * The one look: is the data safe, does something wait, or must a person act?
 * @module
 */
import { count, counted } from "../base/counts.ts";
import { type Activity, type DailyRun, lastVerification } from "../operations/activity.ts";
import type { Status } from "../store_interface.ts";
import { type Html, html } from "./html.ts";
import { duration } from "./words.ts";

/** A verdict and its reasons. */
export interface Verdict {
  level: "empty" | "safe" | "waiting" | "needs you";
  /** One or two words. */
  title: string;
  /** One sentence. */
  summary: string;
  /** Tasks for a person, the most important first. */
  todo: Html[];
}

/** Weighs counts and past runs. `lateMs`: what has waited for longer needs a person. */
export function verdictOf(status: Status, { runs }: Pick<Activity, "runs">, nowMs: number, lateMs: number): Verdict {
  const todo = [...damage(runs), ...dead(status), ...late(status, nowMs, lateMs)];
  const { dirty, dead: gone, resident, evicted, lastTickMs } = status;
  if (todo.length > 0) {
    const waits = dirty - gone;
    const others = waits > 0 && gone > 0 ? `${counted(waits, "other key")}` : counted(waits, "key");
    const more = waits > 0 ? ` ${others} ${waits === 1 ? "waits" : "wait"} for a tick.` : "";
    return { level: "needs you", title: "Needs you", summary: `${counted(todo.length, "thing")} to do.${more}`, todo };
  }
  if (dirty > 0) {
    const only = dirty === 1
      ? "1 key holds a change that only Redis has"
      : `${count(dirty)} keys hold changes that only Redis has`;
    const next = lastTickMs > 0 ? "The next tick archives" : "No tick has run yet; the first one archives";
    return { level: "waiting", title: "Waiting", summary: `${only}. ${next} ${dirty === 1 ? "it" : "them"}.`, todo };
  }
  if (resident + evicted === 0 && status.totals.frozen === 0) {
    const summary = "No key has been marked yet. Once the application calls dirty(), its keys appear here.";
    return { level: "empty", title: "Empty", summary, todo };
  }
  return { level: "safe", title: "Safe", summary: "Every change that was marked is archived.", todo };
}

function damage(runs: readonly DailyRun[]): Html[] {
  const { damaged = 0, missing = 0 } = lastVerification(runs) ?? {};
  return [
    ...damaged > 0
      ? [
        html`The last verification found ${counted(damaged, "damaged version")}: ${
          code("CORRUPT")
        }. Run it with repair, then
        restore what is left from the bucket’s own versions.`,
      ]
      : [],
    ...missing > 0
      ? [
        html`The last verification found ${counted(missing, "missing object")}: ${
          code("LOST")
        }. Run it with repair, then look
        at the versions of each key.`,
      ]
      : [],
  ];
}

function dead({ dead }: Status): Html[] {
  if (dead === 0) return [];
  const keys = dead === 1 ? "1 key has used up its attempts" : `${count(dead)} keys have used up their attempts`;
  return [
    html`${keys} to be archived. ${dead === 1 ? "It stays" : "They stay"} in Redis. <a href="?view=dead">See why</a>,
    end the cause, then retry.`,
  ];
}

function late({ due, oldestDueMs, lastTickMs }: Status, nowMs: number, lateMs: number): Html[] {
  const age = nowMs - lastTickMs;
  if (lastTickMs > 0 && age > lateMs) {
    return [html`No tick has begun for ${duration(age)}. Look at the cron trigger and its log.`];
  }
  if (due === 0 || oldestDueMs <= lateMs) return [];
  if (lastTickMs === 0) {
    return [html`No tick has run yet, and a change has waited for ${duration(oldestDueMs)}. Set up the cron trigger.`];
  }
  return [
    html`The oldest change has waited for ${duration(oldestDueMs)}: ticks fail or do not keep up. Read the report of
    a tick, or raise its bounds.`,
  ];
}

/** An error code, with a link to what it means. */
export function code(word: string): Html {
  return html`<a class="code" href="?view=help#${word}">${word}</a>`;
}
