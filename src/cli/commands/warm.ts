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
import { joined, runOperation, sayDry } from "../operation.ts";
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
    const [mostKeys, mostBytes] = [args.count("max-keys") ?? Infinity, args.bytes("max-bytes") ?? Infinity];
    const store = await run.store();
    let [keys, bytes] = [0, 0];
    const report = await runOperation(run, {
      what: "warm",
      unit: "key",
      dryRun,
      async call(bounds) {
        const options: WarmOptions = { ...bounds, dryRun };
        if (mostKeys < Infinity) options.maxKeys = mostKeys - keys;
        if (mostBytes < Infinity) options.maxBytes = mostBytes - bytes;
        const one = Array.isArray(chosen)
          ? await warm(store, chosen, options)
          : await warm(store, { ...options, ...chosen });
        keys += one.warmed;
        bytes += one.bytes;
        const isEnough = keys >= mostKeys || bytes >= mostBytes || (mostBytes < Infinity && one.warmed === 0);
        return isEnough ? { ...one, done: true } : one;
      },
      sum: (a, b) => ({
        ...b,
        warmed: a.warmed + b.warmed,
        bytes: a.bytes + b.bytes,
        left: a.left + b.left,
        failed: a.failed + b.failed,
        errors: joined(a.errors, b.errors),
      }),
    });
    const { errors, failed, left, warmed } = report;
    if (run.isJson) await run.printJson({ dryRun, ...report });
    else {
      await run.print(
        `${counted(warmed, "evicted key")} (${size(report.bytes)}) ${dryRun ? "would come back" : "came back"}; ${
          count(left)
        } are not evicted`,
        ...errorLines(run, errors, failed),
      );
    }
    await sayDry(run, dryRun, warmed > 0);
    return failed > 0 ? EXIT.found : EXIT.fine;
  },
};
