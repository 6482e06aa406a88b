/** tests/pace.ts: more test files while cores are idle, fewer while all are busy. */
import { describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { LOOK_MS, pace } from "../pace.ts";

/** The numbers of files after looks, each `ms` after the one before, with so many cores idle since then. */
function files(looks: readonly (readonly [ms: number, idleCores: number])[], least = 2, most = 4): number[] {
  const now = { atMs: 1_000, idleMs: 5_000 };
  const filesNow = pace(least, most, () => ({ ...now }));
  return looks.map(([ms, idleCores]) => {
    now.atMs += ms;
    now.idleMs += ms * idleCores;
    return filesNow();
  });
}

describe("the pace of the tests", () => {
  it("is one file more after each look at idle cores, up to the most", () => {
    assertEquals(files([[LOOK_MS, 1], [LOOK_MS, 0.7], [LOOK_MS, 2], [LOOK_MS, 2]]), [3, 4, 4, 4]);
  });

  it("is one file less after each look at busy cores, down to the least", () => {
    assertEquals(
      files([[LOOK_MS, 1], [LOOK_MS, 1], [LOOK_MS, 0.1], [LOOK_MS, 0], [LOOK_MS, 0]]),
      [3, 4, 3, 2, 2],
    );
  });

  it("stays as it is while the cores have just enough to do", () => {
    assertEquals(files([[LOOK_MS, 1], [LOOK_MS, 0.5], [LOOK_MS, 0.3]]), [3, 3, 3]);
  });

  it("changes only after half a second, by what the cores did on average", () => {
    assertEquals(files([[LOOK_MS / 2, 2], [LOOK_MS / 4, 0], [LOOK_MS / 4, 0], [LOOK_MS / 2, 2]]), [2, 2, 3, 3]);
  });

  it("is one number if least and most are the same", () => {
    assertEquals(files([[LOOK_MS, 2], [LOOK_MS, 0]], 1, 1), [1, 1]);
  });
});
