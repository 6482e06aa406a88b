/**
 * `tundra versions`: what the archive holds of a key.
 * @module
 */
import { counted } from "../../base/counts.ts";
import { type Version, versions } from "../../operations/versions.ts";
import type { Command } from "../command.ts";
import { size, time } from "../output/format.ts";
import { table } from "../output/table.ts";
import { safeName } from "../output/text.ts";
import { EXIT } from "../run.ts";

const LONG_MS = 10 * 60_000;

/** The options of commands that search for versions. */
export const MAX_PACKS = {
  "max-packs": { value: "NUMBER", help: "packs to look into, the youngest ones: 256" },
};

/** The command. */
export const versionsCommand: Command = {
  usage: "KEY",
  about:
    "Lists what the archive holds of a key, the newest first; each is a name for restore. Exits with 1 if there is " +
    "none, or one cannot be read.",
  options: {
    "max-versions": { value: "NUMBER", help: "versions to list: 100" },
    ...MAX_PACKS,
    "places": { help: "show the object that holds each" },
  },
  words: [1, 1],
  example: "versions cart:7",
  async run(run) {
    const { args } = run;
    const [key = ""] = args.words;
    const [maxVersions, maxPacks] = [args.count("max-versions"), args.count("max-packs", 0)];
    const all = await versions(await run.store(), key, {
      ...(maxVersions !== undefined && { maxVersions }),
      ...(maxPacks !== undefined && { maxPacks }),
      deadlineMs: LONG_MS,
      signal: run.signal,
      onProgress: (progress) => run.progress("versions", progress),
    });
    if (run.isJson) await run.printJson({ key, versions: all, unreadPacks: finite(all.unreadPacks) });
    else if (all.length === 0) await run.say(`The archive holds no version of ${safeName(key)}`);
    else {
      const places = args.has("places");
      const titles = [
        { title: "ARCHIVED" },
        { title: "SIZE", right: true },
        { title: "EXPIRES" },
        { title: "VERSION" },
        {
          title: "",
        },
        ...(places ? [{ title: "PLACE" }] : []),
      ];
      const rows = all.map((each) => [
        time(each.atMs),
        each.gone ? "-" : size(each.bytes),
        time(each.expMs),
        each.version,
        wordsOf(each),
        ...(places ? [safeName(each.place)] : []),
      ]);
      await run.print(...table(titles, rows, run.style));
    }
    if (all.unreadPacks > 0) {
      const packs = all.unreadPacks === Infinity ? "Packs" : counted(all.unreadPacks, "older pack");
      await run.say(`${packs} were not looked into: --max-packs raises it`);
    }
    return all.length === 0 || all.some(({ error }) => error !== undefined) ? EXIT.found : EXIT.fine;
  },
};

function wordsOf({ current, error, gone, orphan }: Version): string {
  const removal = gone === "removed" ? "removed" : gone === "inferred" ? "was missing" : "";
  return [error, removal, current ? "current" : "", orphan ? "orphan" : ""].filter(Boolean).join(", ");
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}
