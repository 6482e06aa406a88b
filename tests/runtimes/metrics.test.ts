/** Metrics as an application has them: in its types, and in a real Prometheus. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before, beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import ts from "typescript";
import { freePort } from "../../dev/servers/redis_server.ts";
import { activity } from "../../src/operations/mod.ts";
import { prometheusMetrics } from "../../src/metrics/mod.ts";
import { INDEX, type Metric, PROCESS, UP, UPKEEP } from "../../src/metrics/table.ts";
import { withArchive } from "../support/fixtures.ts";
import { EVENTS, kept } from "../support/metrics.ts";
import { findPromtool, promtool } from "../support/promtool.ts";
import { until } from "../support/waiting.ts";
import { bundle } from "./bundle.ts";
import { start } from "./run.ts";
import { installTools, miniflare, ROOT, TOOLS } from "./tools.ts";

const METRICS: Metric[] = [...Object.values(PROCESS), UP, ...INDEX, ...UPKEEP];
const ALERTS = join(ROOT, "ops/alerts/tundra.yml");

interface Panel {
  id: number;
  type: string;
  title: string;
  gridPos: { x: number; y: number; w: number; h: number };
  targets?: { expr: string }[];
}

const dashboard: { panels: Panel[] } = JSON.parse(readFileSync(join(ROOT, "ops/grafana/tundra.json"), "utf8"));

/** The queries of the dashboard, as Grafana would send them. */
const queries = dashboard.panels.flatMap(({ title, targets = [] }) =>
  targets.map(({ expr }) => ({
    title,
    expr: expr.replaceAll("$tqname", ".*").replaceAll("$__rate_interval", "10s"),
  }))
);

/** Names of metrics in a text, without what Prometheus appends to a histogram's. */
function namesIn(text: string): string[] {
  const names = [...text.matchAll(/\btundra_[a-z_]*[a-z]\b/g)].map(([name]) =>
    name.replace(/_(bucket|sum|count)$/, "")
  );
  return [...new Set(names)].sort();
}

describe("metrics", () => {
  const stack = withArchive();
  before(() => {
    installTools();
    findPromtool();
  });
  beforeEach(() => stack.flush());

  it("have alerts that promtool takes, whose own tests pass, each with a place in docs/operate.md", () => {
    promtool(["check", "rules", ALERTS]);
    const tests = join(ROOT, "ops/alerts/tundra_test.yml");
    promtool(["test", "rules", tests]);
    const [rules, tested, page] = [ALERTS, tests, join(ROOT, "docs/operate.md")].map((path) =>
      readFileSync(path, "utf8")
    );
    const alerts = [...rules!.matchAll(/- alert: (\w+)/g)].map(([, name]) => name!);
    assert(alerts.length >= 8, alerts.join());
    for (const name of alerts) {
      assert(page!.includes(`### ${name}\n`), `docs/operate.md has ${name}`);
      assert(rules!.includes(`runbook: docs/operate.md#${name.toLowerCase()}\n`), name);
      const fires = tested!.match(new RegExp(`alertname: ${name}\\n\\s+exp_alerts:\\n`, "g")) ?? [];
      const silent = tested!.match(new RegExp(`alertname: ${name}, exp_alerts: \\[\\]`, "g")) ?? [];
      assert(fires.length > 0 && silent.length > 0, `${name} is tested both ways`);
    }
  });

  it("have a page, a dashboard and alerts that name metrics that exist, and all of them", () => {
    const there = METRICS.map(({ name }) => name).sort();
    const read = (path: string) => namesIn(readFileSync(join(ROOT, path), "utf8"));
    assertEquals(read("ops/grafana/tundra.json"), there);
    assertEquals(read("ops/alerts/tundra.yml").filter((name) => !there.includes(name)), []);

    const page = readFileSync(join(ROOT, "docs/metrics.md"), "utf8");
    assertEquals(namesIn([...page.matchAll(/`(tundra_\w+)`/g)].map(([, name]) => name).join(" ")), there);
  });

  it("have a dashboard whose panels lie side by side, each with a title", () => {
    const { panels } = dashboard;
    assertEquals(new Set(panels.map(({ id }) => id)).size, panels.length);
    for (const [i, { title, gridPos: a }] of panels.entries()) {
      assert(title && a.x >= 0 && a.x + a.w <= 24, title);
      for (const { title: other, gridPos: b } of panels.slice(i + 1)) {
        const apart = a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y;
        assert(apart, `${title} and ${other}`);
      }
    }
  });

  it("are scraped by a real Prometheus: every query of the dashboard has an answer, every alert is evaluated", async () => {
    const folder = mkdtempSync(join(tmpdir(), "tundra-prometheus-"));
    const metrics = prometheusMetrics({ maxAgeMs: 0, activity });
    const handle = metrics.handler(await kept(stack.store()), { secret: "a-secret-for-scrapes" });
    const server = createServer(async ({ headers }, response) => {
      EVENTS.forEach(metrics.onEvent);
      const scraped = await handle(new Request("http://app.example/metrics", { headers: headers as HeadersInit }));
      response.writeHead(scraped.status, Object.fromEntries(scraped.headers)).end(await scraped.text());
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    writeFileSync(
      join(folder, "prometheus.yml"),
      JSON.stringify({
        global: { scrape_interval: "1s", evaluation_interval: "1s" },
        rule_files: [ALERTS],
        scrape_configs: [{
          job_name: "tundra",
          authorization: { credentials: "a-secret-for-scrapes" },
          static_configs: [{ targets: [`127.0.0.1:${(server.address() as AddressInfo).port}`] }],
        }],
      }),
    );
    const port = await freePort();
    const prometheus = start("prometheus", [
      ...[`--config.file=${join(folder, "prometheus.yml")}`, `--storage.tsdb.path=${join(folder, "data")}`],
      `--web.listen-address=127.0.0.1:${port}`,
    ], folder);
    try {
      const get = async <T>(path: string): Promise<T> => {
        const response = await fetch(`http://127.0.0.1:${port}/api/v1/${path}`);
        const body = await response.json() as { status: string; data: T; error?: string };
        assertEquals(body.status, "success", `${path}: ${body.error}`);
        return body.data;
      };
      const query = (expr: string) =>
        get<{ result: { value: [number, string] }[] }>(`query?query=${encodeURIComponent(expr)}`);
      await prometheus.printed(/Server is ready/);
      await until("three scrapes", async () => {
        const { result } = await query(`count_over_time(tundra_index_up[1m])`);
        return Number(result[0]?.value[1] ?? 0) >= 3;
      });
      const unanswered: string[] = [];
      for (const { title, expr } of queries) if ((await query(expr)).result.length === 0) unanswered.push(title);
      assertEquals(unanswered, []);
      assertEquals((await query("tundra_index_up")).result.map(({ value }) => value[1]), ["1"]);
      const { groups } = await get<{ groups: { rules: { name: string; health: string; lastError?: string }[] }[] }>(
        "rules",
      );
      const rules = groups.flatMap(({ rules }) => rules);
      assertEquals(
        rules.filter(({ health }) => health !== "ok").map(({ name, lastError }) => `${name}: ${lastError}`),
        [],
      );
      assert(rules.length >= 8);
      const kinds = await get<Record<string, { type: string; help: string }[]>>("metadata");
      for (const { name, kind, help } of METRICS) {
        assertEquals(kinds[name]?.[0], { type: kind, help, unit: "" } as object);
      }
    } finally {
      await prometheus.stop();
      server.close();
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it("are counted in a Worker's isolate, whose scrapes may come at once", async () => {
    const { url, token } = stack.connection;
    const worker = miniflare({
      script: await bundle(`
        import { memoryDatastore, tundraStore } from "./mod.ts";
        import { prometheusMetrics } from "./src/metrics/mod.ts";
        const metrics = prometheusMetrics();
        const archive = memoryDatastore();
        const redis = ${JSON.stringify({ url, token })};
        const storeOf = () => tundraStore(archive, { redis, onEvent: metrics.onEvent });
        const scrape = metrics.handler(storeOf);
        export default {
          async fetch(request) {
            if (new URL(request.url).pathname === "/metrics") return await scrape(request);
            const store = storeOf();
            await store.redis.set("cart:7", "apples");
            await store.dirty("cart:7");
            return Response.json(await store.tick());
          },
        };
      `),
    });
    try {
      await worker.ready;
      assertEquals((await worker.dispatchFetch("http://worker/")).status, 200);
      const scrapes = await Promise.all([1, 2, 3].map(() => worker.dispatchFetch("http://worker/metrics")));
      for (const response of scrapes) {
        const text = await response.text();
        assertMatch(text, /^tundra_frozen_keys_total\{tqname="default"\} 1$/m);
        assertMatch(text, /^tundra_calls_total\{tqname="default",call="dirty",code="OK"\} 1$/m);
        assertMatch(text, /^tundra_index_frozen_keys_total\{tqname="default"\} 1$/m);
        assertEquals(text.includes("cart:7"), false);
      }
    } finally {
      await worker.dispose();
    }
  });

  it("takes the Meter and the Tracer of @opentelemetry/api as they are typed", () => {
    const folder = mkdtempSync(join(TOOLS, "node_modules", ".tundra-types-"));
    try {
      const file = join(folder, "application.ts");
      writeFileSync(
        file,
        `import { metrics, trace } from "@opentelemetry/api";
         import type { MeterLike, TracerLike } from ${
          JSON.stringify(join(ROOT, "src/metrics/open_telemetry_types.ts"))
        };
         export const meter: MeterLike = metrics.getMeter("tundra");
         export const tracer: TracerLike = trace.getTracer("tundra");
         // @ts-expect-error: no meter
         export const wrong: MeterLike = trace.getTracer("tundra");`,
      );
      const found = ts.getPreEmitDiagnostics(ts.createProgram([file], {
        ...{ strict: true, noEmit: true, allowImportingTsExtensions: true, skipLibCheck: true, types: [] },
        ...{ module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler },
        ...{ target: ts.ScriptTarget.ES2022, lib: ["lib.es2022.d.ts"] },
      }));
      assertEquals(found.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, "\n")), []);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
