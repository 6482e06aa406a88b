/** The same with a real S3 gateway: it is stopped, killed, misconfigured, and its replies are lost. */
import { after, before, beforeEach, it } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type FaultProxy, startFaultProxy } from "../../dev/servers/faults.ts";
import { type Radosgw, type RadosgwUser, startRadosgw } from "../../dev/servers/radosgw.ts";
import { type Datastore, s3Datastore, type S3DatastoreOptions, type TundraError, type TundraStore } from "../../mod.ts";
import { describePackings, names, tundraError } from "../support/fixtures.ts";
import { type Allowed, withFaultWorld } from "./world.ts";

const KEYS = names(5);

describePackings("while a real gateway", (packBytes) => {
  const world = withFaultWorld({ packBytes });
  let gateway: Radosgw;
  let proxy: FaultProxy;
  let otherUser: RadosgwUser;
  let bucket = "";
  let round = 0;
  let values: Allowed;

  before(async () => {
    gateway = await startRadosgw();
    proxy = await startFaultProxy({ target: gateway.url });
    otherUser = await gateway.createUser();
  });
  after(async () => {
    await proxy.stop();
    await gateway.stop();
  });

  const archive = (options: Partial<S3DatastoreOptions> = {}): Required<Datastore> => {
    const { region, accessKeyId, secretAccessKey } = gateway;
    return s3Datastore({ endpoint: proxy.url, region, bucket, accessKeyId, secretAccessKey, retries: 0, ...options });
  };
  const store = (options?: Partial<S3DatastoreOptions>) => world.store({ datastore: archive(options) });

  beforeEach(async () => {
    bucket = `faults-${++round}`;
    await gateway.createBucket(bucket);
    proxy.setPlan([]);
    await world.flush();
    await world.commands(["SET", "evicted", "e"], ...KEYS.map((key) => ["SET", key, `value of ${key}`]));
    await store().dirty("evicted");
    assertEquals((await store().tick()).frozen, 1);
    await store().dirty(KEYS);
    values = await world.values("evicted", ...KEYS).then((all) =>
      new Map([...all].map(([key, value]) => [key, [value]]))
    );
    assertEquals((await store().evict("evicted")).evicted, ["evicted"]);
  });

  /** Ticks and reads fail, nothing leaves, nothing is counted. */
  const fails = async (failing: TundraStore, says: RegExp, retryable = true) => {
    for (let i = 0; i < 2; i++) {
      const report = await failing.tick({ nattempts: 1, retryBackoffMs: 0 });
      assertEquals([report.claimed, report.frozen, report.failed, report.dead], [5, 0, 5, 0]);
      for (const { code, message } of report.errors) {
        assertEquals(code, "UNAVAILABLE");
        assertMatch(message, says);
      }
    }
    const failed = await tundraError("ENSURE_FAILED", () => failing.ensureKs("evicted"));
    const cause = failed.causes["evicted"] as TundraError;
    assertEquals([cause.code, failed.retryable], ["UNAVAILABLE", retryable]);
    assertMatch(cause.message, says);
    assertEquals(await world.members("dirty"), KEYS);
    assertEquals(await world.exists(...KEYS), KEYS.length);
    for (const key of KEYS) assertEquals((await world.record(key))!.attempts, 0);
  };

  /** All is archived, leaves and comes back. */
  const recovers = async () => {
    await world.endLeases();
    await world.endBackoffs();
    const report = await store({ retries: 4 }).tick();
    assertEquals([report.frozen, report.failed, report.done], [KEYS.length, 0, true]);
    assertEquals((await store().evict(KEYS)).evicted, KEYS);
    await store({ retries: 4 }).ensureKs("evicted", ...KEYS);
    const back = await world.values("evicted", ...KEYS);
    assertEquals([...back].map(([key, value]) => [key, [value]]), [...values]);
  };

  it("is stopped, ticks and reads give up in time, and the queue drains afterwards", async () => {
    gateway.pause();
    try {
      await fails(store({ timeoutMs: 80 }), /no progress in \d+ ms/);
    } finally {
      gateway.resume();
    }
    await recovers();
  });

  it("is killed, ticks and reads fail, and the queue drains once it is back", async () => {
    await gateway.kill();
    await fails(store(), /the S3 server must do it/);
    await gateway.restart();
    await recovers();
  });

  it("is given a wrong secret, a wrong bucket, or a user without rights, ticks and reads fail", async () => {
    await fails(store({ secretAccessKey: "wrong" }), /403 SignatureDoesNotMatch/, false);
    await fails(store({ bucket: "no-such-bucket" }), /404 NoSuchBucket/, false);
    await fails(store({ ...otherUser }), /403 AccessDenied/, false);
    await recovers();
  });

  it("loses each reply once, default retries bridge it and every upload counts once", async () => {
    const seen = new Set<string>();
    proxy.setPlan(({ method, url }) => {
      if (seen.has(`${method} ${url}`)) return undefined;
      seen.add(`${method} ${url}`);
      return { type: "reset", served: true };
    });
    await recovers();
    proxy.setPlan([]);
    const packs = await archive().listKeys("default/~packs/");
    const vers = await Promise.all(KEYS.map(async (key) => (await world.record(key))!.ver));
    if (packBytes > 0) {
      assertEquals(packs.names, [`default/~packs/${vers[0]!.split("@")[0]}`]);
      assertEquals(seen.size, 4); // the owner, the pack, a range of it, the other key's object
      return;
    }
    assert(seen.size >= 2 * KEYS.length);
    assertEquals(packs.names, []);
    for (const [i, key] of KEYS.entries()) {
      const listed = await archive().listKeys(`default/${key.replace(":", ".3A")}/`);
      assertEquals(listed.names.map((name) => name.split("/").at(-1)), [vers[i]]);
    }
  });

  it("has its replies cut off, reads fail and are fine afterwards", async () => {
    proxy.setPlan([{ match: /^GET/, times: Infinity, fault: { type: "truncate" } }]);
    const failed = await tundraError("ENSURE_FAILED", () => store().ensureKs("evicted"));
    assertEquals((failed.causes["evicted"] as TundraError).code, "UNAVAILABLE");
    assertEquals(await world.exists("evicted"), 0);
    proxy.setPlan([]);
    await recovers();
  });

  it("gets an upload damaged on its way, it refuses it and the key stays in Redis", async () => {
    // signed are the right bytes, sent are others
    const flipping: typeof fetch = (input, init) => {
      if (init?.method !== "PUT") return fetch(input, init);
      const body = new Uint8Array(init.body as Uint8Array<ArrayBuffer>);
      body[body.length - 1]! ^= 1;
      return fetch(input, { ...init, body });
    };
    const damaged = store({ fetch: flipping });
    const report = await damaged.tick({ nattempts: 1, retryBackoffMs: 0 });
    assertEquals([report.frozen, report.failed, report.dead], [0, 5, 0]);
    assertEquals(await world.exists(...KEYS), KEYS.length);
    await recovers();
  });
});
