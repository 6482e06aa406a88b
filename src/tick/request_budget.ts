/**
 * The requests of one tick: how many were made, and what the rest may be used for.
 * @module
 */
import { TundraError } from "../base/errors.ts";
import { countRequests } from "../datastores/count_requests.ts";
import type { DatastoreCallOptions } from "../datastores/datastore.ts";

/**
 * Requests that are kept back for commit, fail and one release, each of which may have to send its script once more.
 */
const CLOSING_REQUESTS = 6;

/** The requests of one tick. `work`, `purge` and `close` count one, and throw if there is none left for it. */
export interface RequestBudget {
  /** Requests made. */
  readonly made: number;
  /** Of a bounded number of requests: those that only purging may use. */
  keptForPurges: number;
  /** `true` once there was no request left for one that purges. */
  readonly purgeRefused: boolean;
  /** Requests left for work. */
  left(): number;
  /** All requests left, those that are kept back included. */
  unspent(): number;
  /** Counts requests that others have made. */
  add(requests: number): void;
  /** A request that begins work. */
  work(): void;
  /** A request that purges: it may be one of those kept back for purging. */
  purge(): void;
  /** A request that ends work: it may be one of those kept back for that. */
  close(): void;
  /** All work has ended: what was kept back for that may be used by others. */
  endWork(): void;
  /** Calls the datastore; counts one request if the datastore counts none. */
  counted<T>(act: (call: DatastoreCallOptions) => Promise<T>, signal: AbortSignal, kind?: "purging"): Promise<T>;
}

/** Makes the budget of a tick that may make `most` requests. */
export function requestBudget(most: number): RequestBudget {
  let made = 0;
  let closing = CLOSING_REQUESTS;
  let purgeRefused = false;
  const spend = (kept: number) => {
    if (made >= most - kept) {
      throw new TundraError(
        "UNAVAILABLE",
        `Cannot send another request as a tick may make maxSubrequests: current value is ${most}`,
      );
    }
    made++;
  };
  const budget: RequestBudget = {
    get made() {
      return made;
    },
    get purgeRefused() {
      return purgeRefused;
    },
    keptForPurges: 0,
    left: () => most - closing - budget.keptForPurges - made,
    unspent: () => most - made,
    add: (requests) => void (made += requests),
    work: () => spend(closing + budget.keptForPurges),
    purge() {
      purgeRefused ||= made >= most - closing;
      spend(closing);
      if (budget.keptForPurges > 0) budget.keptForPurges--;
    },
    close: () => spend(0),
    endWork: () => void (closing = 0),
    async counted(act, signal, kind) {
      const purging = kind === "purging";
      if (!purging && budget.left() <= 0) budget.work();
      const untold = () => {
        made++;
        if (purging && budget.keptForPurges > 0) budget.keptForPurges--;
      };
      return await countRequests(
        (onRequest) => act({ signal, onRequest }),
        purging ? budget.purge : budget.work,
        untold,
      );
    },
  };
  return budget;
}
