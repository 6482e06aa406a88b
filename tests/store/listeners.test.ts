/**
 * A signal of the application is listened to once, however many uploads it would end: Node warns of a leak from the
 * eleventh on.
 */
import process from "node:process";
import { beforeEach, describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { memoryDatastore } from "../../mod.ts";
import { hooked, names, withArchive } from "../support/fixtures.ts";
import { sleep } from "../support/waiting.ts";

describe("a tick with a signal and many uploads", () => {
  const stack = withArchive({ packBytes: 0 });
  beforeEach(() => stack.flush());

  it("adds no listener a upload, and leaves none behind", async () => {
    const warnings: string[] = [];
    const warned = (warning: Error) => void warnings.push(String(warning));
    process.on("warning", warned);
    const { signal } = new AbortController();
    let listeners = 0;
    let most = 0;
    const { addEventListener, removeEventListener } = signal;
    signal.addEventListener = (...args: Parameters<typeof addEventListener>) => {
      most = Math.max(most, ++listeners);
      addEventListener.apply(signal, args);
    };
    signal.removeEventListener = (...args: Parameters<typeof removeEventListener>) => {
      listeners--;
      removeEventListener.apply(signal, args);
    };
    const archive = memoryDatastore();
    const datastore = hooked(archive, {
      putKey: async (...args) => {
        await sleep(5);
        return await archive.putKey(...args);
      },
    });
    const store = stack.store({ datastore });
    const keys = names(60);
    await stack.raw("MSET", ...keys.flatMap((key) => [key, "value"]));
    await store.dirty(keys);
    assertEquals((await store.tick({ signal, nthreads: 30 })).frozen, 60);
    await sleep(20);
    process.off("warning", warned);
    assertEquals([warnings, listeners, most < 6], [[], 0, true], `${most} at once`);
  });
});
