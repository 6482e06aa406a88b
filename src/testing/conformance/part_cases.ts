/**
 * The cases about `putParts`.
 * @module
 */
import { codeOf, equal, must, rejection, sameBytes } from "./assertions.ts";
import type { Case } from "./trial.ts";

/** The least size of a part. */
const PART = 5 * 1024 * 1024;

export const partCases: Case[] = [
  {
    title: "makes one object of parts, which nobody sees before it is complete",
    needs: ["putParts"],
    async act({ store, randomBytes }) {
      const whole = randomBytes(2 * PART + 70_001, 20);
      const parts = async function* () {
        for (let at = 0; at < whole.length; at += PART) {
          const seen = await store.fetchKeys(["parts/a"]);
          equal(seen.map(codeOf), ["NOT_FOUND"], "the object before it is complete");
          yield whole.slice(at, at + PART);
        }
      };
      equal(await store.putParts("parts/a", parts()), true, "what putParts says");
      sameBytes((await store.fetchKeys(["parts/a"]))[0], whole, "the object");
    },
  },
  {
    title: "stores nothing of parts that end in a failure, and passes it on",
    needs: ["putParts"],
    async act({ store }) {
      const failure = new Error("the source failed");
      const parts = async function* () {
        yield new Uint8Array(PART);
        await Promise.resolve();
        throw failure;
      };
      const thrown = await rejection(() => store.putParts("parts/failed", parts()), "putParts");
      must(thrown === failure, `putParts must reject with the failure of the parts: it rejects with ${thrown}`);
      equal((await store.fetchKeys(["parts/failed"])).map(codeOf), ["NOT_FOUND"], "the object");
    },
  },
];
