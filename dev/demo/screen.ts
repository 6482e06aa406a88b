/**
 * The output of the demo: steps, a progress bar, a table. On a terminal the bar is one line that is drawn anew;
 * elsewhere it is a line each quarter.
 * @module
 */
import process from "node:process";

const WIDTH = 24;
const terminal = process.stdout.isTTY === true && process.env.TERM !== "dumb";
const colour = terminal && process.env.NO_COLOR === undefined;

/** `text` in bold, on a terminal. */
export function bold(text: string): string {
  return colour ? `\x1b[1m${text}\x1b[0m` : text;
}

/** `text` in green or red, on a terminal. */
export function verdict(good: boolean, text: string): string {
  return colour ? `\x1b[${good ? 32 : 31}m${text}\x1b[0m` : text;
}

/** Prints a line of a step; `name` begins it if it is the step's first. */
export function say(name: string, text: string): void {
  console.log(`${bold(name.padEnd(11))}${text}`);
}

/** A progress bar; `end` replaces it by the step's line. */
export function progress(
  name: string,
): { show(done: number, all: number, note: string): void; end(text: string): void } {
  let quarter = 0;
  return {
    show(done, all, note) {
      const share = all === 0 ? 1 : done / all;
      if (terminal) {
        const full = Math.round(share * WIDTH);
        const bar = "█".repeat(full) + "░".repeat(WIDTH - full);
        process.stdout.write(`\r\x1b[K${bold(name.padEnd(11))}${bar} ${percent(share)}  ${note}`);
      } else if (share < 1 && Math.floor(share * 4) > quarter) {
        quarter = Math.floor(share * 4);
        say(name, `${percent(share)}  ${note}`);
      }
    },
    end(text) {
      if (terminal) process.stdout.write("\r\x1b[K");
      say(name, text);
    },
  };
}

/** Prints rows under a head; the first column is text, the others are numbers. */
export function table(head: string[], rows: string[][]): void {
  const widths = head.map((cell, i) => Math.max(cell.length, ...rows.map((row) => row[i]!.length)));
  const line = (cells: string[]) =>
    cells.map((cell, i) => i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)).join("  ");
  console.log(bold(line(head)));
  for (const row of rows) console.log(line(row));
}

/** `12,345` */
export function count(n: number): string {
  return Math.round(n).toLocaleString("en");
}

/** `12.3 MB` */
export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

/** `1.2 s` */
export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

/** Of a sorted list: the value that this share of it does not exceed. */
export function quantile(values: number[], share: number): number {
  const ordered = [...values].sort((a, b) => a - b);
  return ordered[Math.max(0, Math.ceil(share * ordered.length) - 1)] ?? NaN;
}

function percent(share: number): string {
  return `${Math.floor(share * 100)}%`.padStart(4);
}
