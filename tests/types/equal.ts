/**
 * Assertions about types. The files of this folder are compiled and never run: `deno task check` compiles them with
 * Deno and with `tsc`. An `@ts-expect-error` fails if the line below it compiles.
 * @module
 */

/** `true` if both types are the same: neither is wider, and no property differs in `?` or `readonly`. */
export type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false;

/** Compiles only for `true`. */
export type Assert<T extends true> = T;
