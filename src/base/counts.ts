/**
 * Numbers as people read them.
 * @module
 */

/** `1,234,567`, or `unknown`. */
export function count(n: number): string {
  return Number.isFinite(n) ? Math.round(n).toLocaleString("en-US") : "unknown";
}

/** `1 key`, `2 keys`, `1,234 keys` */
export function counted(n: number, one: string, several = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : several}`;
}
