/**
 * `tundra sweep`: deletes from the archive what nothing needs.
 * @module
 */
import { count, counted } from "../../base/counts.ts";
import { sweep, type SweepOptions } from "../../operations/sweep.ts";
import { type Command, DEADLINE, YES } from "../command.ts";
import { joined, runOperation, sayDry, sumNumbers } from "../operation.ts";
import { errorLines } from "../output/errors.ts";
import { table } from "../output/table.ts";
import { EXIT } from "../run.ts";

/** The reasons of a sweep, in words. */
const REASONS: Readonly<Record<string, string>> = {
  named: "the record of their key names them",
  superseded: "a newer version took their place",
  removed: "their key was removed",
  expired: "they are past their own expiry",
  orphan: "no record names them, though nothing newer does either",
  moved: "they lie in a younger pack too",
  tombstone: "they say that a key was removed",
  unsupported: "their record is of another layout",
  young: "they are younger than 48 hours",
};

/** The command. */
export const sweepCommand: Command = {
  about:
    "Deletes from the archive what nothing needs, and rewrites packs of which little is left. It goes on from where " +
    "the last one ended. What was superseded stays for restore until --keep is over.",
  options: {
    ...YES,
    "keep": { value: "DURATION", help: "keep superseded versions so long beyond 48 hours: 7d" },
    "keep-orphans": { value: "DURATION", help: "keep what no record names for so long: 30d" },
    ...DEADLINE,
  },
  example: "sweep --keep 14d --yes",
  async run(run) {
    const { args } = run;
    const dryRun = !args.has("yes");
    const options: SweepOptions = {
      keepMs: args.durationMs("keep"),
      keepOrphansMs: args.durationMs("keep-orphans"),
      dryRun,
    };
    const store = await run.store();
    const report = await runOperation(run, {
      what: "sweep",
      unit: "version",
      dryRun,
      call: (bounds) => sweep(store, { ...options, ...bounds }),
      sum: (a, b) => ({
        ...b,
        deleted: a.deleted + b.deleted,
        moved: a.moved + b.moved,
        kept: a.kept + b.kept,
        objects: a.objects + b.objects,
        deletedFor: sumNumbers(a.deletedFor, b.deletedFor),
        keptFor: sumNumbers(a.keptFor, b.keptFor),
        errors: joined(a.errors, b.errors),
      }),
    });
    const { deleted, deletedFor, errors, kept, keptFor, moved, objects } = report;
    if (run.isJson) await run.printJson({ dryRun, ...report });
    else {
      const rows = (word: string, reasons: Record<string, number | undefined>) =>
        Object.entries(reasons).filter(([, n = 0]) => n > 0).map(([reason, n = 0]) => [
          word,
          count(n),
          reason,
          run.style.dim(REASONS[reason] ?? ""),
        ]);
      const would = dryRun ? "would be " : "";
      await run.print(
        `${counted(deleted, "version")} ${would}deleted (${counted(objects, "object")}), ${
          count(moved)
        } ${would}moved, ` +
          `${count(kept)} stay`,
        "",
        ...table(
          [{ title: "" }, { title: "VERSIONS", right: true }, { title: "REASON" }, { title: "" }],
          [...rows(dryRun ? "would go" : "deleted", deletedFor), ...rows("stay", keptFor)],
          run.style,
        ),
        ...errorLines(run, errors.map(({ name, ...rest }) => ({ key: name, ...rest }))),
      );
    }
    await sayDry(run, dryRun, deleted + moved > 0);
    return errors.length > 0 ? EXIT.found : EXIT.fine;
  },
};
