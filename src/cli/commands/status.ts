/**
 * `tundra status`: is the data safe, what waits, what failed, what is to be done.
 * @module
 */
import { contextOf } from "../../core/context.ts";
import { TundraError } from "../../base/errors.ts";
import { isConfirmed } from "../../core/identity.ts";
import { checkIndex } from "../../operations/check_index.ts";
import type { Status } from "../../store_interface.ts";
import type { Command } from "../command.ts";
import { ago, count, counted, duration, size } from "../output/format.ts";
import { pairs, table } from "../output/table.ts";
import { wrap } from "../output/text.ts";
import { EXIT, type Run } from "../run.ts";

/** Something that a person should know. */
export interface Note {
  /** `false`: a person must act. */
  ok: boolean;
  about: "index" | "dead" | "ticks" | "age" | "purge";
  message: string;
}

const HOUR_MS = 3_600_000;

/** The command. */
export const status: Command = {
  about: "Counts of keys by state, the last tick, totals, and what a person must look at. It changes nothing. Cost: " +
    "2 requests, 12 commands.",
  options: {
    "check": { help: "exit with 1 if a person must act: for cron and monitors" },
    "max-age": { value: "DURATION", help: "the oldest due key may wait for so long: 1h" },
    "max-silence": { value: "DURATION", help: "the last tick may be so long ago: 1h" },
  },
  example: "status --check --max-age 30m",
  async run(run) {
    const store = await run.store();
    const limits = {
      ageMs: run.args.durationMs("max-age") ?? HOUR_MS,
      silenceMs: run.args.durationMs("max-silence") ?? HOUR_MS,
    };
    const context = contextOf("read the status", store);
    const [found, id] = await run.unlessInterrupted(Promise.all([
      store.status(),
      checkIndex(context, { signal: run.signal }).catch((thrown) => {
        if (thrown instanceof TundraError && thrown.code === "LOST") return thrown;
        throw thrown;
      }),
    ]));
    const notes = notesOf(found, limits, Date.now(), id);
    if (run.isJson) await run.printJson({ ...found, ok: notes.every(({ ok }) => ok), notes });
    else await print(run, found, notes);
    return run.args.has("check") && notes.some(({ ok }) => !ok) ? EXIT.found : EXIT.fine;
  },
};

/** The notes about these counts. */
export function notesOf(
  status: Status,
  limits: { ageMs: number; silenceMs: number },
  nowMs: number,
  id: string | TundraError,
): Note[] {
  const { dead, dirty, due, lastTickMs, oldestDueMs } = status;
  const notes: Note[] = [];
  const add = (about: Note["about"], ok: boolean, message: string) => notes.push({ ok, about, message });
  if (typeof id !== "string") {
    add("index", false, `${id.message}. If Redis was emptied: tundra rebuild`);
    return notes;
  }
  if (isConfirmed(id)) add("index", true, "the index is there, and belongs to this database and archive");
  else add("index", true, "this is a new store: its first tick takes the archive");
  if (lastTickMs > 0) {
    const ok = nowMs - lastTickMs <= limits.silenceMs;
    add("ticks", ok, `the last tick began ${ago(lastTickMs, nowMs)}${ok ? "" : ": does the cron trigger run?"}`);
  } else add("ticks", dirty === 0, "no tick has run yet");
  if (due > 0) {
    const ok = oldestDueMs <= limits.ageMs;
    const late = ok ? "" : ": ticks are too few, or fail; see tundra tick";
    add("age", ok, `the oldest of ${counted(due, "due key")} has been waiting for ${duration(oldestDueMs)}${late}`);
  } else add("age", true, "no key waits for a tick");
  if (dead > 0) add("dead", false, `${counted(dead, "key")} could not be archived: see tundra dead list`);
  else add("dead", true, "no key is dead");
  return notes;
}

async function print(run: Run, status: Status, notes: readonly Note[]): Promise<void> {
  const { style, columns } = run;
  const { totals } = status;
  const marks = notes.map(({ ok, message }): [string, string] => [
    ok ? style.good("ok  ") : style.bad("FAIL"),
    message,
  ]);
  const states: [string, number, string][] = [
    ["dirty", status.dirty, `changed, not archived yet; of them due: ${count(status.due)}`],
    ["dead", status.dead, "have used up their attempts; they stay in Redis"],
    ["resident", status.resident, "archived, and in Redis"],
    ["idle", status.idle, "of them looked at by ticks that evict"],
    ["evicted", status.evicted, "archived, no longer in Redis"],
    ["purge", status.purge, "removed or expired, to be deleted from the archive"],
  ];
  await run.print(
    ...pairs(marks, columns),
    "",
    ...table(
      [{ title: "STATE" }, { title: "KEYS", right: true }, { title: "" }],
      states.map(([name, keys, text]) => [name, count(keys), style.dim(text)]),
      style,
    ),
    "",
    ...wrap(
      `Totals: ${count(totals.frozen)} archived (${size(totals.bytes)}), ${count(totals.evicted)} evicted, ` +
        `${count(totals.restored)} brought back, ${count(totals.rescued)} rescued, ${count(totals.removed)} removed`,
      columns ?? Infinity,
    ).split("\n"),
  );
}
