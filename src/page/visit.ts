/**
 * One request for a view, by someone who has signed in.
 * @module
 */
import type { TundraStore } from "../store_interface.ts";
import type { Settings } from "./options.ts";
import type { Session } from "./session.ts";

/** The input of each view. */
export interface Visit {
  store: TundraStore;
  settings: Settings;
  session: Session;
  query: URLSearchParams;
  /** The fields of a form that was posted; else empty. */
  form: URLSearchParams;
  nowMs: number;
}
