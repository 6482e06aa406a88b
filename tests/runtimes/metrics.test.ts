/** Metrics as an application has them: in its types, and in a real Prometheus. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import ts from "typescript";
import { installTools, ROOT, TOOLS } from "./tools.ts";

describe("metrics", () => {
  before(() => installTools());

  it("takes the Meter and the Tracer of @opentelemetry/api as they are typed", () => {
    const folder = mkdtempSync(join(TOOLS, "node_modules", ".tundra-types-"));
    try {
      const file = join(folder, "application.ts");
      writeFileSync(
        file,
        `
        import { metrics, trace } from "@opentelemetry/api";
        import { openTelemetryMetrics } from "@tundra/store/metrics";
        openTelemetryMetrics({ meter: metrics.getMeter("tundra"), tracer: trace.getTracer("tundra") });
        // @ts-expect-error: no meter
        openTelemetryMetrics({ meter: trace.getTracer("tundra") });
      `,
      );
      const { config } = ts.readConfigFile(join(ROOT, "tsconfig.json"), ts.sys.readFile);
      const { options } = ts.parseJsonConfigFileContent({ ...config, files: [file] }, ts.sys, ROOT);
      const found = ts.getPreEmitDiagnostics(ts.createProgram([file], { ...options, types: [] }));
      assertEquals(found.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, "\n")), []);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
