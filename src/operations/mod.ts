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
export { type Activity, activity, type ActivityOptions, type DailyRun, type Hour } from "./activity.ts";
export { adopt, type AdoptOptions, type AdoptReport } from "./adopt.ts";
export type { PlanAdvice, PrefixAdvice, Prices } from "./advice.ts";
export { advise, type AdviseOptions, type AdviseReport } from "./advise.ts";
export type { OperationOptions, OperationReport, Progress } from "./bounds.ts";
export { erase, type EraseOptions, type EraseReport } from "./erase.ts";
export type { ErasureProof } from "./erase_run.ts";
export type { KeyError } from "./key_errors.ts";
export { type KeyStateName, list, type ListedKey, type ListOptions } from "./list.ts";
export { moveIndex, type MoveIndexOptions, type MoveIndexReport } from "./move_index.ts";
export { peek, type PeekOptions } from "./peek.ts";
export type { ArchivePrices, RedisPrices } from "./prices.ts";
export { probe, type ProbeCheck, type ProbeOptions, type ProbeReport } from "./probe.ts";
export { rebuild, type RebuildOptions, type RebuildReport } from "./rebuild.ts";
export { restoreVersion, type RestoreVersionOptions, type RestoreVersionReport } from "./restore_version.ts";
export { sweep, type SweepOptions } from "./sweep.ts";
export type { Reason as SweepReason } from "./sweep_rules.ts";
export type { SweepReport } from "./sweep_run.ts";
export { verify, type VerifyOptions, type VerifyReport } from "./verify.ts";
export type { DamagedVersion, MissingVersion } from "./verify_state.ts";
export { type Version, type Versions, versions, type VersionsOptions } from "./versions.ts";
export { warm, type WarmOptions, type WarmReport } from "./warm.ts";
