/**
 * keepUp: the time that a tick spends on the archive's upkeep: sweeps, and checks of what is archived.
 * @module
 */
import { asTundraError } from "../base/errors.ts";
import { type UpkeepBounds, upkeepOf, type UpkeepReport } from "../core/upkeep.ts";
import type { TickRun } from "./run.ts";

/** A check may take as long, if keys are asked for. */
const VERIFY_MS = 5_000;
/** The requests without which an operation does not begin. */
const LEAST_REQUESTS = 20;

/** Sweeps and verifies as the options say; a failure is one of the tick's errors. */
export async function keepUp(run: TickRun): Promise<void> {
  const { context, settings } = run;
  const { sweepMs, verifyKeys, signal } = settings;
  const one = async (what: string, deadlineMs: number, act: (bounds: UpkeepBounds) => Promise<UpkeepReport>) => {
    const maxSubrequests = run.requests.unspent();
    if (signal?.aborted || maxSubrequests < LEAST_REQUESTS) return;
    try {
      const { subrequests, commands, found, errors = [] } = await act({ deadlineMs, maxSubrequests, signal });
      run.requests.add(subrequests);
      run.report.commands += commands;
      Object.assign(run.report, found);
      for (const error of errors) run.fail(error);
    } catch (thrown) {
      if (!signal?.aborted) run.fail(asTundraError(thrown, what));
    }
  };
  if (sweepMs > 0) await one("sweep", sweepMs, (bounds) => upkeepOf("sweepMs", sweepMs)(context, bounds));
  if (verifyKeys > 0) {
    const verify = upkeepOf("verifyKeys", verifyKeys);
    await one("verify the archive", VERIFY_MS, (bounds) => verify(context, bounds, verifyKeys));
  }
}
