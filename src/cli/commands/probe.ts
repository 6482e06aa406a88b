/**
 * `tundra probe`: each assumption about database and bucket, tried.
 * @module
 */
import { probe } from "../../operations/probe.ts";
import type { Command } from "../command.ts";
import { diagnose } from "../diagnose.ts";
import { pairs } from "../output/table.ts";
import { EXIT } from "../run.ts";

const LONG_MS = 10 * 60_000;

/** The command. */
export const probeCommand: Command = {
  about:
    "Tries all that Tundra needs of database and bucket, on keys and objects of its own, which it removes. Exits " +
    "with 1 if something is missing. Cost: some 35 requests; 1,010 more to the archive ($0.005) unless --quick.",
  options: { quick: { help: "leave out the pages of a listing, which take 1,001 objects" } },
  example: "probe --quick",
  async run(run) {
    const report = await probe(await run.store(), {
      deadlineMs: LONG_MS,
      signal: run.signal,
      ...(run.args.has("quick") && { maxSubrequests: 100 }),
      onProgress: (progress) => run.progress("probe", progress),
    });
    const { checks, ok } = report;
    if (run.isJson) await run.printJson(report);
    else {
      const { style } = run;
      await run.print(
        ...pairs(
          checks.map(({ name, ok, detail }) => [`${ok ? style.good("ok  ") : style.bad("FAIL")}  ${name}`, detail]),
          run.columns,
        ),
      );
      if (checks.some(({ ok, detail }) => !ok && detail.includes("(UNAVAILABLE)"))) {
        await run.say((await diagnose(run)).join("\n"));
      }
      const bad = checks.filter((check) => !check.ok).length;
      if (bad > 0) await run.say(`${bad} of ${checks.length} checks failed`);
    }
    return ok ? EXIT.fine : EXIT.found;
  },
};
