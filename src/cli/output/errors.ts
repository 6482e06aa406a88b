/**
 * Errors of single keys, for people.
 * @module
 */
import { count } from "../../base/counts.ts";
import type { Run } from "../run.ts";
import { table } from "./table.ts";
import { safe, safeName } from "./text.ts";

/** An error of one key, or with the key "" of none. */
export interface Failed {
  key: string;
  code: string;
  message: string;
}

const SHOWN = 20;

/** Lines about keys that failed; none if there are none. */
export function errorLines(run: Run, errors: readonly Failed[], failed: number = errors.length): string[] {
  if (failed === 0) return [];
  const rows = errors.slice(0, SHOWN).map((
    { key, code, message },
  ) => [code, key === "" ? "-" : safeName(key), safe(message)]);
  const titles = [{ title: "ERROR" }, { title: "KEY" }, { title: "" }];
  const more = failed - rows.length;
  return [
    "",
    ...table(titles, rows, run.style),
    ...(more > 0 ? [`and ${count(more)} more: --json has some of them`] : []),
  ];
}
