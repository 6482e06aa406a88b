/**
 * Tables for people: aligned columns, the widest texts last.
 * @module
 */
import type { Style } from "./style.ts";
import { widthOf, wrap } from "./text.ts";

/** A column. */
export interface Column {
  title: string;
  /** Numbers stand on the right. */
  right?: boolean;
  /** At least so many characters. */
  width?: number;
}

/** Space between two columns. */
const GAP = "  ";

/** Lines of a table, its titles first. */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[], style: Style): string[] {
  const widths = columns.map(({ title, width = 0 }, i) =>
    rows.reduce((most, row) => Math.max(most, widthOf(row[i] ?? "")), Math.max(width, widthOf(title)))
  );
  const titles = row(columns, columns.map(({ title }) => title), widths);
  return [style.dim(titles), ...rows.map((cells) => row(columns, cells, widths))];
}

/** One line of a table whose widths are known before its rows. */
export function row(columns: readonly Column[], cells: readonly string[], widths: readonly number[]): string {
  return columns.map(({ right }, i) => {
    const cell = cells[i] ?? "";
    const pad = " ".repeat(Math.max(0, (widths[i] ?? 0) - widthOf(cell)));
    return right ? pad + cell : cell + pad;
  }).join(GAP).trimEnd();
}

/** The share of a line that names may take before what does not fit stands below them. */
const MOST_NAME = 0.4;
const BELOW = "      ";

/** Names and what is to be said of each: beside it, or below it if that is too long for the line of a terminal. */
export function pairs(
  list: readonly (readonly [name: string, text: string])[],
  columns: number | undefined,
): string[] {
  const widest = Math.max(0, ...list.map(([name]) => widthOf(name)));
  const isWide = columns !== undefined && widest > MOST_NAME * columns;
  return list.flatMap(([name, text]) => {
    const start = name + " ".repeat(widest - widthOf(name)) + GAP;
    const line = `${start}${text}`.trimEnd();
    if (columns === undefined || widthOf(line) <= columns) return line;
    if (isWide) return [name, ...wrap(`${BELOW}${text}`, columns, BELOW).split("\n")];
    return wrap(line, columns, " ".repeat(widest + GAP.length)).split("\n");
  });
}
