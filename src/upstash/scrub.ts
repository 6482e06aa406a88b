/**
 * The text about a request that an error may show: its commands' names and the server's message without arguments.
 * @module
 */

/** Commands of a request. */
export type Commands = readonly (readonly unknown[])[];

const MAX_MESSAGE = 300;
/** The shortest argument that is hidden everywhere; shorter ones, which may be parts of words, only in quotes. */
const MIN_BARE = 6;
/** Words by which the server says what is wrong: a key called "script" must not hide them. */
const SERVER_WORDS = new Set(
  ("command compiling exceeded number request response script shebang syntax unexpected unknown " +
    "allow-key-locking allow-oom no-writes").split(" "),
);
/** The length of an argument's beginning that is looked for; all that follows a longer one is hidden too. */
const ECHOED = 64;

/** `GET`, `SET, GET`, `MGET, DUMP and 3 more`: each name once. */
export function commandNames(commands: Commands): string {
  const names = new Set<string>();
  for (const [name] of commands) {
    names.add(
      typeof name === "string" && /^[A-Za-z][A-Za-z0-9._-]{0,31}$/.test(name) ? name.toUpperCase() : "a command",
    );
  }
  const list = [...names];
  const shown = list.slice(0, 4).join(", ") || "an empty request";
  return list.length > 4 ? `${shown} and ${list.length - 4} more` : shown;
}

/** The server's message without its end, which repeats the request's arguments. */
export function ownWords(message: string): string {
  const echo = message.search(/[,;]? *(with args beginning with|command was)\b/i);
  return echo < 0 ? message : message.slice(0, echo);
}

/** The server's message on one line, without anything that came from the request but the commands' names. */
export function scrub(message: string, commands: Commands, secrets: readonly string[] = []): string {
  let rest = ownWords(message).replace(/\s+/g, " ");
  const code = /^[A-Z][A-Z0-9]* /.exec(rest)?.[0] ?? "";
  rest = rest.slice(code.length);
  for (const secret of secrets) rest = hidden(rest, secret);
  for (const argument of echoed(rest, commands)) {
    rest = argument.length >= MIN_BARE && !SERVER_WORDS.has(argument)
      ? rest.replaceAll(argument, "...")
      : quoted(rest, argument);
  }
  const all = code + rest;
  return all.length > MAX_MESSAGE ? all.slice(0, MAX_MESSAGE) + "..." : all;
}

/** The arguments that occur in the message, longest first: one may hold another. */
function echoed(message: string, commands: Commands): string[] {
  const found = new Set<string>();
  for (const command of commands) {
    for (const argument of command.slice(1)) {
      // Redis makes spaces of newlines and cuts long arguments before it echoes them
      const start = String(argument).slice(0, ECHOED).replace(/\s+/g, " ");
      const at = start.trim() === "" ? -1 : message.indexOf(start);
      if (at < 0) continue;
      found.add(start.length < ECHOED ? start : message.slice(at));
    }
  }
  return [...found].sort((a, b) => b.length - a.length);
}

/** The message without the secret. A secret as short as a word is hidden only as a whole word, not inside others. */
function hidden(message: string, secret: string): string {
  if (secret.length >= MIN_BARE) return message.replaceAll(secret, "...");
  return message.split(/([A-Za-z0-9]+)/).map((part) => part === secret ? "..." : part).join("");
}

function quoted(message: string, argument: string): string {
  for (const quote of ["'", '"', "`"]) message = message.replaceAll(quote + argument + quote, `${quote}...${quote}`);
  return message;
}
