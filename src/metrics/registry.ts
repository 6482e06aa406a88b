/**
 * Counters and histograms in memory, and their text in Prometheus' format 0.0.4.
 * @module
 */
import type { Labels } from "./record.ts";
import type { Metric } from "./table.ts";

/** The media type of the text. */
export const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** One series: a counter's or gauge's value, or a histogram's buckets. */
interface Series {
  labels: string;
  value: number;
  /** Of a histogram: the number of values up to each bound, not yet cumulative; the last is that beyond all bounds. */
  counts?: number[];
}

/** Numbers by metric and labels. */
export interface Registry {
  add(metric: Metric, value: number, labels?: Labels): void;
  set(metric: Metric, value: number, labels?: Labels): void;
  text(): string;
}

/** Makes a registry whose every series has the labels `common`. */
export function registry(common: Labels, buckets: readonly number[]): Registry {
  const metrics = new Map<Metric, Map<string, Series>>();

  const seriesOf = (metric: Metric, labels: Labels): Series => {
    let all = metrics.get(metric);
    if (!all) metrics.set(metric, all = new Map());
    const text = spell({ ...common, ...labels });
    let series = all.get(text);
    if (!series) all.set(text, series = { labels: text, value: 0 });
    return series;
  };

  return {
    add(metric, value, labels = {}) {
      const series = seriesOf(metric, labels);
      series.value += value;
      if (metric.kind !== "histogram") return;
      series.counts ??= Array.from({ length: buckets.length + 1 }, () => 0);
      const bucket = buckets.findIndex((bound) => value <= bound);
      series.counts[bucket < 0 ? buckets.length : bucket]!++;
    },
    set(metric, value, labels = {}) {
      seriesOf(metric, labels).value = value;
    },
    text() {
      let text = "";
      for (const [{ name, kind, help }, all] of metrics) {
        text += `# HELP ${name} ${help}\n# TYPE ${name} ${kind}\n`;
        for (const series of all.values()) text += lines(name, series, buckets);
      }
      return text;
    },
  };
}

function lines(name: string, { labels, value, counts }: Series, buckets: readonly number[]): string {
  if (!counts) return `${name}{${labels}} ${value}\n`;
  let text = "";
  let sum = 0;
  for (const [i, count] of counts.entries()) {
    sum += count;
    text += `${name}_bucket{${labels},le="${buckets[i] ?? "+Inf"}"} ${sum}\n`;
  }
  return `${text}${name}_sum{${labels}} ${value}\n${name}_count{${labels}} ${sum}\n`;
}

function spell(labels: Labels): string {
  return Object.entries(labels).map(([name, value]) => `${name}="${escape(value)}"`).join(",");
}

function escape(value: string): string {
  return value.replace(/[\\"\n]/g, (character) => character === "\n" ? "\\n" : `\\${character}`);
}
