/**
 * A failure's text for a person, and its exit code.
 * @module
 */
import { TundraError } from "../base/errors.ts";
import { isUsage } from "./configuration.ts";
import { safeName } from "./output/text.ts";
import { EXIT } from "./run.ts";

/** A failure for a person. */
export interface Failure {
  text: string;
  exitCode: number;
  /** The error that says that a server did not answer, which is to be diagnosed. */
  unavailable?: TundraError;
}

const MOST_CAUSES = 10;

/** The next step for each code, in a few words. */
const ADVICE: Partial<Record<string, string>> = {
  LOST: "See `tundra probe`; if Redis was emptied, `tundra rebuild` makes the index anew of the archive",
  CORRUPT: "See `tundra versions KEY` for other versions, and `tundra verify` for the extent",
  CONFLICT: "Nothing was changed for these keys",
};

/** The text and the exit code for what a command has thrown. */
export function failureOf(thrown: unknown, name: string, isDebug: boolean): Failure {
  const start = `tundra ${name}: `;
  if (isUsage(thrown)) {
    const { message } = thrown as Error;
    return { text: `${start}${message}\nSee: tundra ${name} --help`, exitCode: EXIT.usage };
  }
  if (!(thrown instanceof TundraError)) {
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    const stack = isDebug ? `\n${error.stack}` : "\nTUNDRA_DEBUG=1 shows where";
    return { text: `${start}${error.message}${stack}`, exitCode: EXIT.found };
  }
  const lines = [`${start}${thrown.code}: ${thrown.message}`, ...causesOf(thrown)];
  const unavailable = unavailableIn(thrown);
  if (unavailable === undefined) {
    const advice = ADVICE[thrown.code];
    return { text: [...lines, ...(advice ? [advice] : [])].join("\n"), exitCode: EXIT.found };
  }
  const exitCode = unavailable.retryable ? EXIT.unreachable : EXIT.usage;
  return { text: lines.join("\n"), exitCode, unavailable };
}

/** The error that says that a server did not answer: this one, or that of all its keys. */
function unavailableIn(error: TundraError): TundraError | undefined {
  if (error.code === "UNAVAILABLE") return error;
  const causes = Object.values(error.causes).filter((cause) => cause instanceof TundraError);
  return causes.length > 0 && causes.every(({ code }) => code === "UNAVAILABLE") ? causes[0] : undefined;
}

function causesOf({ causes }: TundraError): string[] {
  const all = Object.entries(causes);
  const shown = all.slice(0, MOST_CAUSES).map(([key, cause]) => {
    const code = cause instanceof TundraError ? `${cause.code}: ` : "";
    return `  ${safeName(key)}: ${code}${cause.message}`;
  });
  return all.length > shown.length ? [...shown, `  and ${all.length - shown.length} more`] : shown;
}
