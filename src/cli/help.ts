/**
 * The help: of all commands, and of one.
 * @module
 */
import type { OptionSpecs } from "./arguments.ts";
import type { Command } from "./command.ts";
import { COMMANDS } from "./commands.ts";
import { PLACE_OPTIONS, TICK_STORE_OPTIONS } from "./configuration.ts";
import { pairs } from "./output/table.ts";
import { wrap } from "./output/text.ts";

/** Options of every command. */
export const COMMON_OPTIONS: OptionSpecs = {
  "json": { help: "data for programs on the standard output" },
  "quiet": { help: "no progress" },
  "no-color": { help: "no colours; so does NO_COLOR" },
  "help": { help: "this help; -h too" },
};

const WIDTH = 80;

/** The options that a command takes. */
export function optionsOf(command: Command): OptionSpecs {
  return { ...command.options, ...(command.ticks && TICK_STORE_OPTIONS), ...PLACE_OPTIONS, ...COMMON_OPTIONS };
}

/** The help of `tundra --help`. */
export function generalHelp(): string {
  return [
    "tundra COMMAND [OPTIONS]: looks at a store of @tundra/store, and acts on it",
    "",
    ...pairs(Object.entries(COMMANDS).map(([name, { summary }]) => [`  ${name}`, summary]), WIDTH),
    "",
    ...wrap(
      "What changes anything says what it would do, and does it with --yes; tick is the regular job and needs none. " +
        "A store is where flags, environment variables and .env say, in this order: UPSTASH_REDIS_REST_URL, " +
        "UPSTASH_REDIS_REST_TOKEN, TUNDRA_S3_BUCKET, TUNDRA_S3_REGION, TUNDRA_S3_ACCESS_KEY_ID, " +
        "TUNDRA_S3_SECRET_ACCESS_KEY; or in a module of yours, by --store FILE or TUNDRA_STORE.",
      WIDTH,
    ).split("\n"),
    "",
    "Exit codes: 0 fine; 1 something was found or failed that a person must see;",
    "2 wrong usage or configuration; 3 a server does not answer; 130 interrupted.",
    "",
    "Example: tundra status --check",
    "Help of a command: tundra COMMAND --help",
  ].join("\n");
}

/** The help of `tundra COMMAND --help`. */
export function commandHelp(name: string, command: Command): string {
  const own = { ...command.options, ...(command.ticks && TICK_STORE_OPTIONS) };
  const list = (title: string, options: OptionSpecs) =>
    Object.keys(options).length === 0 ? [] : [
      "",
      title,
      ...pairs(
        Object.entries(options).map(([option, { value, help }]) => [`  --${option}${value ? ` ${value}` : ""}`, help]),
        WIDTH,
      ),
    ];
  return [
    `tundra ${name}${command.usage ? ` ${command.usage}` : ""} [OPTIONS]`,
    "",
    wrap(command.about, WIDTH),
    ...list("Options", own),
    ...list("Store", PLACE_OPTIONS),
    ...list("Output", COMMON_OPTIONS),
    "",
    `Example: tundra ${command.example}`,
  ].join("\n");
}
