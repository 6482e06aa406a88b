/**
 * `tundra status`: is the data safe, what waits, what failed, what is to be done.
 * @module
 */
import { count } from "../../base/counts.ts";
import { TundraError } from "../../base/errors.ts";
import { contextOf } from "../../core/context.ts";
import { activity } from "../../operations/activity.ts";
import { checkIndex } from "../../operations/check_index.ts";
import type { Status } from "../../store_interface.ts";
import type { Command } from "../command.ts";
import { type Note, notesOf } from "../notes.ts";
import { size } from "../output/format.ts";
import { pairs, table } from "../output/table.ts";
import { wrap } from "../output/text.ts";
import { EXIT, type Run } from "../run.ts";

const HOUR_MS = 3_600_000;

/** The command. */
export const status: Command = {
  about: "Counts of keys by state, the last tick, sweep and verification, totals, and what a person must look at. It " +
    "changes nothing. Cost: 3 requests, 15 commands.",
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
    const counts = store.status();
    const past = activity(store, { signal: run.signal });
    const index = checkIndex(context, { signal: run.signal }).catch((thrown) => {
      if (thrown instanceof TundraError && thrown.code === "LOST") return thrown;
      throw thrown;
    });
    await run.unlessInterrupted(Promise.allSettled([counts, past, index])); // so that the same one fails every time
    const [found, { runs }, id] = await Promise.all([await counts, past, index]);
    const notes = notesOf(found, runs, limits, Date.now(), id);
    if (run.isJson) await run.printJson({ ...found, ok: notes.every(({ ok }) => ok), notes });
    else await print(run, found, notes);
    return run.args.has("check") && notes.some(({ ok }) => !ok) ? EXIT.found : EXIT.fine;
  },
};

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
  await run.print(...pairs(marks, columns));
  if (notes.some(({ about, ok }) => about === "index" && !ok)) return; // counts of another index, or of none
  await run.print(
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
