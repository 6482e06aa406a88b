/**
 * `tundra peek`: a value, evicted or not, which stays where it is.
 * @module
 */
import { binary, bytes as bytesOf, text as textOf } from "../../base/binary.ts";
import { count, counted } from "../../base/counts.ts";
import { type Context, contextOf, type RequestOptions } from "../../core/context.ts";
import { peek } from "../../operations/peek.ts";
import { readRecords } from "../../scripts/read_records.ts";
import { type ReadValue, readValue } from "../../scripts/read_value.ts";
import type { Command } from "../command.ts";
import { duration, size } from "../output/format.ts";
import { table } from "../output/table.ts";
import { safe, safeName } from "../output/text.ts";
import { EXIT, type Run } from "../run.ts";

const LIMIT = 1_000;
/** Bytes of a string that are shown on a terminal. */
const SHOWN_BYTES = 16_384;
const TTL_MS = 10 * 60_000;

const TITLES: Readonly<Record<string, string[]>> = {
  hash: ["FIELD", "VALUE"],
  zset: ["MEMBER", "SCORE"],
  list: ["ITEM"],
  set: ["MEMBER"],
  stream: ["ID", "FIELDS AND VALUES"],
};

/** The command. */
export const peekCommand: Command = {
  usage: "KEY",
  about:
    "Reads a value and leaves it where it is: an evicted one stays evicted, and reading is no use of it. A string " +
    "comes byte by byte if the output is no terminal. Exits with 1 if the key is absent.",
  options: { limit: { value: "NUMBER", help: `entries of a list, set, hash or stream: ${LIMIT}` } },
  words: [1, 1],
  example: "peek cart:7",
  async run(run) {
    const [key = ""] = run.args.words;
    const store = await run.store();
    const context = contextOf("peek at", store);
    const isCut = run.columns !== undefined && !run.isJson;
    const limits = { bytes: isCut ? SHOWN_BYTES : Infinity, entries: run.args.count("limit") ?? LIMIT };
    const call = { signal: run.signal };
    const read = async (_: unknown, name: string) => {
      const found = await readValue(context.connection, "peek at", name, limits, call);
      if (found && name !== key) found.ttlMs = await archivedTtlMs(context, key, call);
      return found;
    };
    const value = await peek(store, key, read, { signal: run.signal, ttlMs: TTL_MS });
    if (value === undefined) {
      await run.say(`${safeName(key)} is absent: never archived and not in Redis, removed, or expired`);
      return EXIT.found;
    }
    if (run.isJson) await run.printJson({ key, ...forPrograms(value) });
    else await print(run, value);
    return EXIT.fine;
  },
};

/** Milliseconds until an evicted value expires by its own expiry; -1: never. The temporary key has an expiry in any case. */
async function archivedTtlMs(context: Context, key: string, call: RequestOptions): Promise<number> {
  const [record] = await readRecords(context, [key], call);
  return record && record.exp > 0 ? Math.max(0, record.exp - Date.now()) : -1;
}

async function print(run: Run, { type, length, ttlMs, text, entries }: ReadValue): Promise<void> {
  const expiry = ttlMs >= 0 ? `, expires in ${duration(ttlMs)}` : "";
  if (text !== undefined) {
    if (run.columns === undefined) return await run.printBytes(bytesOf(text));
    await run.print(safe(textOf(text)));
    const part = text.length < length ? `; its first ${size(text.length)} are shown, all into a pipe or a file` : "";
    return await run.say(`${type}, ${size(length)}${expiry}${part}`);
  }
  const titles = TITLES[type] ?? ["ENTRY"];
  const rows = entries!.map((entry) => {
    const cells = entry.map((cell) => safeName(textOf(cell)));
    return type === "stream" ? [cells[0]!, cells.slice(1).join(" ")] : cells;
  });
  await run.print(...table(titles.map((title) => ({ title })), rows, run.style));
  const part = rows.length < length ? `; ${count(rows.length)} are shown: --limit raises it` : "";
  await run.say(`${type}, ${counted(length, "entry", "entries")}${expiry}${part}`);
}

/** As JSON has it: text where the bytes are UTF-8, else `{ base64 }`. */
function forPrograms({ type, length, ttlMs, text, entries }: ReadValue): Record<string, unknown> {
  const plain = (value: string) => {
    const decoded = textOf(value);
    return binary(new TextEncoder().encode(decoded)) === value ? decoded : { base64: btoa(value) };
  };
  const expiry = ttlMs >= 0 ? ttlMs : null;
  if (text !== undefined) return { type, length, ttlMs: expiry, value: plain(text) };
  const isFlat = type === "list" || type === "set";
  const value = entries!.map((entry) => isFlat ? plain(entry[0]!) : entry.map(plain));
  return { type, length, ttlMs: expiry, value };
}
