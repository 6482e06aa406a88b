/**
 * The parts of a transparent client, and what passes between them.
 * @module
 */
import type { Requester } from "@upstash/redis";
import type { TundraError } from "../base/errors.ts";
import type { Context } from "../core/context.ts";
import type { TundraStore } from "../store_interface.ts";
import type { Uses } from "./noted.ts";

/** Something that a transparent client did besides the application's command. */
export interface TransparentEvent {
  /** `brought back`: evicted keys are in Redis again; `marked`: changes are queued for archiving. */
  type: "brought back" | "marked";
  /** The command's name, in lower case; `pipeline` or `multi-exec` for several. */
  command: string;
  /** The keys. */
  keys: string[];
}

/** The parts of one transparent client. */
export interface Transparent {
  store: TundraStore;
  context: Context;
  /** Sends requests as they are. */
  inner: Requester;
  isOurs: (key: string) => boolean;
  ensure: boolean;
  mark: boolean;
  evicted: boolean;
  uses: Uses;
  tell: (event: TransparentEvent) => void;
}

/** A request of the `@upstash/redis` client. */
export type Request = Parameters<Requester["request"]>[0];

/** An answer as the client takes it: exactly one of the two is there. */
export interface RequestAnswer {
  result?: unknown;
  error?: string;
}

/** The outcome of one of several commands: its answer, or its own failure. */
export type Outcome = RequestAnswer | TundraError;
