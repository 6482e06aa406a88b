/**
 * `tundra restore`: an archived version becomes a key's value again.
 * @module
 */
import { restoreVersion } from "../../operations/restore_version.ts";
import { UsageError } from "../arguments.ts";
import { type Command, YES } from "../command.ts";
import { sayDry } from "../operation.ts";
import { size, time } from "../output/format.ts";
import { safeName } from "../output/text.ts";
import { EXIT } from "../run.ts";
import { MAX_PACKS } from "./versions.ts";

/** The command. */
export const restore: Command = {
  usage: "KEY [VERSION]",
  about:
    "Makes an archived version a key's value again, as a change that the next tick archives; the present value stays " +
    "in the history. VERSION is a name that versions lists; --at takes the one that was the newest at a time. A change " +
    "that is not archived is never replaced.",
  options: {
    ...YES,
    "at": { value: "TIME", help: "the newest at 2026-11-25T12:00:00Z, or 3h ago" },
    "to": { value: "KEY", help: "another key, which must hold nothing; the present one stays" },
    "expired": { help: "also a version that is past its own expiry, without one" },
    ...MAX_PACKS,
  },
  words: [1, 2],
  example: "restore cart:7 --at 2026-11-25T12:00:00Z --to cart:7:old --yes",
  async run(run) {
    const { args } = run;
    const [key = "", version] = args.words;
    const at = args.date("at");
    if ((version === undefined) === (at === undefined)) throw new UsageError("It takes a VERSION, or --at TIME");
    const maxPacks = args.count("max-packs", 0);
    const dryRun = !args.has("yes");
    const to = args.text("to");
    const report = await restoreVersion(await run.store(), key, version ?? at!, {
      ...(to !== undefined && { to }),
      expired: args.has("expired"),
      dryRun,
      ...(maxPacks !== undefined && { maxPacks }),
      signal: run.signal,
      onProgress: (progress) => run.progress("restore", progress),
    });
    if (run.isJson) await run.printJson({ dryRun, ...report });
    else {
      const expiry = report.expMs > 0 ? `, which expires at ${time(report.expMs)}` : "";
      await run.print(
        `${safeName(report.key)} ${dryRun ? "would get" : "has got"} the value of version ${report.version}`,
        `archived at ${time(report.atMs)}, ${size(report.bytes)}${expiry}`,
      );
    }
    await sayDry(run, dryRun);
    return EXIT.fine;
  },
};
