/**
 * `tundra list`: the keys that Tundra knows.
 * @module
 */
import { counted } from "../../base/counts.ts";
import { type KeyStateName, list } from "../../operations/list.ts";
import { type Command, MATCH } from "../command.ts";
import { size, time } from "../output/format.ts";
import { type Column, row } from "../output/table.ts";
import { json, safe, safeName } from "../output/text.ts";
import { EXIT } from "../run.ts";

const STATES: readonly KeyStateName[] = ["dirty", "resident", "evicted", "dead", "gone"];
/** Rows come as they are found, so their widths are known before. */
const COLUMNS: Column[] = [
  { title: "STATE" },
  { title: "SIZE", right: true },
  { title: "ARCHIVED" },
  { title: "KEY" },
];
const WIDTHS = [8, 10, 20, 0];
/** Rows that are written at a time. */
const BATCH = 200;

/** The command. */
export const listCommand: Command = {
  about:
    "Lists the keys that Tundra knows, in no order, also evicted ones. Sizes are rounded up to 1 KiB. With --json " +
    "one JSON object a line. Cost: 3 requests for each 1,000 records.",
  options: {
    ...MATCH,
    state: { value: "STATE", help: `only keys in this state: ${STATES.join(", ")}` },
    limit: { value: "NUMBER", help: "end after so many keys" },
  },
  example: "list --match 'cart:*' --state evicted",
  async run(run) {
    const { args, signal, style, isJson } = run;
    const limit = args.count("limit") ?? Infinity;
    const options = { match: args.text("match"), state: args.choice("state", STATES), signal };
    const keys = list(await run.store(), options);
    const from = performance.now();
    let lines: string[] = [];
    let listed = 0;
    const flush = async () => {
      if (lines.length > 0) await run.print(...lines);
      lines = [];
    };
    try {
      for await (const each of keys) {
        if (signal?.aborted) break;
        const { key, state, bytes, atMs, error } = each;
        if (listed === 0 && !isJson) lines.push(style.dim(row(COLUMNS, COLUMNS.map(({ title }) => title), WIDTHS)));
        if (isJson) lines.push(json(each));
        else {
          lines.push(row(COLUMNS, [state, size(bytes), time(atMs), safeName(key)], WIDTHS));
          if (error !== "") lines.push(style.bad(`  ${safe(error)}`));
        }
        listed++;
        if (lines.length >= BATCH) {
          await flush();
          const seconds = (performance.now() - from) / 1_000;
          if (!run.host.stdout.isTerminal) run.progress("list", { done: listed, perSecond: listed / seconds });
        }
        if (listed >= limit) break;
      }
    } finally {
      await flush();
    }
    if (listed === 0 || run.host.stdout.isTerminal) await run.say(counted(listed, "key"));
    return EXIT.fine;
  },
};
