/**
 * `tundra warm`: brings evicted keys back ahead of need.
 *
 * It changes nothing for good, but it fills Redis and costs commands, and without a pattern it would bring everything
 * back: so it is a dry run until `--yes`, as all that changes something.
 * @module
 */
import { count, counted } from "../../base/counts.ts";
import { warm, type WarmOptions } from "../../operations/warm.ts";
import { type Command, DEADLINE, MATCH, YES } from "../command.ts";
import { runOperation, sayDry } from "../operation.ts";
import { errorLines } from "../output/errors.ts";
import { size } from "../output/format.ts";
import { EXIT } from "../run.ts";
import { chosenKeys } from "../words.ts";

/** The command. */
export const warmCommand: Command = {
  usage: "KEY... | --match PATTERN",
  about:
    "Brings evicted keys back into Redis, as ensureKs does. They count as just used. Without --yes it says how many " +
    "there are and how much memory they take, as it can fill a database.",
  options: {
    ...YES,
    ...MATCH,
    "max-keys": { value: "NUMBER", help: "bring at most so many back" },
    "max-bytes": { value: "SIZE", help: "bring at most so much back" },
    ...DEADLINE,
  },
  words: [0, Infinity],
  example: "warm --match 'product:*' --max-keys 5000 --yes",
  async run(run) {
    const { args } = run;
    const dryRun = !args.has("yes");
    const chosen = chosenKeys(args);
    const store = await run.store();
    const report = await runOperation(run, {
      what: "warm",
      unit: "key",
      dryRun,
      isOneCall: true, // another one would count what this one has brought back as not evicted
      async call(bounds) {
        const options: WarmOptions = {
          ...bounds,
          dryRun,
          maxKeys: args.count("max-keys") ?? Infinity,
          maxBytes: args.bytes("max-bytes") ?? Infinity,
        };
        const one = Array.isArray(chosen)
          ? await warm(store, chosen, options)
          : await warm(store, { ...options, ...chosen });
        return { ...one, done: one.done || one.enough };
      },
    });
    const { errors, failed, left, warmed } = report;
    if (run.isJson) await run.printJson({ dryRun, ...report });
    else {
      await run.print(
        `${counted(warmed, "evicted key")} (${size(report.bytes)}) ${dryRun ? "would come back" : "came back"}; ${
          count(left)
        } ${left === 1 ? "is" : "are"} not evicted`,
        ...errorLines(run, errors, failed),
      );
    }
    await sayDry(run, dryRun, warmed > 0);
    return failed > 0 ? EXIT.found : EXIT.fine;
  },
};
