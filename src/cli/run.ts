/**
 * One run of a command: its arguments, its streams, its store, its progress.
 * @module
 */
import { untilAborted } from "../base/abort.ts";
import type { TundraStore } from "../store_interface.ts";
import type { Arguments } from "./arguments.ts";
import type { Configuration } from "./configuration.ts";
import type { Host, HostStream } from "./host.ts";
import { type Counts, progressLine } from "./output/progress.ts";
import { type Style, styleOf } from "./output/style.ts";
import { json, safe, wrap } from "./output/text.ts";

/** After so long without a sign a person is told that servers are slow. */
const PATIENT_MS = 5_000;
const STILL_WAITING = "Servers have not answered yet; waiting. Ctrl-C ends it";

/** Exit codes. */
export const EXIT = { fine: 0, found: 1, usage: 2, unreachable: 3 } as const;

/** The tools of a command. */
export interface Run {
  readonly name: string;
  readonly args: Arguments;
  readonly host: Host;
  readonly configuration: Configuration;
  readonly signal: AbortSignal | undefined;
  /** `true`: data is for programs. */
  readonly isJson: boolean;
  /** Colours of data. */
  readonly style: Style;
  /** The width for texts that may be broken; `undefined`: they are not, as a program may read them. */
  readonly columns: number | undefined;
  store(): Promise<TundraStore>;
  /** Writes lines of data. */
  print(...lines: string[]): Promise<void>;
  /** Writes one JSON document as data. */
  printJson(value: unknown): Promise<void>;
  /** Writes bytes of data. */
  printBytes(bytes: Uint8Array): Promise<void>;
  /** Writes a message, on the stream for messages. */
  say(message: string): Promise<void>;
  progress(what: string, counts: Counts): void;
  /** Ends all that is shown for the time being. */
  end(): void;
  /** Waits for a promise, or rejects as soon as the run is interrupted: for calls that take no signal and only read. */
  unlessInterrupted<T>(promise: Promise<T>): Promise<T>;
}

/** Writes a message, broken at spaces on a terminal. */
export async function writeMessage(stream: HostStream, message: string): Promise<void> {
  const text = safe(message);
  await stream.write(`${stream.isTerminal ? wrap(text, stream.columns) : text}\n`);
}

/** Makes a run. */
export function newRun(name: string, args: Arguments, host: Host, configuration: Configuration): Run {
  const isJson = args.has("json");
  const line = progressLine(host.stderr, args.has("quiet"));
  const waiting = setTimeout(() => {
    if (!args.has("quiet") && !host.signal?.aborted) void writeMessage(host.stderr, STILL_WAITING);
  }, PATIENT_MS);
  const answered = () => {
    clearTimeout(waiting);
    line.clear();
  };
  const print = async (...lines: string[]) => {
    answered();
    await host.stdout.write(lines.map((each) => `${each}\n`).join(""));
  };
  return {
    name,
    args,
    host,
    configuration,
    signal: host.signal,
    isJson,
    style: styleOf(host.stdout, host.env, args.has("no-color")),
    columns: host.stdout.isTerminal ? Math.max(40, host.stdout.columns) : undefined,
    store: () => configuration.store(),
    print,
    printJson: (value) => print(json(value, 2)),
    async printBytes(bytes) {
      answered();
      await host.stdout.write(bytes);
    },
    async say(message) {
      answered();
      await writeMessage(host.stderr, message);
    },
    progress(what, counts) {
      clearTimeout(waiting);
      line.show(what, counts);
    },
    end: answered,
    unlessInterrupted: (promise) => untilAborted(promise, host.signal),
  };
}
