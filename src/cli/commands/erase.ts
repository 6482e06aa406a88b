/**
 * `tundra erase`: every trace of keys goes from the archive at once, with a proof.
 * @module
 */
import { count, counted } from "../../base/counts.ts";
import { erase } from "../../operations/erase.ts";
import { type Command, MATCH, YES } from "../command.ts";
import { runOperation, sayDry } from "../operation.ts";
import { errorLines } from "../output/errors.ts";
import { EXIT } from "../run.ts";
import { chosenKeys } from "../words.ts";

const WAIT_MS = 2_000;

/** The command. */
export const eraseCommand: Command = {
  usage: "KEY... | --match PATTERN",
  about:
    "Removes keys from Redis, and every version of them from the archive, at once: the right to be forgotten. Then " +
    "all is looked through once more: the proof. What versioning or replication of the bucket keeps is out of reach.",
  options: {
    ...YES,
    ...MATCH,
    "max-keys": { value: "NUMBER", help: "look at about so many keys and versions, and end; the next run goes on" },
  },
  words: [0, Infinity],
  example: "erase --match 'user:7:*' --yes",
  async run(run) {
    const dryRun = !run.args.has("yes");
    const maxKeys = run.args.count("max-keys");
    const chosen = chosenKeys(run.args);
    const store = await run.store();
    const report = await runOperation(run, {
      what: "erase",
      unit: "version",
      dryRun,
      isOneCall: maxKeys !== undefined,
      call: (bounds) => erase(store, chosen, { ...bounds, dryRun, maxKeys }),
      sum: (a, b) => ({
        ...b,
        versions: a.versions + b.versions,
        objects: a.objects + b.objects,
        moved: a.moved + b.moved,
        ...(b.failed === 0 && !b.done && { failed: a.failed, errors: a.errors }), // an aborted call has none
      }),
      isStuck: ({ failed, waiting, versions, moved }) => failed > 0 && waiting + versions + moved === 0,
      waitMs: ({ waiting }) => waiting > 0 ? WAIT_MS : 0,
    });
    const { erased, errors, failed, moved, objects, proof, versions, waiting } = report;
    if (run.isJson) await run.printJson({ dryRun, ...report, proof: proof ?? null });
    else {
      const would = dryRun ? "would be " : "";
      await run.print(
        `${counted(versions, "version")} of ${counted(erased, "key")} ${would}erased from the archive`,
        `(${counted(objects, "object")}), ${counted(moved, "version")} of other keys ${would}moved`,
      );
      if (proof) {
        await run.print(
          `Proof: ${counted(proof.objects, "object")} listed, ${
            counted(proof.packs, "pack")
          } looked into: nothing is left`,
        );
      }
      await run.print(...errorLines(run, errors, failed));
    }
    if (waiting > 0) await run.say(`${count(waiting)} keys wait for another tick: the same command goes on`);
    await sayDry(run, dryRun);
    return failed + waiting > 0 ? EXIT.found : EXIT.fine;
  },
};
