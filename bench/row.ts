/**
 * The row of the benchmarks' table.
 * @module
 */

/** One line of the table. */
export interface Row {
  what: string;
  budget: string;
  measured: string;
  /** Within the budget? Absent if there is none. */
  good?: boolean;
}
