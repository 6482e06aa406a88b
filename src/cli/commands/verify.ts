/**
 * `tundra verify`: is the archive what Redis takes it for?
 * @module
 */
import { count, counted } from "../../base/counts.ts";
import { verify, type VerifyOptions } from "../../operations/verify.ts";
import { UsageError } from "../arguments.ts";
import { type Command, DEADLINE, YES } from "../command.ts";
import { joined, runOperation } from "../operation.ts";
import { errorLines } from "../output/errors.ts";
import { EXIT } from "../run.ts";

const SHOWN = 1_000;

/** The command. */
export const verifyCommand: Command = {
  about:
    "Reads archived values and compares them with what Redis says of them, then asks for the objects that records " +
    "name. Exits with 1 if something is damaged or missing. --repair --yes marks what is still in Redis, so that a tick " +
    "archives it again.",
  options: {
    "share": { value: "SHARE", help: "a share of the objects, drawn by lot: 0.1 or 10%" },
    "seed": { value: "NUMBER", help: "the seed of that lot" },
    "repair": { help: "mark keys whose archived value is damaged or missing; needs --yes" },
    ...YES,
    "max-keys": { value: "NUMBER", help: "verify about so many, and end" },
    ...DEADLINE,
  },
  example: "verify --share 10%",
  async run(run) {
    const { args } = run;
    const repair = args.has("repair");
    if (args.has("yes") && !repair) throw new UsageError("--yes goes with --repair: nothing else is changed");
    if (repair && !args.has("yes")) await run.say("Nothing is marked without --yes");
    const most = args.count("max-keys") ?? Infinity;
    const options: VerifyOptions = { share: args.share("share") ?? 1, repair: repair && args.has("yes") };
    const seed = args.count("seed", 0);
    if (seed !== undefined) options.seed = seed;
    const store = await run.store();
    let looked = 0;
    const inAll = { damagedInAll: 0, missingInAll: 0 };
    const report = await runOperation(run, {
      what: "verify",
      unit: "version and record",
      dryRun: false,
      async call(bounds) {
        const left = most - looked;
        const one = await verify(store, { ...options, ...(left < Infinity && { maxKeys: left }), ...bounds });
        looked += one.checked + one.records;
        inAll.damagedInAll += one.damaged.length;
        inAll.missingInAll += one.missing.length;
        return one.done || looked < most ? one : { ...one, done: true };
      },
      sum: (a, b) => ({
        ...b,
        checked: a.checked + b.checked,
        records: a.records + b.records,
        damaged: joined(a.damaged, b.damaged, SHOWN),
        missing: joined(a.missing, b.missing, SHOWN),
        repaired: a.repaired + b.repaired,
        failed: a.failed + b.failed,
        errors: joined(a.errors, b.errors),
      }),
    });
    const { checked, damaged, errors, failed, missing, records, repaired } = report;
    const bad = inAll.damagedInAll + inAll.missingInAll;
    if (run.isJson) await run.printJson({ ...report, ...inAll });
    else {
      const again = repaired > 0 ? `; ${counted(repaired, "key")} will be archived again` : "";
      await run.print(
        `${counted(checked, "version")} read and ${counted(records, "record")} looked up: ${
          bad === 0
            ? "nothing is damaged or missing"
            : `${count(inAll.damagedInAll)} damaged, ${count(inAll.missingInAll)} missing`
        }${again}`,
        ...errorLines(run, [
          ...damaged.map(({ key, code, version, current, message }) => ({
            key,
            code,
            message: `${current ? "its current version" : "an older version"} ${version}: ${message}`,
          })),
          ...missing.map(({ key, object }) => ({
            key,
            code: "MISSING",
            message: `the archive does not hold ${object}`,
          })),
        ], bad),
        ...errorLines(run, errors, failed),
      );
      if (bad > 0) await run.say("See what else there is of a key: tundra versions KEY");
    }
    return bad + failed > 0 ? EXIT.found : EXIT.fine;
  },
};
