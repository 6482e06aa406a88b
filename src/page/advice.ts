/**
 * The meaning of each error code and what to do about it: the words of docs/errors.md, short enough for a page.
 * @module
 */
import type { TundraErrorCode } from "../base/errors.ts";

/** One error code. */
export interface Advice {
  meaning: string;
  todo: string;
  /** The command that helps. */
  commandLine: string;
}

/** By code; a test compares it with docs/errors.md. */
export const ADVICE: Readonly<Record<TundraErrorCode, Advice>> = {
  BAD_ARGUMENT: {
    meaning: "an argument or option is wrong; nothing was sent",
    todo: "fix the call",
    commandLine: "tundra COMMAND --help",
  },
  MISSING: {
    meaning: "dirty() named keys that do not exist; the others are marked. restoreVersion: there was no value then",
    todo: 'fix the call, or missing: "del" if the command removed the key',
    commandLine: "tundra versions KEY",
  },
  CONFLICT: {
    meaning: "a key was written while it was evicted; restoreVersion would replace what is not archived",
    todo: "see “choose a value” in docs/writing.md: evict({ discard: true }), dirty({ overwrite: true }) or del()",
    commandLine: "tundra peek KEY shows the archived value",
  },
  ENSURE_FAILED: {
    meaning: "some keys could not be brought back; the others are there",
    todo: "read causes, key by key",
    commandLine: "tundra versions KEY",
  },
  UNAVAILABLE: {
    meaning: "a server, the network or a time limit failed",
    todo: "retry if retryable; else see below",
    commandLine: "tundra probe --quick",
  },
  TOO_LARGE: {
    meaning: "a value cannot be moved; it stays in Redis",
    todo: "raise the limit that the message names, use a datastore with putParts, or leave it resident",
    commandLine: "tundra dead list --code TOO_LARGE, later retry (docs/operate.md)",
  },
  UNSUPPORTED: {
    meaning:
      "the server, the datastore or this version lacks something, or the options lack a freezer or its key; nothing is lost",
    todo: "read the message",
    commandLine: "tundra probe",
  },
  CORRUPT: {
    meaning: "an archive object holds other bytes than those that were put",
    todo: "see “the bucket is damaged” in docs/disaster.md",
    commandLine: "tundra verify",
  },
  LOST: {
    meaning: "an evicted value has no object, or the index does not belong to this archive",
    todo: "see “disaster” in docs/disaster.md; limits (docs/limits.md) says what may have happened",
    commandLine: "tundra status",
  },
  NOT_FOUND: {
    meaning: "a datastore has no such object; restoreVersion: the archive holds no such version",
    todo: "see what it refuses (docs/operations.md); of a datastore nothing: Tundra turns it into LOST or into absence",
    commandLine: "tundra versions KEY",
  },
};

/** The page's own addition to some of them. */
export const MORE: Readonly<Partial<Record<TundraErrorCode, string>>> = {
  UNAVAILABLE:
    "If it does not pass: Redis refuses the token, or the archive refuses the credentials, a right, the region, " +
    "the bucket or the endpoint. The message says which; see docs/errors.md.",
};
