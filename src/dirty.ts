/**
 * dirty: marks the keys that the application has changed.
 * @module
 */
import { checkBoolean, optionsFirst } from "./base/arguments.ts";
import { badArgument, show, TundraError } from "./base/errors.ts";
import { checkKeys } from "./base/keys.ts";
import { failed, forBatches } from "./core/batches.ts";
import type { Context } from "./core/context.ts";
import { isRebuilding } from "./core/identity.ts";
import { copiedIndex, MAX_ROUNDS, movedOn, rebuildUnderWay, unsupportedRecord } from "./core/key_errors.ts";
import { mark, type MarkException } from "./scripts/mark.ts";

/** Options of `dirty()` and `dirtyIn()`. */
export interface DirtyOptions {
  /**
   * `true`: the write replaced the whole value (`SET`), so it may replace an evicted value too. `false`: such a key is
   * `CONFLICT`.
   *
   * @default {false}
   */
  overwrite?: boolean;
  /**
   * The meaning of a key that does not exist. `"throw"`: `MISSING`. `"del"`: the command removed it (the last `LPOP`,
   * `SREM`, `HDEL`; `GETDEL`), and it stays deleted.
   *
   * @default {"throw"}
   */
  missing?: "throw" | "del";
}

/** The arguments of `dirty(...)`: options or none, then keys, or one array of keys. */
export function dirtyArguments(what: string, args: readonly unknown[]): { options: DirtyOptions; keys: string[] } {
  const { options, keys } = optionsFirst<DirtyOptions>(what, args, ["overwrite", "missing"]);
  const { overwrite, missing } = options;
  checkBoolean(what, "overwrite", overwrite);
  if (missing !== undefined && missing !== "throw" && missing !== "del") {
    throw badArgument(what, "missing", `"throw" or "del"`, missing);
  }
  return { options, keys: checkKeys(what, keys) };
}

/** The error of a key that was not marked. */
export function markError({ key, why, record }: MarkException): TundraError {
  const details = { keys: [key] };
  switch (why) {
    case "copy":
      return isRebuilding(record) ? rebuildUnderWay(record) : copiedIndex(record);
    case "missing":
      return new TundraError("MISSING", `Cannot mark ${show(key)} as it must exist: it is not in Redis`, details);
    case "blind write":
      return new TundraError(
        "CONFLICT",
        `Cannot mark ${show(key)} as its value must be in Redis before it is changed: it is evicted; call ensureKs() ` +
          `before the write, or pass { overwrite: true } if it replaced the whole value`,
        details,
      );
    case "blind removal":
      return new TundraError(
        "CONFLICT",
        `Cannot mark ${show(key)} as its value must be in Redis before it is removed: it is evicted; call ensureKs() ` +
          `before the command, or del() to delete it`,
        details,
      );
    case "again":
      return movedOn("mark", key);
    case "unsupported":
      return unsupportedRecord("mark", key);
  }
}

/** The error of a `dirty()` that did not mark these keys; `alsoFailed` becomes its cause. */
export function dirtyError(failures: ReadonlyMap<string, TundraError>, alsoFailed?: unknown): TundraError {
  return failed(
    "mark",
    failures,
    ["LOST", "UNAVAILABLE", "UNSUPPORTED", "CONFLICT", "MISSING"],
    "UNAVAILABLE",
    alsoFailed,
  );
}

/** Marks keys; see {@linkcode TundraStore.dirty}. */
export async function dirty(context: Context, keys: string[], options: DirtyOptions): Promise<void> {
  const missing = options.missing ?? "throw";
  const failures = new Map<string, TundraError>();
  await forBatches(context, keys, failures, "mark keys", async (batch) => {
    const { freezeDelayMs, index } = context;
    const overwrite = options.overwrite ? "report" : "never";
    const exceptions: MarkException[] = [];
    let waiting = batch;
    for (let round = 1; waiting.length > 0; round++) {
      const blind: MarkException[] = [];
      for (const exception of await mark(index, waiting, { freezeDelayMs, missing, overwrite })) {
        (options.overwrite && exception.why === "blind write" ? blind : exceptions).push(exception);
      }
      if (blind.length === 0) break;
      waiting = blind.map(({ key }) => key);
      const expected = blind.map(({ record }) => record);
      const outcomes = await mark(index, waiting, { freezeDelayMs, missing, overwrite: "cas", expected });
      waiting = [];
      for (const exception of outcomes) {
        if (exception.why === "again" && round < MAX_ROUNDS) waiting.push(exception.key);
        else exceptions.push(exception);
      }
    }
    for (const exception of exceptions) failures.set(exception.key, markError(exception));
  });
  if (failures.size > 0) throw dirtyError(failures);
}
