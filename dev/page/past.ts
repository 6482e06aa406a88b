/**
 * A past that never was: rows of hours as ticks write them, so that charts have something to show.
 * @module
 */
import { KEPT_HOURS } from "../../src/scripts/note_hour.ts";

const HOUR_MS = 60 * 60 * 1000;

/** Counts of a store's `stats`. */
export type Totals = Record<string, number>;

/**
 * Field and row, field and row, ... for each hour of the 14 days before this one but a few without a tick, with days and
 * nights. They rise to the totals that there are now.
 */
export function pastRows(nowMs: number, totals: Totals, random: () => number = Math.random): string[] {
  const rows: string[] = [];
  const hours = KEPT_HOURS - 1;
  for (let n = hours; n >= 1; n--) {
    const isAway = n > 130 && n < 139;
    if (isAway) continue;
    const atMs = Math.floor(nowMs / HOUR_MS) * HOUR_MS - n * HOUR_MS + 60_000;
    const day = Math.max(0, Math.sin(((atMs / HOUR_MS) % 24 - 6) / 24 * 2 * Math.PI));
    const share = 1 - n / hours + 0.012 * day;
    const wobble = (least: number, more: number) => Math.round(least + more * day + 0.1 * more * random());
    const due = wobble(2, 40);
    const then = Object.entries(totals).map(([name, now]) =>
      `${name} ${Math.round(now * Math.min(1, name === "archived" ? 0.45 + 0.55 * share : share))}`
    );
    const row = [atMs, wobble(20, 260), due, n < 20 ? 2 : 0, wobble(0, 4), atMs - wobble(4_000, 170_000), ...then];
    rows.push(String(Math.floor(atMs / HOUR_MS) % KEPT_HOURS), row.join(" "));
  }
  return rows;
}
