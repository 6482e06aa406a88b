/**
 * `tundra advise`: what archiving would cost and save.
 * @module
 */
import { count } from "../../base/counts.ts";
import type { PlanAdvice } from "../../operations/advice.ts";
import { advise, type AdviseOptions, type AdviseReport } from "../../operations/advise.ts";
import { type Command, MATCH } from "../command.ts";
import { dollars, size } from "../output/format.ts";
import { table } from "../output/table.ts";
import { safeName } from "../output/text.ts";
import { EXIT, type Run } from "../run.ts";

const LONG_MS = 10 * 60_000;

/** The command. */
export const adviseCommand: Command = {
  about:
    "Samples a database, and says for each prefix of its keys after how many days archiving and evicting them has " +
    "paid for itself. It only reads, and needs no bucket. Cost: 105 requests and 4,101 commands at most ($0.01).",
  options: {
    ...MATCH,
    "separator": { value: "TEXT", help: "a key's prefix ends with the first of these: ':'" },
    "max-keys": { value: "NUMBER", help: "names to look at: 100000" },
    "sample": { value: "NUMBER", help: "keys to measure: 2000" },
    "smallest": { value: "SIZE", help: "values that take less stay in Redis: 1KiB" },
    "returns": { value: "NUMBER", help: "times a month that an evicted key comes back: 1" },
  },
  example: "advise --returns 4",
  async run(run) {
    const { args } = run;
    const options: AdviseOptions = {
      match: args.text("match"),
      separator: args.text("separator"),
      maxKeys: args.count("max-keys", 1_000),
      sampleKeys: args.count("sample", 100),
      minEvictBytes: args.bytes("smallest"),
      returnsAMonth: args.count("returns", 0),
      deadlineMs: LONG_MS,
      signal: run.signal,
      onProgress: (progress) => run.progress("advise", progress),
    };
    const report = await advise(await run.configuration.database(), options);
    if (run.isJson) await run.printJson(report);
    else await print(run, report);
    if (!report.done && run.signal?.aborted) await run.say("The numbers are those of a part");
    return EXIT.fine;
  },
};

async function print(run: Run, { keys, bytes, exact, prefixes, plans }: AdviseReport): Promise<void> {
  const names = Object.keys(plans);
  const letter = (i: number) => String.fromCharCode(65 + i);
  const right = (title: string) => ({ title, right: true });
  const about = exact ? "" : "about ";
  await run.print(
    `${about}${count(keys)} keys, about ${size(bytes)} of memory`,
    "",
    ...table(
      [{ title: "" }, { title: "PLAN" }, right("A MONTH NOW"), right("IF ALL LEFT THAT PAYS BACK IN A YEAR")],
      names.map((name, i) => [letter(i), name, dollars(plans[name]!.nowAMonth), dollars(plans[name]!.thenAMonth)]),
      run.style,
    ),
    "",
    "Days until a prefix has paid back, by plan:",
    "",
    ...table(
      [right("KEYS"), right("MEMORY"), right("SMALL"), right("EXPIRE"), ...names.map((_, i) => right(letter(i))), {
        title: "PREFIX",
      }],
      prefixes.map((each) => [
        count(each.keys),
        size(each.bytes),
        percent(each.small),
        percent(each.expiring),
        ...names.map((name) => daysOf(each.plans[name]!)),
        each.prefix === "" ? "(none)" : safeName(each.prefix),
      ]),
      run.style,
    ),
  );
}

function daysOf({ payBackDays }: PlanAdvice): string {
  return payBackDays > 36_500 ? "never" : count(Math.ceil(payBackDays));
}

function percent(share: number): string {
  return `${Math.round(100 * share)} %`;
}
