/**
 * Servers that refuse what a script's first line asks for, each in its own words, or do not know the commands that only
 * read: everything works without, after a few requests more, once.
 * @module
 */
import { after, beforeEach, describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { startUpstash, type UpstashOptions, type UpstashServer } from "../../src/testing/upstash.ts";
import { tundraError, withArchive } from "../support/fixtures.ts";

const DOCUMENTED = ["no-writes", "allow-key-locking"];
const SERVERS: Record<string, Partial<UpstashOptions> & { left: string }> = {
  "that names the flag in other words than Redis": {
    scriptFlags: { taken: DOCUMENTED, refusal: (flag) => `ERR Unknown script flag: ${flag}` },
    left: "flags=allow-key-locking",
  },
  "that does not say which flag it means": {
    scriptFlags: { taken: DOCUMENTED, refusal: () => "ERR this flag is not supported" },
    left: "flags=allow-key-locking",
  },
  "that tells which flags it takes": {
    scriptFlags: { taken: ["allow-key-locking"], refusal: () => "ERR invalid flag, use allow-key-locking" },
    left: "",
  },
  "that takes no flag at all": {
    scriptFlags: { taken: [], refusal: (flag) => `ERR Unexpected flag in script shebang: ${flag}` },
    left: "",
  },
  "that takes no shebang at all": {
    scriptFlags: { taken: [], refusal: () => "ERR Error compiling script: unexpected shebang line" },
    left: "",
  },
  "that knows no command that only reads": { unknownCommands: ["EVAL_RO", "EVALSHA_RO"], left: "flags=" },
  "that knows none of them and no flag": {
    unknownCommands: ["EVAL_RO", "EVALSHA_RO"],
    scriptFlags: { taken: [], refusal: (flag) => `ERR flag ${flag}?` },
    left: "",
  },
};

for (const [what, { left, ...upstash }] of Object.entries(SERVERS)) {
  describe(`a server ${what}`, () => {
    const stack = withArchive({ upstash: { ...upstash, record: true } });

    it("serves dirty, tick, evict, ensureKs and status, and is asked for no more than it takes from then on", async () => {
      const store = stack.store({ redisTtlMs: 36_000_000 });
      await store.redis.set("a", "1");
      await store.dirty("a");
      const { frozen, errors } = await store.tick();
      assertEquals([frozen, errors], [1, []]);
      assertEquals(await store.evict("a"), { evicted: ["a"], kept: Object.create(null) });
      await store.ensureKs("a");
      assertEquals(await stack.get("a"), "1");
      assertEquals((await store.status()).totals.restored, 1);
      await stack.raw("SCRIPT", "FLUSH");
      await stack.server.resetCounters();
      await store.dirty("a");
      await store.ensureKs("a");
      assertEquals((await store.tick()).frozen, 1);
      const { log } = stack.server;
      const refused = log.filter(({ status, commands }) => status !== 200 && !/^EVALSHA/.test(commands[0]![0]!));
      assertEquals(refused, []);
      const sent = log.flatMap(({ commands }) => commands);
      const shebangs = sent.filter(([name]) => /^EVAL(_RO)?$/.test(name!)).map(([, text]) => text!.split("\n")[0]!);
      assert(shebangs.length >= 4 && shebangs.every((line) => line.includes(left)), shebangs.join());
    });

    it("serves dirtyIn as the first call of all, and after others", async () => {
      const store = stack.store();
      for (const key of ["b", "c"]) {
        for (const queue of [store.redis.pipeline(), store.redis.multi()]) {
          queue.set(key, "2");
          store.dirtyIn(queue, key);
          assertEquals(await queue.exec(), ["OK"]);
          assert((await stack.record(key))!.rev > 0);
        }
        await store.status();
      }
    });
  });
}

describe("a key whose name stands in the server's own messages", () => {
  const NAMES = [
    "locking",
    "flag in",
    "unexpected",
    "script",
    "shebang",
    "allow-oom",
    "unknown",
    "lock",
    "flag",
    "key",
  ];
  const stack = withArchive();
  const servers: UpstashServer[] = [];
  beforeEach(() => stack.flush());
  after(() => Promise.all(servers.map((server) => server.stop())));
  const endpoint = async (options: Omit<UpstashOptions, "redisPort">) => {
    const server = await startUpstash({ redisPort: stack.redis.port, ...options });
    servers.push(server);
    return server;
  };

  for (const token of ["t", "a", "key", "flag", "script", "lock"]) {
    it(`is archived, evicted and brought back, with the token ${token}`, async () => {
      const server = await endpoint({ token, keyLocking: false, maxReplyBytes: 30_000 });
      const store = stack.store({ redis: { url: server.url, token }, redisTtlMs: 36_000_000 });
      for (const key of NAMES) await stack.raw("SET", key, key.repeat(1_000));
      await store.dirty(NAMES);
      const { frozen, errors } = await store.tick();
      assertEquals([frozen, errors], [NAMES.length, []]);
      assertEquals((await store.evict(NAMES)).evicted.length, NAMES.length);
      await store.ensureKs(NAMES);
      for (const key of NAMES) assertEquals(await stack.get(key), key.repeat(1_000));
    });
  }

  it("is read alone if the reply for all is too large, whatever its name", async () => {
    const names = ["response size", "max response", "exceeded", "size exceeded"];
    const server = await endpoint({ maxReplyBytes: 20_000 });
    const store = stack.store({ redis: { url: server.url, token: server.token } });
    for (const key of names) {
      await stack.raw("SET", key, Array.from({ length: 1_000 }, Math.random).join("").slice(0, 9_000));
    }
    await store.dirty(names);
    const { frozen, errors } = await store.tick();
    assertEquals([frozen, errors], [names.length, []]);
  });

  it("does not make a refusal of a mark in a pipeline another one", async () => {
    const server = await endpoint({ unknownCommands: ["EVAL"] });
    for (const key of ["unknown c", "ommand '", "plain"]) {
      const store = stack.store({ redis: { url: server.url, token: server.token } });
      const queue = store.redis.pipeline();
      queue.set(key, "1");
      store.dirtyIn(queue, key);
      const error = await tundraError("UNSUPPORTED", () => queue.exec());
      assertEquals(error.keys, [key]);
    }
  });
});
