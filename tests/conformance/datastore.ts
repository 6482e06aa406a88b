/**
 * The public conformance suite as the tests here run it: every function is claimed, unless a test says otherwise.
 * @module
 */
import process from "node:process";
import { after, describe, it } from "node:test";
import { assertRejects, assertStringIncludes } from "@std/assert";
import { randomBytes as bytesOf } from "../../src/testing/conformance/describe.ts";
import {
  type DatastoreCapabilities,
  type DatastoreUnderTest,
  describeDatastore,
  ODD_NAMES,
} from "../../src/testing/mod.ts";

export { codeOf } from "../../src/testing/conformance/assertions.ts";
export { listAll } from "../../src/testing/conformance/trial.ts";
export { ODD_NAMES };

const seed = Number(process.env.TUNDRA_SEED ?? Date.now() % 2 ** 31);

/** Random bytes, the same for one seed. */
export function randomBytes(length: number, salt = 0): Uint8Array {
  return bytesOf(seed, length, salt);
}

/**
 * The cases in which a foreign server differs: nothing is skipped, each case that it fails must fail as is said here.
 */
export interface Deviations {
  /** The names of ODD_NAMES that it can take; default: all. */
  odd?: readonly string[];
  /** Shows an object whole while it is put; default: `true`. */
  wholePuts?: boolean;
  /** By the case's title: what its failure says. */
  fails?: Readonly<Record<string, string>>;
}

/** `it`, but a case in which the server deviates must fail, and say so. */
export function caseFor({ fails = {} }: Deviations): (title: string, act: () => Promise<unknown>) => void {
  return (title, act) => {
    const says = fails[title];
    if (says === undefined) return void it(title, async () => void await act());
    it(`${title}: this server does not (${says})`, async () => {
      const failure = await assertRejects(act);
      assertStringIncludes((failure as Error).message, says);
    });
  };
}

/** Every function is claimed. */
export const ALL: DatastoreCapabilities = {
  putParts: true,
  fetchRanges: true,
  deleteKeys: true,
  hasKeys: true,
  listKeys: true,
  ifAbsent: true,
  replaces: true,
};

/** Runs the suite. */
export function datastoreConformance(
  name: string,
  make: () => Promise<DatastoreUnderTest>,
  capabilities: DatastoreCapabilities = {},
): void {
  describeDatastore(name, () => {
    console.log(`TUNDRA_SEED=${seed}`);
    return make();
  }, { describe, it, after, seed, ...ALL, ...capabilities });
}
