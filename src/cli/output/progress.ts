/**
 * Progress on the stream for messages: a line that changes on a terminal, now and then a line elsewhere.
 * @module
 */
import { count } from "../../base/counts.ts";
import type { HostStream } from "../host.ts";
import { duration } from "./format.ts";

/** Numbers of a progress. */
export interface Counts {
  done: number;
  total?: number;
  perSecond: number;
}

const BAR = 20;
const TERMINAL_MS = 100;
const PLAIN_MS = 10_000;

/** Shows progress, at most so often. */
export interface ProgressLine {
  /** Shows numbers, unless some were shown just before. */
  show(what: string, counts: Counts): void;
  /** Removes the line, before something else is written. */
  clear(): void;
}

/** Progress on a stream; none if it is quiet. */
export function progressLine(
  stream: HostStream,
  quiet: boolean,
  nowMs: () => number = () => performance.now(),
): ProgressLine {
  let shownAt = nowMs();
  let isShown = false;
  return {
    show(what, counts) {
      const { isTerminal, columns } = stream;
      const now = nowMs();
      if (quiet || now - shownAt < (isTerminal ? TERMINAL_MS : PLAIN_MS)) return;
      shownAt = now;
      if (!isTerminal) return void stream.write(`${what}: ${textOf(counts)}\n`);
      const line = `${what}  ${bar(counts)}${textOf(counts)}`;
      void stream.write(`\r\u001b[K${line.slice(0, columns - 1)}`);
      isShown = true;
    },
    clear() {
      if (isShown) void stream.write("\r\u001b[K");
      isShown = false;
    },
  };
}

function bar({ done, total }: Counts): string {
  if (total === undefined || total <= 0) return "";
  const share = Math.min(1, done / total);
  const full = Math.floor(share * BAR);
  return `[${"#".repeat(full)}${".".repeat(BAR - full)}] ${`${Math.floor(share * 100)}`.padStart(3)} %  `;
}

/** `12,300 of 27,000, 3,100/s, 4 s left`. */
function textOf({ done, total, perSecond }: Counts): string {
  const rate = perSecond >= 10 ? count(perSecond) : perSecond.toFixed(1);
  const of = total === undefined ? "" : ` of ${count(total)}`;
  const left = total !== undefined && total > done && perSecond > 0
    ? `, ${duration((1000 * (total - done)) / perSecond)} left`
    : "";
  return `${count(done)}${of}, ${rate}/s${left}`;
}
