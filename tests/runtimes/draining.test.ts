/**
 * The examples that drain a backlog, each on its engine or on a stand-in that speaks its protocol; and several ticks at
 * once, in processes of their own, archive nothing twice.
 */
import { Buffer } from "node:buffer";
import { createHash, createHmac } from "node:crypto";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { freePort } from "../../dev/servers/redis_server.ts";
import type { Status } from "../../mod.ts";
import { storeEnvironment } from "../../src/testing/environment.ts";
import { BUCKET, names, withArchive } from "../support/fixtures.ts";
import { until } from "../support/waiting.ts";
import { type Program, run, start } from "./run.ts";
import { bin, installTools, ROOT } from "./tools.ts";

const exampleOf = (name: string) => join(ROOT, "examples", name);

describe("a backlog", () => {
  const stack = withArchive();
  let folder: string;
  let environment: Record<string, string>;
  const programs: Program[] = [];
  before(() => {
    installTools();
    folder = mkdtempSync(join(tmpdir(), "tundra-draining-"));
    environment = storeEnvironment(stack.connection, stack.s3, BUCKET);
  });
  after(() => {
    rmSync(folder, { recursive: true, force: true });
    rmSync(join(exampleOf("cloudflare-queues"), ".wrangler"), { recursive: true, force: true });
  });
  beforeEach(() => stack.flush());
  afterEach(async () => {
    for (const program of programs.splice(0)) await program.stop();
  });

  /** Small values, all marked. */
  async function backlog(n: number): Promise<string[]> {
    const keys = names(n);
    const store = stack.store();
    for (let i = 0; i < n; i += 1000) {
      const some = keys.slice(i, i + 1000);
      await stack.raw("MSET", ...some.flatMap((key) => [key, `value of ${key}`]));
      await store.dirty(some);
    }
    return keys;
  }

  /** Fails unless the archive has exactly one version of each key, and Redis knows it. */
  async function assertArchivedOnce(keys: string[]): Promise<void> {
    const versions = await stack.versions();
    assertEquals(versions.length, keys.length);
    assertEquals(new Set(versions.map((version) => version.split(" ")[0])), new Set(keys));
    const { dirty, totals } = await stack.store().status();
    assertEquals([dirty, totals.frozen], [0, keys.length]);
  }

  it("on Cloudflare Queues: one cron event, and messages follow one another until nothing is due", async () => {
    await backlog(2_000);
    const envFile = join(folder, "queues.env");
    const variables = { ...environment, MAX_KEYS: "300" };
    writeFileSync(envFile, Object.entries(variables).map(([name, value]) => `${name}=${value}\n`).join(""));
    const port = await freePort();
    const worker = start(
      bin("wrangler"),
      [
        ...["dev", "--test-scheduled", "--port", String(port), "--ip", "127.0.0.1"],
        ...["--persist-to", join(folder, "wrangler"), "--env-file", envFile, "--show-interactive-dev-session=false"],
      ],
      exampleOf("cloudflare-queues"),
      { WRANGLER_SEND_METRICS: "false", CI: "true" },
    );
    programs.push(worker);
    await worker.printed(/Ready on/);
    const url = `http://127.0.0.1:${port}`;
    const status = async () => await (await fetch(`${url}/status`)).json() as Status;
    assertEquals((await status()).due, 2_000);
    await (await fetch(`${url}/__scheduled`)).text();
    await until("nothing is dirty", async () => (await status()).dirty === 0, 60_000);
    await worker.printed(/"tundra":"tick".*"done":true/);
    const ticks = [...worker.output().matchAll(/"tundra":"tick".*?"frozen":(\d+)/g)].map(([, frozen]) =>
      Number(frozen)
    );
    assert(ticks.length >= 7, ticks.join());
    assertEquals(ticks.reduce((sum, frozen) => sum + frozen), 2_000); // none twice
    assertEquals((await status()).totals.frozen, 2_000);
  });

  describe("on QStash", () => {
    const KEYS = { current: "sig_a-current-key-of-the-tests", next: "sig_the-next-key-of-the-tests" };
    interface Publication {
      to: string;
      headers: Record<string, string | string[] | undefined>;
      body: string;
    }
    let server: Server;
    let url: string;
    let published: Publication[];

    /** A stand-in for QStash: it notes what is published and scheduled. */
    before(async () => {
      server = createServer(async (request, response) => {
        let body = "";
        for await (const chunk of request) body += chunk;
        const [, kind, to] = /^\/v2\/(publish|schedules)\/(.*)$/.exec(request.url!) ?? [];
        if (request.headers.authorization !== "Bearer a-token" || !kind) return response.writeHead(401).end("{}");
        published.push({ to: decodeURIComponent(to!), headers: request.headers, body });
        response.writeHead(201, { "content-type": "application/json" });
        response.end(JSON.stringify({ messageId: `msg_${published.length}`, scheduleId: "tundra-drain" }));
      });
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    });
    after(() => void server.close());

    const base64url = (text: string | Buffer) => Buffer.from(text).toString("base64url");

    /** A signature as QStash makes it: a JWT over the URL and the body's SHA-256. */
    function sign(body: string, { key = KEYS.current, to = url, from = Date.now() } = {}): string {
      const seconds = Math.floor(from / 1000);
      const claims = { iss: "Upstash", sub: to, exp: seconds + 300, nbf: seconds, iat: seconds, jti: "jwt_1" };
      const hash = createHash("sha256").update(body).digest();
      const parts = [{ alg: "HS256", typ: "JWT" }, { ...claims, body: base64url(hash) }];
      const text = parts.map((part) => base64url(JSON.stringify(part))).join(".");
      return `${text}.${createHmac("sha256", key).update(text).digest("base64url")}`;
    }

    async function deliver(body: string, signature: string | undefined = sign(body), id = "msg_schedule") {
      const headers: Record<string, string> = { "upstash-message-id": id };
      if (signature) headers["upstash-signature"] = signature;
      const response = await fetch(url, { method: "POST", body, headers });
      return { status: response.status, text: await response.text() };
    }

    async function startExample(): Promise<void> {
      published = [];
      const port = await freePort();
      url = `http://127.0.0.1:${port}/drain`;
      const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const variables = {
        ...environment,
        ...{ DRAIN_URL: url, QSTASH_TOKEN: "a-token", QSTASH_URL: endpoint, PORT: String(port), MAX_KEYS: "500" },
        ...{ QSTASH_CURRENT_SIGNING_KEY: KEYS.current, QSTASH_NEXT_SIGNING_KEY: KEYS.next },
      };
      const schedule = await run(bin("deno"), ["run", "-A", "schedule.ts"], exampleOf("qstash"), variables);
      assertMatch(schedule, /each minute: schedule tundra-drain/);
      const [made] = published.splice(0);
      assertEquals([made!.to, made!.headers["upstash-cron"], made!.headers["upstash-schedule-id"]], [
        ...[url, "* * * * *", "tundra-drain"],
      ]);
      const program = start(bin("deno"), ["run", "-A", "main.ts"], exampleOf("qstash"), variables);
      programs.push(program);
      await program.printed(/Listening/);
    }

    it("the schedule's message and those that follow archive all; one that is retried does no harm", async () => {
      const keys = await backlog(1_800);
      await startExample();
      const seen: string[] = [];
      let next: Publication | undefined;
      do {
        const body = next?.body ?? "";
        const id = next ? `msg_${seen.length}` : "msg_schedule";
        const first = await deliver(body, sign(body, { key: seen.length % 2 ? KEYS.next : KEYS.current }), id);
        assertEquals(first.status, 200, first.text);
        // QStash did not get the answer: it delivers the same once more
        assertEquals((await deliver(body, sign(body), id)).status, 200);
        const made = published.splice(0);
        const ids = made.map(({ headers }) => String(headers["upstash-deduplication-id"]));
        assertEquals(new Set(ids).size, made.length > 0 ? 1 : 0, ids.join()); // QStash would drop the second
        next = made[0];
        if (next) assertEquals(next.to, url);
        seen.push(...ids.slice(0, 1));
      } while (next && seen.length < 20);
      assertEquals(seen, ["msg_schedule-1", "msg_schedule-2"]); // 500 and 500, 500 and the rest, nothing
      await assertArchivedOnce(keys);
    });

    it("refuses a wrong signature, and does nothing", async () => {
      await backlog(10);
      await startExample();
      const wrong: [string, string | undefined][] = [
        ["", ""],
        ["", "no.jwt.at-all"],
        ["", sign("", { key: "sig_another" })],
        ["{}", sign("")],
        ["", sign("", { to: "https://elsewhere.example/drain" })],
        ["", sign("", { from: Date.now() - 3_600_000 })],
      ];
      for (const [body, signature] of wrong) assertEquals((await deliver(body, signature)).status, 401, signature);
      assertEquals((await fetch(url)).status, 404);
      assertEquals([(await stack.store().status()).dirty, published.length], [10, 0]);
      assertEquals((await deliver("")).status, 200);
      assertEquals((await stack.store().status()).dirty, 0);
    });
  });

  describe("on GitHub Actions", () => {
    const workflow = readFileSync(join(exampleOf("github-actions"), "drain.yml"), "utf8");

    it("the workflow is one that GitHub takes, and sets what the store reads", async () => {
      const path = join(folder, ".github/workflows");
      mkdirSync(path, { recursive: true });
      copyFileSync(join(exampleOf("github-actions"), "drain.yml"), join(path, "drain.yml"));
      await run(bin("action-validator"), [".github/workflows/drain.yml"], folder);
      writeFileSync(join(path, "wrong.yml"), workflow.replace("runs-on", "run-on"));
      const refused = await run(bin("action-validator"), [".github/workflows/wrong.yml"], folder).catch(String);
      assertMatch(refused, /run-on/);
      const set = [...workflow.matchAll(/^ +((?:UPSTASH|TUNDRA)_\w+): \$\{\{ (?:secrets|vars)\.(\w+) \}\}$/gm)];
      for (const [, name, from] of set) assertEquals(name, from);
      const needed = Object.keys(environment).filter((name) => /^(UPSTASH|TUNDRA)_/.test(name));
      assertEquals(needed.filter((name) => !set.some(([, there]) => there === name)), []);
    });

    it("its step, on four machines at once, archives each key exactly once", async () => {
      const keys = await backlog(12_000);
      const [, script] = /- name: Drain\n\s+run: (.*)\n/.exec(workflow)!;
      const [, machines] = /machine: \[(.*)\]/.exec(workflow)!;
      const variables = {
        ...environment,
        ...{ NODE_OPTIONS: `--import ${join(ROOT, "node_modules/tsx/dist/loader.mjs")}`, DRAIN_MINUTES: "2" },
        TSX_TSCONFIG_PATH: join(ROOT, "tsconfig.json"),
      };
      const outputs = await Promise.all(
        machines!.split(",").map(() => run("bash", ["-e", "-c", script!], exampleOf("github-actions"), variables)),
      );
      const totals = outputs.map((output) => Number(/archived (\d+) in all/.exec(output)![1]));
      assertEquals(totals.length, 4);
      assertEquals(totals.reduce((sum, total) => sum + total), keys.length, outputs.join("\n"));
      assert(totals.filter((total) => total > 0).length >= 2, `they shared the work: ${totals}`);
      await assertArchivedOnce(keys);
    });
  });

  it("of objects of their own: four ticks at once, in processes of their own, archive each key exactly once", async () => {
    const keys = await backlog(600);
    const options = {
      redis: stack.connection,
      s3: stack.s3,
      bucket: BUCKET,
      store: { packBytes: 0 },
      tick: { maxKeys: 100 },
    };
    const { url, region, accessKeyId, secretAccessKey } = stack.s3;
    const config = { ...options, s3: { endpoint: url, bucket: BUCKET, region, accessKeyId, secretAccessKey } };
    const workers = Array.from(
      { length: 4 },
      () => run("node", ["--import", "tsx", "bench/drain_worker.ts", JSON.stringify(config)], ROOT),
    );
    const reports = (await Promise.all(workers)).map((output) => JSON.parse(output.trim().split("\n").at(-1)!));
    assertEquals(reports.reduce((sum, { frozen }) => sum + frozen, 0), keys.length);
    assert(reports.filter(({ frozen }) => frozen > 0).length >= 2, JSON.stringify(reports));
    assertEquals(stack.objectNames().length, keys.length);
    await assertArchivedOnce(keys);
  });
});
