/**
 * The options of the page.
 * @module
 */
import { checkBoolean, checkFunction, checkNames, checkNumber } from "../base/arguments.ts";
import { badArgument, type TundraError } from "../base/errors.ts";
import { checkSecret } from "../base/secrets.ts";

/** The changes that the page may make; what is not named here it cannot do. */
export interface PageAllowance {
  /**
   * `true`: dead keys can be requeued.
   *
   * @default {false}
   */
  retry?: boolean;
  /**
   * `true`: an archived version can be made a key's value again.
   *
   * @default {false}
   */
  restore?: boolean;
  /**
   * `true`: values can be read.
   *
   * @default {false}
   */
  peek?: boolean;
}

/** Options of {@linkcode pageHandler}. */
export interface PageOptions {
  /**
   * The secret that a person signs in with, or a program sends as `Authorization: Bearer ...`: at least 16 characters of
   * visible ASCII. `undefined` is refused at once, as a variable may be missing.
   */
  secret: string | undefined;
  /**
   * The changes that the page may make.
   *
   * @default {none: it only reads, and shows no value}
   */
  allow?: PageAllowance;
  /**
   * The name that the page shows for the store, such as "shop, production": at most 60 characters.
   *
   * @default {none}
   */
  title?: string;
  /**
   * A change that has waited for this long, or no tick for this long, needs a person: 60,000 (a minute) or more
   * milliseconds.
   *
   * @default {3_600_000}
   */
  lateMs?: number;
  /**
   * A browser stays signed in for this long: 60,000 (a minute) to 2,592,000,000 (30 days) milliseconds.
   *
   * @default {28_800_000}
   */
  sessionMs?: number;
  /** Told each error that the page shows; what it throws is ignored. */
  onError?: (error: TundraError) => void;
}

/** Options with their defaults. */
export interface Settings {
  secret: string;
  allow: Required<PageAllowance>;
  title: string;
  lateMs: number;
  sessionMs: number;
  onError: (error: TundraError) => void;
}

/** The words of all errors of arguments. */
export const WHAT = "make a page";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const MOST_TITLE = 60;

/** Checks options. */
export function checkOptions(options: unknown): Settings {
  if (typeof options !== "object" || options === null) throw badArgument(WHAT, "options", "an object", typeof options);
  checkNames(WHAT, options, ["secret", "allow", "title", "lateMs", "sessionMs", "onError"]);
  const { secret, allow = {}, title = "", lateMs = HOUR_MS, sessionMs = 8 * HOUR_MS, onError = () => {} } =
    options as PageOptions;
  const known = ["retry", "restore", "peek"] as const;
  checkNames(WHAT, allow, known);
  for (const name of known) checkBoolean(WHAT, `allow.${name}`, allow[name]);
  if (typeof title !== "string" || title.length > MOST_TITLE) {
    throw badArgument(WHAT, "title", `text of at most ${MOST_TITLE} characters`, title);
  }
  checkNumber(WHAT, "lateMs", lateMs, MINUTE_MS, Infinity, " of milliseconds");
  checkNumber(WHAT, "sessionMs", sessionMs, MINUTE_MS, 30 * 24 * HOUR_MS, " of milliseconds");
  checkFunction(WHAT, "onError", onError);
  const { retry = false, restore = false, peek = false } = allow;
  return { secret: checkSecret(WHAT, secret), allow: { retry, restore, peek }, title, lateMs, sessionMs, onError };
}
