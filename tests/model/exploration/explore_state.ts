/**
 * States of an exploration, and what tells them apart.
 * @module
 */
import type { Fault } from "./explore_faults.ts";
import type { ExploredCall, OpenRequest, ProcessNode } from "./explore_process.ts";
import type { ServerState } from "./explore_servers.ts";

/** A call under way, as the oracle needs it. */
export interface Running {
  readonly call: ExploredCall;
  readonly saw: readonly number[];
  readonly marked: number;
}

/** A process. */
export interface Proc {
  readonly node: ProcessNode;
  readonly started: boolean;
  readonly dead: boolean;
  /** Requests that nobody will answer. */
  readonly hung: readonly number[];
  readonly running: Running | undefined;
}

/** In the network still; it may arrive at any time. */
export interface Late {
  readonly request: OpenRequest;
  readonly from: number;
  /** Keys that a del() may still remove by it, a bit each. */
  readonly deleting: number;
  /** Its call still runs. */
  readonly running: boolean;
}

/** The stage of the recovery once faults have stopped. */
export interface RecoveryStage {
  readonly at: number;
  readonly round: number;
  readonly from: ServerState | undefined;
}

/** A state. */
export interface State {
  readonly servers: ServerState;
  readonly procs: readonly Proc[];
  readonly late: readonly Late[];
  readonly fault: Fault | undefined;
  readonly waits: number;
  /** Earlier states of the servers, to which Redis may go back. */
  readonly point: ServerState | undefined;
  readonly stage: RecoveryStage | undefined;
  readonly path: Path | undefined;
}

/** The path that led there. */
export interface Path {
  readonly before: Path | undefined;
  readonly choice: number;
  readonly length: number;
}

/** A possible next step. */
export interface Step {
  readonly what: () => string;
  readonly act: () => State | Promise<State>;
}

/** All that tells states apart. */
export function nameOfState({ servers, procs, late, fault, waits, point, stage }: State): string {
  let name = `${servers.id}|${fault ? 1 : 0}${waits}`;
  if (point) name += `@${point.id}`;
  if (stage) name += `>${stage.at}.${stage.round}.${stage.from?.id ?? ""}`;
  for (const { node, started, dead, hung, running } of procs) {
    if ((dead || node.done) && !stage) name += "|-"; // what a last look came to is still to be checked
    else {
      name += `|${node.id}${started ? "s" : ""}`;
      if (hung.length > 0) name += `h${hung}`;
      if (running) name += `r${running.saw}m${running.marked}`;
    }
  }
  if (late.length > 0) {
    const names = late.map((each) =>
      each.running ? `${each.request.same}r${each.from}` : `${each.request.same}d${each.deleting}`
    );
    name += `|l${names.sort()}`;
  }
  return name;
}
