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
