/**
 * `tundra dead`: keys that could not be archived, and their return to the queue.
 * @module
 */
import { count, counted } from "../../base/counts.ts";
import type { DeadLetter } from "../../dead_letters.ts";
import type { TundraStore } from "../../store_interface.ts";
import { UsageError } from "../arguments.ts";
import { type Command, YES } from "../command.ts";
import { time } from "../output/format.ts";
import { table } from "../output/table.ts";
import { safe, safeName } from "../output/text.ts";
import { EXIT, type Run } from "../run.ts";

const PAGE = 1_000;
const SHOWN = 100;
const NAMED = 20;

/** The command. */
export const dead: Command = {
  usage: "list | retry KEY... | retry --all",
  about:
    "Dead keys have used up their attempts: they stay in Redis, are not archived and never evicted. list shows them " +
    "with their last error, the one that has been dead the longest first. retry puts them into the queue again: do it " +
    "once the cause is gone.",
  options: {
    limit: { value: "NUMBER", help: `list: at most so many: ${SHOWN}` },
    code: { value: "CODE", help: "only keys whose last error has this code: TOO_LARGE" },
    all: { help: "retry: all dead keys, or all with --code" },
    ...YES,
  },
  words: [0, Infinity],
  example: "dead retry --all --code UNSUPPORTED --yes",
  async run(run) {
    const [act = "list", ...keys] = run.args.words;
    if (act === "list" && keys.length === 0) return await list(run);
    if (act === "retry") return await retry(run, keys);
    throw new UsageError(
      `It takes list, or retry with keys: current value is ${JSON.stringify(run.args.words.join(" "))}`,
    );
  },
};

async function list(run: Run): Promise<number> {
  const { args, style } = run;
  const limit = args.count("limit") ?? SHOWN;
  const store = await run.store();
  const letters: DeadLetter[] = [];
  const code = args.text("code");
  for await (const letter of deadOnes(run, store)) {
    if ((code === undefined || letter.code === code) && letters.push(letter) >= limit) break;
  }
  if (run.isJson) {
    await run.printJson(letters);
    return EXIT.fine;
  }
  if (letters.length === 0) {
    await run.say(`No key is dead${code === undefined ? "" : ` with ${safe(code)}`}`);
    return EXIT.fine;
  }
  const titles = [{ title: "DEAD SINCE" }, { title: "ATTEMPTS", right: true }, { title: "CODE" }, { title: "KEY" }];
  const rows = letters.map(({ key, code, attempts, at }) => [time(at), count(attempts), code, safeName(key)]);
  const [head, ...lines] = table(titles, rows, style);
  await run.print(head!, ...lines.flatMap((line, i) => [line, style.dim(`  ${safe(letters[i]!.message)}`)]));
  await run.say("They go into the queue again with: tundra dead retry KEY, or --all");
  return EXIT.fine;
}

async function retry(run: Run, named: readonly string[]): Promise<number> {
  const { args } = run;
  const isAll = args.has("all");
  if (isAll === named.length > 0) throw new UsageError("retry takes keys, or --all");
  if (args.has("limit")) throw new UsageError("--limit is one of list: retry takes keys, or --all");
  const store = await run.store();
  const wanted = new Set(named);
  const wantedCode = args.text("code");
  const keys: string[] = [];
  const others = new Map<string, string>(); // keys that are dead with another code
  for await (const { key, code } of deadOnes(run, store)) {
    if (!isAll && !wanted.has(key)) continue;
    if (wantedCode === undefined || code === wantedCode) keys.push(key);
    else others.set(key, code);
  }
  const isDry = !args.has("yes");
  let requeued = 0;
  for (let i = 0; !isDry && i < keys.length && !run.signal?.aborted; i += PAGE) {
    requeued += await store.retryDead(keys.slice(i, i + PAGE));
    run.progress("dead retry", { done: requeued, total: keys.length, perSecond: requeued });
  }
  const passedOver = named.filter((key) => others.has(key));
  const alive = named.filter((key) => !keys.includes(key) && !others.has(key));
  if (run.isJson) await run.printJson({ dryRun: isDry, dead: keys.length, requeued, keys, notDead: alive });
  else {
    await run.print(
      isDry
        ? `${counted(keys.length, "dead key")} would go into the queue again`
        : `${counted(requeued, "dead key")} went into the queue again`,
      ...keys.slice(0, NAMED).map((key) => `  ${safeName(key)}`),
      ...(keys.length > NAMED ? [`  and ${count(keys.length - NAMED)} more`] : []),
    );
  }
  for (const key of alive) await run.say(`${safeName(key)} is not dead`);
  for (const key of passedOver) {
    await run.say(`${safeName(key)} is dead with ${others.get(key)}, not with ${wantedCode}: it stays as it is`);
  }
  if (isDry && keys.length > 0) await run.say("Nothing was changed. Add --yes to do it");
  if (!isDry && requeued < keys.length && run.signal?.aborted) {
    await run.say(`${count(keys.length - requeued)} keys are still dead: the same command goes on`);
  }
  return alive.length + passedOver.length > 0 ? EXIT.found : EXIT.fine;
}

/** Dead keys, page by page. */
async function* deadOnes(run: Run, store: TundraStore): AsyncGenerator<DeadLetter> {
  for (let offset = 0;; offset += PAGE) {
    const page = await run.unlessInterrupted(store.deadLetters({ offset, limit: PAGE }));
    yield* page;
    if (page.length < PAGE) return;
  }
}
