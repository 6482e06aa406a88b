/**
 * The options of a command, read as the server reads them: an argument of one is no other, and no key is an option.
 * @module
 */

/**
 * Commands whose options say which keys they use, or whether they replace a value: where the options begin (`3#`: behind
 * as many more arguments as argument 2 says), and each with the number of its arguments (`#`: as many as argument 2
 * says, `*`: all). For a command that replaces a value these are all options with which it always does so; any other may
 * be a condition.
 */
const OPTIONS: Readonly<Record<string, string>> = {
  "copy": "3 replace db:1",
  "geosearchstore": "3 frommember:1 fromlonlat:2 byradius:2 bybox:3 count:1 any asc desc storedist",
  "georadius": "6 withcoord withdist withhash count:1 any asc desc store:1 storedist:1",
  "georadiusbymember": "5 withcoord withdist withhash count:1 any asc desc store:1 storedist:1",
  "json.set": "4",
  "psetex": "4",
  "rename": "3",
  "restore": "4 replace absttl idletime:1 freq:1",
  "scan": "2 match:1 count:1 type:1 withtype",
  "set": "3 ex:1 px:1 exat:1 pxat:1",
  "setex": "4",
  "sort": "2 by:1 limit:2 get:1 asc desc alpha store:1",
  "sort_ro": "2 by:1 limit:2 get:1 asc desc alpha",
  "xread": "1 block:1 count:1 streams:*",
  "xreadgroup": "1 group:2 block:1 count:1 noack claim:1 streams:*",
  "zdiffstore": "3#",
  "zinterstore": "3# weights:# aggregate:1",
  "zrangestore": "5 byscore bylex rev limit:2",
  "zunionstore": "3# weights:# aggregate:1",
};

/** An option of a command: its name, in lower case, and its position. */
export interface Option {
  name: string;
  at: number;
}

/** The options of a command. */
export interface Options {
  options: Option[];
  /** `false`: there are others, which are not known. */
  areKnown: boolean;
}

/** Reads the options of a command: `name` in lower case, and all its words. */
export function optionsOf(name: string, words: readonly string[]): Options {
  const [start, ...specs] = (OPTIONS[name] ?? String(words.length)).split(" ");
  const counted = /^\d+$/.test(words[2] ?? "") ? Number(words[2]) : NaN;
  const lengths = new Map(specs.map((spec) => {
    const [option, length = "0"] = spec.split(":");
    return [option!, length === "*" ? Infinity : length === "#" ? counted : Number(length)];
  }));
  const options: Option[] = [];
  let areKnown = true;
  let at = parseInt(start!) + (start!.endsWith("#") ? counted : 0);
  while (at < words.length) {
    const option = words[at]!.toLowerCase();
    const length = lengths.get(option);
    if (length === undefined) areKnown = false;
    else options.push({ name: option, at });
    at += 1 + (length ?? 0);
  }
  return { options, areKnown: areKnown && (at === words.length || at === Infinity) };
}

/** The options of Redis that name an expiry. */
const EXPIRIES: Readonly<Record<string, { unitMs: number; isAbsolute: boolean }>> = {
  ex: { unitMs: 1000, isAbsolute: false },
  px: { unitMs: 1, isAbsolute: false },
  exat: { unitMs: 1000, isAbsolute: true },
  pxat: { unitMs: 1, isAbsolute: true },
};

/**
 * The time, ms, until the value expires that a command writes in place of another one; not above 0 if it has expired.
 * `Infinity`: it has no expiry, or one that the server refuses.
 */
export function lifetimeMs(name: string, words: readonly string[], nowMs: number): number {
  const [option, value] = expiryOf(name, words) ?? [];
  if (option === undefined || !(Number(value) > 0)) return Infinity;
  const { unitMs, isAbsolute } = EXPIRIES[option]!;
  return Number(value) * unitMs - (isAbsolute ? nowMs : 0);
}

/** The expiry that a command gives its value, as an option of `SET` would say it. */
function expiryOf(name: string, words: readonly string[]): [option: string, value: string | undefined] | undefined {
  if (name === "setex") return ["ex", words[2]];
  if (name === "psetex") return ["px", words[2]];
  if (name !== "set" && name !== "restore") return undefined;
  const { options } = optionsOf(name, words);
  if (name === "restore") return [options.some(({ name }) => name === "absttl") ? "pxat" : "px", words[2]];
  const option = options.find(({ name }) => Object.hasOwn(EXPIRIES, name));
  return option && [option.name, words[option.at + 1]];
}
