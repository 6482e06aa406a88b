/** The examples of a datastore and a freezer of one's own: they pass the suite, a store lives on them, README shows them. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";
import { myDatastore } from "../../examples/own-archive/my_datastore.ts";
import "../../examples/own-archive/my_datastore.test.ts";
import { gzip } from "../../examples/own-archive/my_freezer.ts";
import { tundraStore } from "../../mod.ts";
import { withStack } from "../support/stack.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const read = (path: string) => readFileSync(join(ROOT, path), "utf8");

describe("the examples of an archive of one's own", () => {
  const stack = withStack();
  beforeEach(() => stack.flush());

  it("archive, evict and bring back a value, in fewer bytes", async () => {
    const objects = new Map<string, Uint8Array>();
    const store = tundraStore(myDatastore(objects), { redis: stack.connection, freezer: gzip });
    const value = "Buy apples. ".repeat(500);
    await store.redis.set("note:1", value);
    await store.dirty("note:1");
    const report = await store.tick();
    assertEquals([report.frozen, report.errors], [1, []]);
    assertEquals((await store.evict("note:1")).evicted, ["note:1"]);
    const [[, object]] = [...objects].filter(([name]) => name.includes("/note")) as [[string, Uint8Array]];
    assert(object.length < value.length / 10, String(object.length));
    await store.ensureKs("note:1");
    assertEquals(await store.redis.get("note:1"), value);
  });

  it("stand in README as they are", () => {
    const blocks = [...read("README.md").matchAll(/```ts(?: ignore)?\n(.*?)```/gs)].map(([, code]) => code);
    for (const file of ["my_datastore.ts", "my_datastore.test.ts", "my_freezer.ts"]) {
      assert(blocks.includes(read(`examples/own-archive/${file}`)), `README must hold ${file}`);
    }
  });
});
