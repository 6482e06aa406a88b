/**
 * `tundra tick`: one tick, or one after the other.
 * @module
 */
import { onAbort, sleep } from "../../base/abort.ts";
import { count, counted } from "../../base/counts.ts";
import type { TundraError } from "../../base/errors.ts";
import "../../operations/sweep.ts"; // a tick with --sweep or --verify needs them
import "../../operations/verify.ts";
import type { TickOptions, TickReport } from "../../tick/options.ts";
import type { Command } from "../command.ts";
import { duration, size, time } from "../output/format.ts";
import { table } from "../output/table.ts";
import { json, safe, safeName } from "../output/text.ts";
import { EXIT, type Run } from "../run.ts";

const MOST_ERRORS = 20;
/** A drain waits so long after a tick that failed and got nothing done, and ends after so many of them in a row. */
const STUCK_WAIT_MS = 5_000;
const MOST_STUCK = 3;

/** The command. */
export const tick: Command = {
  about:
    "Archives what is due, and with --redis-ttl evicts what is idle, within bounds. It is the regular job, so it " +
    "needs no --yes. Exits with 1 if keys could not be archived. With --watch it goes on until it is interrupted.",
  ticks: true,
  options: {
    "watch": { help: "tick again and again, and wait while nothing is due" },
    "drain": { help: "tick again until nothing is due, nor idle with --redis-ttl" },
    "max-keys": { value: "NUMBER", help: "keys to claim in one tick: 10000" },
    "deadline": { value: "DURATION", help: "begin no work after this time in a tick: 8s" },
    "threads": { value: "NUMBER", help: "uploads at once: 6" },
    "sweep": { value: "DURATION", help: "of that time, so much for a sweep" },
    "verify": { value: "NUMBER", help: "so many archived versions to verify" },
  },
  example: "tick --redis-ttl 7d --drain",
  async run(run) {
    const options: TickOptions = {
      maxKeys: run.args.count("max-keys"),
      deadlineMs: run.args.durationMs("deadline"),
      nthreads: run.args.count("threads"),
      sweepMs: run.args.durationMs("sweep"),
      verifyKeys: run.args.count("verify"),
      signal: run.signal,
    };
    if (run.args.has("watch")) return await watch(run, options);
    if (run.args.has("drain")) return await drain(run, options);
    const { report, outage } = await tickOnce(run, options);
    if (outage) throw outage;
    return report.errors.length > 0 ? EXIT.found : EXIT.fine;
  },
};

/**
 * Runs a tick and prints its report. `outage`: the error for which it got nothing done, if a server did not answer or
 * refused it.
 */
async function tickOnce(run: Run, options: TickOptions): Promise<{ report: TickReport; outage?: TundraError }> {
  let outage: TundraError | undefined;
  const onError = (error: TundraError) => {
    if (error.code === "UNAVAILABLE" && error.keys.length === 0) outage ??= error;
  };
  const report = await (await run.store()).tick({ ...options, onError });
  if (!run.isJson) await print(run, report);
  else if (run.args.has("drain")) await run.print(json(report));
  else await run.printJson(report);
  if (!run.signal?.aborted) return { report, outage: gotOn(report) ? undefined : outage };
  await run.say("All keys that were claimed and not archived are due again");
  return { report };
}

/** Tells if a tick got something done, so that the next one has less to do. */
function gotOn({ dead, evicted, frozen, missing, purged, rescued }: TickReport): boolean {
  return frozen + missing + evicted + rescued + purged + dead > 0;
}

/**
 * Ticks until nothing is due. A tick that failed and got nothing done is followed by a wait, as the next one would most
 * likely fail as well; after a few such ticks in a row it ends.
 *
 * @throws {TundraError} `UNAVAILABLE`: the outage for which it got nothing done
 */
async function drain(run: Run, options: TickOptions): Promise<number> {
  let failed = false;
  for (let stuck = 0;;) {
    const { report, outage } = await tickOnce(run, options);
    const { done, errors } = report;
    failed ||= errors.length > 0;
    if (run.signal?.aborted || (done && !outage)) return failed ? EXIT.found : EXIT.fine;
    stuck = gotOn(report) ? 0 : stuck + 1;
    if (outage && (stuck === MOST_STUCK || !outage.retryable)) throw outage;
    if (stuck === MOST_STUCK) {
      await run.say(`Not done: ${MOST_STUCK} ticks in a row got nothing done. The same command goes on from there`);
      return EXIT.found;
    }
    if (stuck === 0 || errors.length === 0) continue;
    await run.say(`Nothing got done; the next tick begins in ${duration(STUCK_WAIT_MS)}`);
    await sleep(STUCK_WAIT_MS, run.signal).catch(() => {});
    if (run.signal?.aborted) return EXIT.found;
  }
}

/** Ticks until the run is interrupted: a line for each tick that did something, or failed. */
async function watch(run: Run, options: TickOptions): Promise<number> {
  const store = await run.store();
  const worker = store.worker({
    ...options,
    autoStart: false,
    monitor({ report, error }) {
      if (report && run.isJson) void run.print(json(report));
      else if (report && (report.claimed > 0 || report.evicted > 0 || report.errors.length > 0)) {
        void run.print(`${time(Date.now())}  ${lineOf(report)}`);
        for (const { key, code, message } of report.errors.slice(0, MOST_ERRORS)) {
          void run.say(`  ${key === "" ? "" : `${safeName(key)}: `}${code}: ${message}`);
        }
      }
      if (error && !run.signal?.aborted) void run.say(`${time(Date.now())}  ${error.code}: ${error.message}`);
    },
  });
  worker.start();
  await run.say("Ticking; Ctrl-C ends it after the tick that is under way");
  await new Promise<void>((resolve) => run.signal ? onAbort(run.signal, resolve) : undefined);
  await worker.stop();
  const { ticks, frozen, evicted } = worker.stats;
  await run.say(`${counted(ticks, "tick")}: ${count(frozen)} archived, ${count(evicted)} evicted`);
  return EXIT.fine;
}

function lineOf(report: TickReport): string {
  const { frozen, evicted, missing, failed, dead, remaining, purged, durationMs, bytesWritten } = report;
  const parts: [number, string][] = [
    [evicted, "evicted"],
    [missing, "removals archived"],
    [purged, "purged"],
    [report.swept ?? 0, "swept"],
    [report.verified ?? 0, "verified"],
    [report.damaged ?? 0, "damaged"],
    [failed, "failed"],
    [dead, "dead"],
  ];
  const shown = parts.filter(([value]) => value > 0).map(([value, word]) => `, ${count(value)} ${word}`).join("");
  const more = remaining > 0 ? `${count(remaining)} or more are due` : "more is left to do";
  const rest = report.done ? "nothing is due" : more;
  return `${count(frozen)} archived (${size(bytesWritten)})${shown} in ${duration(durationMs)}; ${rest}`;
}

async function print(run: Run, report: TickReport): Promise<void> {
  await run.print(lineOf(report));
  const { errors } = report;
  if (errors.length === 0) return;
  const rows = errors.slice(0, MOST_ERRORS).map(({ key, code, message, attempt }) => [
    code,
    count(attempt),
    key === "" ? "-" : safeName(key),
    safe(message),
  ]);
  await run.print(
    "",
    ...table([{ title: "ERROR" }, { title: "ATTEMPT", right: true }, { title: "KEY" }, { title: "" }], rows, run.style),
  );
  if (errors.length > rows.length) await run.say(`and ${count(errors.length - rows.length)} more: --json has all`);
}
