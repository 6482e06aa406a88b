/**
 * Charts over time: a picture and a table that need no script, and the numbers from which a script draws better ones.
 * @module
 */
import { count } from "../base/counts.ts";
import type { Activity } from "../operations/activity.ts";
import { type Html, html, trusted } from "./html.ts";
import { table } from "./layout.ts";
import { duration, time } from "./words.ts";

type Hour = Activity["hours"][number];
type ChartName = "keys" | "waiting" | "work" | "age";

interface Series {
  label: string;
  /** Its value in an hour, given the hour before; `undefined`: not known. */
  of(hour: Hour, before: Hour | undefined): number | undefined;
}

interface Chart {
  title: string;
  series: readonly Series[];
  /** A value in words; default: a count. */
  say?: (value: number) => string;
}

const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;
/** Hours further apart than this have a gap between them. */
const GAP_MS = 1.5 * HOUR_MS;

const made = (field: "frozen" | "evicted" | "restored") => (hour: Hour, before: Hour | undefined) => {
  const more = before === undefined ? -1 : hour.totals[field] - before.totals[field];
  return more < 0 ? undefined : more; // a rebuild begins the totals anew
};

const CHARTS: Readonly<Record<ChartName, Chart>> = {
  keys: {
    title: "Keys in the archive",
    series: [
      { label: "Evicted", of: (hour) => hour.evicted },
      { label: "Also in Redis", of: (hour) => hour.resident },
    ],
  },
  waiting: {
    title: "Keys that wait",
    series: [
      { label: "Not archived yet", of: (hour) => hour.dirty },
      { label: "Due", of: (hour) => hour.due },
      { label: "Dead letters", of: (hour) => hour.dead },
    ],
  },
  work: {
    title: "Done each hour",
    series: [
      { label: "Archived", of: made("frozen") },
      { label: "Evicted", of: made("evicted") },
      { label: "Brought back", of: made("restored") },
    ],
  },
  age: {
    title: "Minutes that the oldest due change has waited",
    series: [{ label: "Minutes", of: (hour) => Math.round(hour.oldestDueMs / MINUTE_MS) }],
    say: (minutes) => duration(minutes * MINUTE_MS),
  },
};

/** Tells if there is enough for a chart. */
export function hasChart(hours: readonly Hour[]): boolean {
  return hours.length > 1;
}

/** Times in ms, and a row of values for each series; `null` where nothing is known. */
interface Data {
  times: number[];
  values: (number | null)[][];
}

/** One chart, with the numbers of so many hours at most. */
export function chartOf(which: ChartName, hours: readonly Hour[], most = Infinity): Html {
  const { title, series, say = count } = CHARTS[which];
  if (!hasChart(hours)) {
    return html`
      <figure class="sheet chart">
        <figcaption>${title}</figcaption>
        <p class="muted">Charts appear once ticks
      have run in two different hours.</p>
      </figure>
    `;
  }
  const data = dataOf(series, hours);
  const peak = Math.max(1, ...data.values.flat().map((value) => value ?? 0));
  const top = roundUp(peak);
  const labels = series.map(({ label }) => label);
  const [first, last] = [data.times[0]!, data.times.at(-1)!];
  const json = JSON.stringify({ labels, times: data.times.map((ms) => ms / 1000), values: data.values });
  return html`
    <figure class="sheet chart" data-chart="${json}">
      <figcaption>${title}</figcaption>
      <ul class="legend">${labels.map((label, i) =>
        html`<li><svg viewBox="0 0 26 8" aria-hidden="true"><path class="s${i}" d="M0 4H26"/></svg>${label}</li>`
      )}</ul>
      <div class="plot" aria-hidden="true">
        <div class="y"><span>${count(top)}</span><span>${count(top / 2)}</span><span>0</span></div>
        <svg viewBox="0 0 1000 100" preserveAspectRatio="none"><path class="grid" d="M0 0H1000M0 50H1000M0 100H1000"/>
    ${data.values.map((values, i) => trusted(`<path class="s${i}" d="${pathOf(data.times, values, top)}"/>`))}</svg>
        <div class="x"><span>${day(first)}</span><span>${day(last)}</span></div>
      </div>
      <details><summary>The numbers</summary>${numbers(title, labels, data, say, most)}</details>
    </figure>
  `;
}

function dataOf(series: readonly Series[], hours: readonly Hour[]): Data {
  const data: Data = { times: [], values: series.map(() => []) };
  hours.forEach((hour, i) => {
    const before = hours[i - 1];
    const isAfterGap = before !== undefined && hour.atMs - before.atMs > GAP_MS;
    if (isAfterGap) add(data, before.atMs + HOUR_MS, series.map(() => null));
    add(data, hour.atMs, series.map(({ of }) => of(hour, isAfterGap ? undefined : before) ?? null));
  });
  return data;
}

function add({ times, values }: Data, ms: number, row: (number | null)[]): void {
  times.push(ms);
  row.forEach((value, i) => values[i]!.push(value));
}

/** The path of one series in a box of 1000 by 100; it is interrupted where nothing is known. */
function pathOf(times: number[], values: (number | null)[], top: number): string {
  const [first, span] = [times[0]!, Math.max(1, times.at(-1)! - times[0]!)];
  let path = "";
  let isOpen = false;
  values.forEach((value, i) => {
    if (value !== null) {
      const [x, y] = [1000 * (times[i]! - first) / span, 100 - 100 * value / top];
      path += `${isOpen ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(2)}${isOpen ? "" : "h0.01"}`;
    }
    isOpen = value !== null;
  });
  return path;
}

/** The numbers of a chart, the youngest hour first. */
function numbers(
  title: string,
  labels: string[],
  { times, values }: Data,
  say: (value: number) => string,
  most: number,
): Html {
  const rows = times.map((ms, i) => [
    time(ms),
    ...values.map((row) => row[i] === null ? html`<span class="muted">no tick</span>` : say(row[i]!)),
  ]);
  const shown = rows.reverse().slice(0, most);
  return html`${table(title, ["Hour", ...labels], shown, labels.map((_, i) => i + 1))}
${shown.length < rows.length && html`<p class="small"><a href="?view=history">All hours</a></p>`}`;
}

/** The next round number, of which the half is whole. */
function roundUp(value: number): number {
  const unit = 10 ** Math.floor(Math.log10(value));
  const steps = value < 10 ? [2, 4, 6, 8, 10] : [1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10];
  return unit * steps.find((each) => each * unit >= value)!;
}

function day(ms: number): string {
  return new Date(ms).toISOString().slice(5, 16).replace("T", " ");
}
