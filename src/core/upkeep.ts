/**
 * Upkeep: operations that a tick may spend a part of its time on. An application that does not import them does not
 * carry them, so they tell of themselves when they are imported.
 * @module
 */
import { badArgument, type TundraError } from "../base/errors.ts";
import type { Context } from "./context.ts";

/** The bounds of one upkeep within a tick. */
export interface UpkeepBounds {
  deadlineMs: number;
  maxSubrequests: number;
  signal: AbortSignal | undefined;
}

/** The part of its report that a tick passes on. */
export interface UpkeepReport {
  subrequests: number;
  commands: number;
  /** Fields of the tick's report. */
  found: Record<string, number>;
  /** Failures that a tick reports as its own. */
  errors?: TundraError[];
}

/** Operations by the tick's option that asks for them. */
export interface Upkeep {
  sweepMs: (context: Context, bounds: UpkeepBounds) => Promise<UpkeepReport>;
  verifyKeys: (context: Context, bounds: UpkeepBounds, keys: number) => Promise<UpkeepReport>;
}

const known: Partial<Upkeep> = {};

/** Makes an operation known to ticks. */
export function registerUpkeep(operations: Partial<Upkeep>): void {
  Object.assign(known, operations);
}

/**
 * The operation behind a tick's option.
 *
 * @throws {TundraError} `BAD_ARGUMENT` if it is not imported
 */
export function upkeepOf<Name extends keyof Upkeep>(name: Name, value: number): Upkeep[Name] {
  const operation = known[name];
  if (operation !== undefined) return operation as Upkeep[Name];
  throw badArgument("tick", `${name} without import "@tundra/store/operations"`, "0", value);
}
