/**
 * Operations on an index and its archive that an application seldom needs. An application that does not import them
 * does not carry them.
 *
 * @example
 * ```ts
 * import { tundraFromEnv } from "@tundra/store";
 * import { moveIndex } from "@tundra/store/operations";
 *
 * export const move = () => moveIndex(tundraFromEnv());
 * ```
 * @module
 */
export type { OperationOptions, OperationReport, Progress } from "./bounds.ts";
export { moveIndex, type MoveIndexOptions, type MoveIndexReport } from "./move_index.ts";
export { sweep, type SweepOptions } from "./sweep.ts";
export type { Reason as SweepReason } from "./sweep_rules.ts";
export type { SweepReport } from "./sweep_run.ts";
export { type Version, type Versions, versions, type VersionsOptions } from "./versions.ts";
