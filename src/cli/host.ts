/**
 * The process in which the command line runs: its variables, its folder, its streams, its signals.
 * @module
 */
import process from "node:process";

/** An output stream. */
export interface HostStream {
  /** `true` for a terminal. */
  readonly isTerminal: boolean;
  /** The terminal's width in columns. */
  readonly columns: number;
  /** Writes; resolves once the stream takes more. Never rejects. */
  write(data: string | Uint8Array): Promise<void>;
}

/** The surroundings of one run of the command line. */
export interface Host {
  /** The environment variables. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The folder to which names of files are relative. */
  readonly folder: string;
  /** The stream for data. */
  readonly stdout: HostStream;
  /** The stream for all else. */
  readonly stderr: HostStream;
  /** Aborted by Ctrl-C, or as nobody reads the output; its reason is an {@linkcode Ending} then. */
  readonly signal?: AbortSignal;
}

/** The reason for which a run ends early, and its exit code. */
export class Ending extends Error {
  /** The exit code. */
  readonly exitCode: number;

  /** Makes a reason. */
  constructor(message: string, exitCode: number) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** Exit codes of processes that a signal ended: 128 and its number. */
const SIGNALS = { SIGINT: 130, SIGTERM: 143 } as const;

/** The streams, variables and folder of this process, without its signals. */
export function processHost(signal?: AbortSignal, onClosed: (ending: Ending) => void = () => {}): Host {
  return {
    env: process.env,
    folder: process.cwd(),
    stdout: streamOf(process.stdout, onClosed),
    stderr: streamOf(process.stderr, () => {}),
    signal,
  };
}

/**
 * Runs `act` in this process and ends the process with its exit code. The first Ctrl-C aborts the host's signal, the
 * second one ends the process at once.
 */
export async function inProcess(act: (args: string[], host: Host) => Promise<number>): Promise<never> {
  const controller = new AbortController();
  for (const [name, exitCode] of Object.entries(SIGNALS)) {
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(exitCode);
      controller.abort(new Ending(name, exitCode));
    });
  }
  const host = processHost(controller.signal, (ending) => controller.abort(ending));
  process.exit(await act(process.argv.slice(2), host));
}

type ProcessStream = typeof process.stdout | typeof process.stderr;

function streamOf(stream: ProcessStream, onClosed: (ending: Ending) => void): HostStream {
  let closed = false;
  const close = (error: Error & { code?: string }) => {
    if (closed) return;
    closed = true;
    // nobody reads the rest, as in `tundra list | head`
    const quiet = error.code === "EPIPE" || error.code === "ERR_STREAM_DESTROYED";
    onClosed(new Ending(quiet ? "" : `Cannot write the output: ${error.message}`, quiet ? 0 : 1));
  };
  stream.on("error", close);
  return {
    isTerminal: stream.isTTY === true,
    get columns() {
      return stream.columns > 0 ? stream.columns : 80;
    },
    write: (data) =>
      new Promise((resolve) => {
        if (closed) return resolve();
        try {
          stream.write(data, (error) => {
            if (error) close(error);
            resolve();
          });
        } catch (thrown) {
          close(thrown as Error);
          resolve();
        }
      }),
  };
}
