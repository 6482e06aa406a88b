/**
 * What tests of probe share.
 * @module
 */
import type { ProbeReport } from "../../src/operations/mod.ts";

/** Limits of requests that do not make each probe send 9 MB. */
export const QUICK = { maxRequestBytes: 200_000 };
/** Without the thousand objects that make pages of a listing. */
export const SHORT = { maxSubrequests: 80 };

/** Names of the checks that fail. */
export function failing({ checks }: ProbeReport): string[] {
  return checks.filter(({ ok }) => !ok).map(({ name }) => name);
}

/** What a check says. */
export function detailOf({ checks }: ProbeReport, name: string): string {
  return checks.find((check) => check.name === name)!.detail;
}
