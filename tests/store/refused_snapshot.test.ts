import { beforeEach, describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { withArchive } from "../support/fixtures.ts";

describe("a Redis that refuses to show keys", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  it("costs no key an attempt, however often: it is not the key's fault, and the queue drains afterwards", async () => {
    let refusing = true;
    const store = stack.store({
      redis: {
        fetch: (input, init) =>
          refusing && String(input).endsWith("/multi-exec")
            ? Promise.resolve(Response.json({ error: "ERR unknown command 'PEXPIRETIME'" }, { status: 400 }))
            : fetch(input, init),
      },
    });
    await stack.raw("MSET", "a", "1", "b", "2");
    await store.dirty("a", "b");
    for (let i = 0; i < 4; i++) {
      const report = await store.tick({ retryBackoffMs: 0 });
      assertEquals([report.failed, report.dead, report.frozen], [2, 0, 0]);
    }
    assertEquals([(await stack.record("a"))?.attempts, (await store.status()).dead], [0, 0]);
    refusing = false;
    assertEquals((await store.tick()).frozen, 2);
  });
});
