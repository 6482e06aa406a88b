/**
 * Errors of single keys in the report of an operation.
 * @module
 */
import type { TundraError, TundraErrorCode } from "../base/errors.ts";

/** A key with which an operation failed. */
export interface KeyError {
  /** The key. */
  key: string;
  /** The code of its error. */
  code: TundraErrorCode;
  /** The message of its error. */
  message: string;
}

/** Errors of keys, until they are reported. */
export interface KeyErrors {
  add(key: string, error: TundraError): void;
  /** Their number, and the first of them. */
  report(): { failed: number; errors: KeyError[] };
}

/** So many errors are reported. */
const MOST = 100;

/** No errors yet. */
export function keyErrors(): KeyErrors {
  const errors: KeyError[] = [];
  let failed = 0;
  return {
    add(key, { code, message }) {
      failed++;
      if (errors.length < MOST) errors.push({ key, code, message });
    },
    report: () => ({ failed, errors }),
  };
}
