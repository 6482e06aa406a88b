/** Failures of an application's callbacks change nothing, also if the callbacks are asynchronous. */
import process from "node:process";
import { beforeEach, describe, it } from "node:test";
import { assertEquals, assertGreater } from "@std/assert";
import { memoryDatastore } from "../../mod.ts";
import { hooked, withArchive } from "../support/fixtures.ts";
import { sleep, until } from "../support/waiting.ts";

describe("callbacks that reject", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  it("end no process: onError, monitor, retryBackoffMs, eoqBackoffMs", async () => {
    const unhandled: unknown[] = [];
    const listener = (reason: unknown) => void unhandled.push(reason);
    process.on("unhandledRejection", listener);
    try {
      const datastore = hooked(memoryDatastore(), { putKey: () => Promise.reject(new Error("down")) });
      const store = stack.store({ datastore });
      await stack.raw("SET", "a", "1");
      await store.dirty("a");
      let calls = 0;
      const reject = () => {
        calls++;
        return Promise.reject(new Error("the callback's own"));
      };
      const worker = store.worker({
        onError: reject,
        monitor: reject,
        retryBackoffMs: reject as unknown as () => number,
        eoqBackoffMs: reject as unknown as () => number,
      });
      await until("all were called", () => calls >= 3);
      await worker.stop();
      await sleep(20);
      assertGreater(calls, 2);
    } finally {
      process.off("unhandledRejection", listener);
    }
    assertEquals(unhandled, []);
  });
});
