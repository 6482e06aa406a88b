/**
 * The faults of an exploration, and the requests that they meet.
 * @module
 */
import { loadedScripts, onlyRead, scriptName } from "../redis/scripts.ts";
import type { Demand, OpenRequest } from "./explore_process.ts";
import { nameOf } from "./explore_servers.ts";

/** Faults of the network, of processes and of servers. */
export const USUAL = [
  "reset before",
  "refused before",
  "503 before",
  "500 after",
  "cut short",
  "hangs before",
  "twice",
  "late",
  "late, refused",
  "late, hangs",
  "full",
  "flushed",
  "dies",
  "crash",
  "clock",
  "lost object",
] as const;
/** All kinds of faults. */
export const FAULTS = [...USUAL, "rollback", "replica"] as const;
/** One of them. */
export type Fault = typeof FAULTS[number];

/**
 * The outcomes of a request that writes. "late" holds what else would be faults of their own: it lands at once ("reset
 * after"), or only after the last look ("reset before"), and just so "late, refused" and "late, hangs". To a process
 * that reads no clock a request that hangs is one that is late, and its own time limit says so.
 */
const OUTCOMES: Fault[] = [
  "late",
  "late, refused",
  "late, hangs",
  "500 after",
  "cut short",
  "twice",
  "full",
  "flushed",
  "dies",
];
/** The outcomes of a request that only reads: before or after, once or twice are the same. */
const READ_OUTCOMES: Fault[] = [
  "reset before",
  "refused before",
  "503 before",
  "cut short",
  "hangs before",
  "full",
  "flushed",
];
const STORE_OUTCOMES: Record<Exclude<Demand["to"], "redis">, Fault[]> = {
  put: ["late", "late, hangs", "refused before", "twice"],
  delete: ["late", "late, hangs", "twice"],
  get: ["reset before", "hangs before"],
  head: ["reset before", "hangs before"],
  list: ["reset before", "hangs before"],
};

const reads = new WeakMap<Demand, boolean>();

/** True if it only reads, whatever it meets. */
export function isRead(demand: Demand): boolean {
  if (demand.to !== "redis") return demand.to !== "put" && demand.to !== "delete";
  let read = reads.get(demand);
  if (read === undefined) {
    read = onlyRead(demand.commands);
    reads.set(demand, read);
  }
  return read;
}

/** A request on one line. */
export function nameOfRequest({ demand }: OpenRequest): string {
  if (demand.to !== "redis") return nameOf(demand);
  return demand.commands.map(([name, script]) => {
    if (!name!.startsWith("EVAL")) return name;
    return scriptName(name!.startsWith("EVALSHA") ? loadedScripts.get(script!)! : script!);
  }).join("+");
}

/** The faults that may meet a request. */
export function outcomesOfDemand(demand: Demand): readonly Fault[] {
  if (demand.to !== "redis") return STORE_OUTCOMES[demand.to];
  const outcomes = isRead(demand) ? READ_OUTCOMES : OUTCOMES;
  const bySha = demand.commands.some(([name]) => name!.startsWith("EVALSHA"));
  return bySha ? outcomes : outcomes.filter((outcome) => outcome !== "flushed");
}
