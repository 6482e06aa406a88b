/** Each example is started as its user would start it, and used. */
import { randomUUID } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { freePort } from "../../dev/servers/redis_server.ts";
import { storeEnvironment } from "../../src/testing/environment.ts";
import { BUCKET, names, withArchive } from "../support/fixtures.ts";
import { DAY_MS } from "../support/times.ts";
import { until } from "../support/waiting.ts";
import { type Program, run, start } from "./run.ts";
import { bin, installTools, ROOT } from "./tools.ts";

const SECRET = "a-secret-for-the-tests";

describe("examples", () => {
  const stack = withArchive();
  let folder: string;
  let envFile: string;
  let environment: Record<string, string>;
  let program: Program | undefined;

  before(() => {
    installTools();
    folder = mkdtempSync(join(tmpdir(), "tundra-examples-"));
    environment = { ...storeEnvironment(stack.connection, stack.s3, BUCKET), CRON_SECRET: SECRET };
    envFile = join(folder, "env");
    writeFileSync(envFile, Object.entries(environment).map(([name, value]) => `${name}=${value}\n`).join(""));
  });
  after(() => {
    rmSync(folder, { recursive: true, force: true });
    // wrangler's scratch, which it leaves when it is killed
    rmSync(join(ROOT, "examples/cloudflare-worker/.wrangler"), { recursive: true, force: true });
  });
  beforeEach(() => stack.flush());
  afterEach(() => program?.stop());

  async function json<T>(url: string, init?: RequestInit): Promise<T> {
    const response = await fetch(url, init);
    const text = await response.text();
    assertEquals(response.status, 200, `${url}: ${text}\n${program?.output()}`);
    return JSON.parse(text) as T;
  }

  /** Fields that make a hash too large to stay in Redis. Their names cannot be compressed. */
  async function enlarge(key: string): Promise<Record<string, number>> {
    const fields = Object.fromEntries(Array.from({ length: 60 }, () => [randomUUID(), 1]));
    await stack.raw("HSET", key, ...Object.entries(fields).flat());
    return fields;
  }

  /** A browser: visits with a cookie; what the page says. */
  function browser(
    url: string,
  ): { visit(): Promise<string>; key(): string; request(init: RequestInit): Promise<Response> } {
    let cookie = "";
    const request = (init: RequestInit) => fetch(url, { ...init, headers: { cookie } });
    return {
      request,
      key: () => `session:${/session=([\w-]+)/.exec(cookie)![1]}`,
      async visit() {
        const response = await request({});
        const text = await response.text();
        assertEquals(response.status, 200, text + program?.output());
        cookie = response.headers.get("set-cookie")!.split(";")[0]!;
        return text;
      },
    };
  }

  it("cloudflare-worker: wrangler dev --test-scheduled, /__scheduled archives to R2, an evicted cart comes back", async () => {
    const port = await freePort();
    program = start(
      bin("wrangler"),
      [
        ...["dev", "--test-scheduled", "--port", String(port), "--ip", "127.0.0.1"],
        ...["--persist-to", join(folder, "wrangler"), "--env-file", envFile, "--show-interactive-dev-session=false"],
      ],
      join(ROOT, "examples/cloudflare-worker"),
      { WRANGLER_SEND_METRICS: "false", CI: "true" },
    );
    await program.printed(/Ready on/);
    const url = `http://127.0.0.1:${port}`;
    assertEquals(await json(`${url}/carts/7?article=apples&count=3`, { method: "POST" }), { apples: 3 });
    const more = await enlarge("cart:7");
    const all = { apples: 3, pears: 1, ...more };
    assertEquals(await json(`${url}/carts/7?article=pears`, { method: "POST" }), all);
    assertEquals((await json<{ dirty: number }>(`${url}/status`)).dirty, 1);
    await (await fetch(`${url}/__scheduled`)).text();
    await program.printed(/"tundra":"tick".*"ok":true.*"frozen":1/);
    assertEquals((await json<{ dirty: number }>(`${url}/status`)).dirty, 0);

    await stack.leaveAlone(8 * DAY_MS, "cart:7");
    await (await fetch(`${url}/__scheduled?cron=*+*+*+*+*`)).text();
    await until("the cart is evicted", async () => await stack.exists("cart:7") === 0);
    assertEquals(await json(`${url}/carts/7`), all);
    assertEquals(await json(`${url}/carts/7`, { method: "DELETE" }), { deleted: 1 });
    assertEquals(await json(`${url}/carts/7`), {});
    assertEquals((await fetch(`${url}/elsewhere`)).status, 404);
  });

  it("vercel-edge: edge-runtime, /api/cron with the secret archives, an evicted cart comes back", async () => {
    program = start("node", ["--env-file", envFile, "local.mjs", "0"], join(ROOT, "examples/vercel-edge"));
    const url = (await program.printed(/listening on (\S+)/))[1]!.replace("[::]", "127.0.0.1").replace(/\/$/, "");
    const cart = `${url}/api/cart?id=7`;
    const all = { apples: 3, ...await enlarge("cart:7") };
    assertEquals(await json(`${cart}&article=apples&count=3`, { method: "POST" }), all);
    assertEquals((await fetch(`${url}/api/cron`)).status, 401);
    const headers = { authorization: `Bearer ${SECRET}` };
    assertEquals((await json<{ frozen: number }>(`${url}/api/cron`, { headers })).frozen, 1);
    assertEquals(stack.objectNames().length, 1);

    await stack.leaveAlone(8 * DAY_MS, "cart:7");
    assertEquals((await json<{ evicted: number }>(`${url}/api/cron`, { headers })).evicted, 1);
    assertEquals(await stack.exists("cart:7"), 0);
    assertEquals(await json(cart), all);
    assertEquals(await json(cart, { method: "DELETE" }), { deleted: 1 });
    assertEquals(await json(cart), {});
    assertEquals((await fetch(`${url}/api/cart?id=../x`)).status, 400);
  });

  it("bun: the loop archives a session and evicts an idle one, which comes back", async () => {
    const port = await freePort();
    const args = [`--env-file=${envFile}`, "run", "main.ts"];
    program = start(bin("bun"), args, join(ROOT, "examples/bun"), { PORT: String(port) });
    const url = `http://127.0.0.1:${port}`;
    await until("it listens", () => fetch(`${url}/status`).then(() => true, () => false));
    const { visit, key, request } = browser(url);
    assertMatch(await visit(), /Visit 1</);
    await enlarge(key());
    assertMatch(await visit(), /Visit 2</);
    await until("it is archived", async () => (await stack.record(key()))?.rev === 0);
    await stack.leaveAlone(2 * DAY_MS, key());
    await until("it is evicted", async () => await stack.exists(key()) === 0);
    const status = await json<{ dirty: number; worker: { evicted: number } }>(`${url}/status`);
    assertEquals([status.dirty, status.worker.evicted], [0, 1]);
    assertMatch(await visit(), /Visit 3</);
    const ttlMs = Number(await stack.raw("PTTL", key()));
    assert(ttlMs > 89 * DAY_MS && ttlMs <= 90 * DAY_MS, String(ttlMs));
    assertEquals(await (await request({ method: "DELETE" })).json(), { signedOut: true });
    assertMatch(await visit(), /Visit 1</);
  });

  it("deno-cron: an event of Deno.cron archives all that waits, in several ticks; an evicted session comes back", async () => {
    const more = names(10_200); // a tick takes 10,000 at most
    await stack.raw("MSET", ...more.flatMap((key) => [key, "1"]));
    await stack.store().dirty(more);
    const port = await freePort();
    const args = ["run", "-A", "--unstable-cron", `--env-file=${envFile}`, "main.ts"];
    program = start(bin("deno"), args, join(ROOT, "examples/deno-cron"), { PORT: String(port) });
    await program.printed(/Listening/);
    const { visit, key, request } = browser(`http://127.0.0.1:${port}`);
    assertMatch(await visit(), /Visit 1</);
    assertMatch(await visit(), /Visit 2</);
    await program.printed(/archived \d+, evicted 0, [1-9]\d* wait, 0 errors/, 75_000);
    await program.printed(/archived \d+, evicted 0, 0 wait, 0 errors/, 45_000); // no further event can have come by then
    const ticks = [...program.output().matchAll(/archived (\d+)/g)].map(([, frozen]) => Number(frozen));
    assertEquals(ticks.reduce((sum, frozen) => sum + frozen), 10_201, ticks.join());
    assertEquals((await stack.record(key()))?.rev, 0);
    assertEquals((await stack.store().evict(key())).evicted, [key()]);
    assertMatch(await visit(), /Visit 3</);
    assertEquals(await (await request({ method: "DELETE" })).json(), { signedOut: true });
    assertMatch(await visit(), /Visit 1</);
  });

  it("disk: a value is archived to a folder by unstorage, leaves Redis and comes back, in a second process too", async () => {
    const env = { ...environment, TUNDRA_DIR: join(folder, "archive") };
    for (let i = 0; i < 2; i++) {
      const output = await run("node", ["--import", "tsx", "examples/disk/main.ts"], ROOT, env);
      assertEquals(output.trim().split("\n"), ["archived: 1, errors: 0", "in Redis: 0", "in Redis: 1, 2400 bytes"]);
    }
    const versions = readdirSync(join(env.TUNDRA_DIR, "tundra/default_1/note.3_a1_1"));
    assertEquals(versions.length, 2);
  });
});
