/**
 * Colours, where they are wanted.
 * @module
 */
import type { Host, HostStream } from "../host.ts";

/** Functions that colour a text, or leave it as it is. */
export interface Style {
  bold(text: string): string;
  dim(text: string): string;
  good(text: string): string;
  bad(text: string): string;
}

const PLAIN: Style = { bold: same, dim: same, good: same, bad: same };
const COLOURS: Style = { bold: code(1), dim: code(2), good: code(32), bad: code(31) };

/** Colours for a terminal, unless `--no-color`, NO_COLOR or a terminal without them says otherwise. */
export function styleOf(stream: HostStream, env: Host["env"], noColor: boolean): Style {
  return stream.isTerminal && !noColor && !env.NO_COLOR && env.TERM !== "dumb" ? COLOURS : PLAIN;
}

function same(text: string): string {
  return text;
}

function code(number: number): (text: string) => string {
  return (text) => `\u001b[${number}m${text}\u001b[0m`;
}
