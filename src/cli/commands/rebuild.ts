/**
 * `tundra rebuild`: the index from the archive alone.
 * @module
 */
import { checkMethods } from "../../base/arguments.ts";
import { count, counted } from "../../base/counts.ts";
import type { Datastore } from "../../datastores/datastore.ts";
import { rebuild, type RebuildOptions } from "../../operations/rebuild.ts";
import { type Command, DEADLINE, YES } from "../command.ts";
import { joined, runOperation, sayDry } from "../operation.ts";
import { errorLines } from "../output/errors.ts";
import { table } from "../output/table.ts";
import { EXIT } from "../run.ts";

/** The command. */
export const rebuildCommand: Command = {
  about:
    "Makes the index in Redis anew of the archive, after Redis has lost it or for a new database. Until it is done, " +
    "all other calls on this index fail with LOST. Values that no tick had archived are not in the archive. An index " +
    "that is whole is left as it is. Exits with 1 if keys are lost.",
  options: {
    ...YES,
    "take-over": { help: "take the archive of another database, whose ticks were stopped" },
    "from": { value: "FILE", help: "module whose default export is a datastore to copy from" },
    "skip-damaged": { help: "pass over objects that cannot be read, and report them" },
    "max-keys": { value: "NUMBER", help: "learn of about so many keys, and end; the next run goes on" },
    ...DEADLINE,
  },
  example: "rebuild --yes",
  async run(run) {
    const { args } = run;
    const dryRun = !args.has("yes");
    const store = await run.store();
    const options: RebuildOptions = {
      takeOver: args.has("take-over"),
      skipDamaged: args.has("skip-damaged"),
      dryRun,
      maxKeys: args.count("max-keys"),
    };
    const from = args.text("from");
    if (from !== undefined) {
      const datastore = await run.configuration.load("--from", from);
      checkMethods(
        "rebuild an index",
        "--from",
        datastore,
        ["fetchKeys", "listKeys"],
        "a module that exports a datastore",
      );
      options.from = datastore as Datastore;
    }
    const report = await runOperation(run, {
      what: "rebuild",
      unit: "key",
      dryRun,
      isOneCall: options.maxKeys !== undefined,
      call: (bounds) => rebuild(store, { ...options, ...bounds }),
      sum: (a, b) => ({ ...b, failed: a.failed + b.failed, errors: joined(a.errors, b.errors) }),
    });
    const { copied, errors, evicted, failed, gone, keys, lost, objects, packs, resident } = report;
    if (run.isJson) await run.printJson({ dryRun, ...report });
    else if (keys === 0 && failed === 0 && report.done) {
      await run.print("The index is whole, or the archive was never used: there is nothing to rebuild");
    } else {
      const rows: [string, number, string][] = [
        ["evicted", evicted, "ensureKs brings them back"],
        ["resident", resident, "are in Redis, and are archived again"],
        ["gone", gone, "were removed, or have expired"],
        ["lost", lost, "have two newest versions: ensureKs fails for them"],
      ];
      await run.print(
        `${counted(keys, "key")} ${dryRun ? "would have" : keys === 1 ? "has" : "have"} a record again, of ${
          counted(objects, "object")
        } and ${counted(packs, "pack")}${copied > 0 ? `; ${counted(copied, "object")} copied` : ""}`,
        "",
        ...table(
          [{ title: "STATE" }, { title: "KEYS", right: true }, { title: "" }],
          rows.map(([name, n, text]) => [name, count(n), run.style.dim(text)]),
          run.style,
        ),
        ...errorLines(run, errors, failed),
      );
    }
    await sayDry(run, dryRun, keys > 0);
    return lost + failed > 0 ? EXIT.found : EXIT.fine;
  },
};
