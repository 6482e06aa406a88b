/**
 * `tundra adopt`: takes the keys of an existing database in.
 * @module
 */
import { count, counted } from "../../base/counts.ts";
import { adopt, type AdoptOptions } from "../../operations/adopt.ts";
import { type Command, DEADLINE, MATCH, YES } from "../command.ts";
import { joined, runOperation, sayDry, sumNumbers } from "../operation.ts";
import { errorLines } from "../output/errors.ts";
import { size } from "../output/format.ts";
import { table } from "../output/table.ts";
import { EXIT } from "../run.ts";

/** The command. */
export const adoptCommand: Command = {
  about:
    "Marks the keys of a database that Tundra has no record of, so that ticks archive them. Applications may run " +
    "meanwhile. It goes on from where the last one ended.",
  options: {
    ...YES,
    ...MATCH,
    "type": { value: "TYPE", help: "keys of this type: string, hash, list, set, zset, stream" },
    "min-bytes": { value: "SIZE", help: "keys that take at least so much memory" },
    "unused": { value: "DURATION", help: "keys that were not used for so long; Upstash does not tell" },
    "max-keys": { value: "NUMBER", help: "mark at most so many" },
    ...DEADLINE,
  },
  example: "adopt --match 'cart:*' --min-bytes 1KiB --yes",
  async run(run) {
    const { args } = run;
    const dryRun = !args.has("yes");
    const most = args.count("max-keys") ?? Infinity;
    const options: AdoptOptions = {
      match: args.text("match"),
      type: args.text("type"),
      minBytes: args.bytes("min-bytes"),
      idleOnly: args.durationMs("unused"),
      dryRun,
    };
    const store = await run.store();
    let marked = 0;
    const report = await runOperation(run, {
      what: "adopt",
      unit: "key",
      dryRun,
      async call(bounds) {
        const one = await adopt(store, { ...options, maxKeys: most - marked, ...bounds });
        marked += one.marked;
        return marked >= most ? { ...one, done: true } : one;
      },
      sum: (a, b) => ({
        ...b,
        marked: a.marked + b.marked,
        ...(b.bytes !== undefined && { bytes: (a.bytes ?? 0) + b.bytes }),
        left: sumNumbers(a.left, b.left),
        failed: a.failed + b.failed,
        errors: joined(a.errors, b.errors),
      }),
    });
    if (run.isJson) await run.printJson({ dryRun, ...report });
    else {
      const memory = report.bytes === undefined ? "" : ` (${size(report.bytes)} of memory)`;
      const { known, small, inUse, missing } = report.left;
      const reasons: [string, number, string][] = [
        ["known", known, "Tundra has a record of them"],
        ["small", small, "they take less than --min-bytes"],
        ["in use", inUse, "they were used later than --unused says"],
        ["missing", missing, "they went meanwhile"],
      ];
      const rows = reasons.filter(([, keys]) => keys > 0);
      const titles = [{ title: "LEFT ALONE" }, { title: "KEYS", right: true }, { title: "" }];
      await run.print(
        `${counted(report.marked, "key")}${memory} ${dryRun ? "would be marked" : "marked: ticks archive them"}`,
        ...(rows.length === 0 ? [] : [
          "",
          ...table(titles, rows.map(([name, keys, why]) => [name, count(keys), run.style.dim(why)]), run.style),
        ]),
        ...errorLines(run, report.errors, report.failed),
      );
    }
    await sayDry(run, dryRun, report.marked > 0);
    return report.failed > 0 ? EXIT.found : EXIT.fine;
  },
};
