/**
 * Numbers, sizes, times and words for people.
 * @module
 */

import { count } from "../../base/counts.ts";

const UNITS = ["KiB", "MiB", "GiB", "TiB"];
const SPANS: [name: string, ms: number][] = [["d", 86_400_000], ["h", 3_600_000], ["min", 60_000], ["s", 1_000]];

/** `512 B`, `1.5 MiB`. */
export function size(bytes: number): string {
  if (bytes < 1_024) return `${Math.round(bytes)} B`;
  let value = bytes / 1_024;
  let unit = 0;
  while (value >= 1_023.95 && unit < UNITS.length - 1) {
    value /= 1_024;
    unit++;
  }
  return `${value.toFixed(1)} ${UNITS[unit]}`;
}

/** `40 s`, `3 min`, `5 h`, `12 d`: rounded down. */
export function duration(ms: number): string {
  const [name, each] = SPANS.find(([, each]) => ms >= each) ?? ["ms", 1];
  return `${count(Math.floor(Math.max(0, ms) / each))} ${name}`;
}

/** `2026-11-26 17:20:03Z`; "-" for 0. */
export function time(ms: number): string {
  return ms > 0 && ms < 8.64e15 ? new Date(ms).toISOString().replace("T", " ").replace(/\.\d+/, "") : "-";
}

/** `2026-11-26 17:20:03Z, 3 min ago`. */
export function ago(ms: number, nowMs: number): string {
  return `${time(ms)}, ${duration(nowMs - ms)} ago`;
}

/** `$1.25`, `$0.004`. */
export function dollars(amount: number): string {
  const digits = Math.abs(amount) >= 0.095 || amount === 0 ? 2 : 4;
  return `${amount < 0 ? "-" : ""}$${
    Math.abs(amount).toLocaleString("en-US", {
      minimumFractionDigits: digits,
      maximumFractionDigits: digits,
    })
  }`;
}
