/**
 * A Worker that runs the conformance suite on its own R2 binding, one case a request.
 * @module
 */
import { type R2BucketLike, r2Datastore } from "../../src/adapters/cloudflare.ts";
import { describeDatastore } from "../../src/testing/conformance/describe.ts";

/** The bindings of the Worker. */
interface Env {
  ARCHIVE: R2BucketLike;
}

/** Describes the bucket's datastore; a case goes to `add`. */
export function describeR2(add: (title: string, act: () => Promise<void>) => void, env?: Env, seed?: number): void {
  describeDatastore("in R2", () => r2Datastore(env!.ARCHIVE, { prefix: "under/" }), {
    describe: (_title, act) => act(),
    it: add,
    seed,
    ...{ fetchRanges: true, deleteKeys: true, hasKeys: true, listKeys: true, ifAbsent: true },
  });
}

export default {
  /** Runs the case that `title` names; the reply is empty if it passed, else what failed. */
  async fetch(request: Request, env: Env): Promise<Response> {
    const { searchParams } = new URL(request.url);
    const cases = new Map<string, () => Promise<void>>();
    describeR2((title, act) => cases.set(title, act), env, Number(searchParams.get("seed")));
    try {
      await cases.get(searchParams.get("title")!)!();
      return new Response("");
    } catch (thrown) {
      return new Response(thrown instanceof Error ? thrown.stack : String(thrown));
    }
  },
};
