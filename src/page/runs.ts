/**
 * The last sweeps and verifications.
 * @module
 */
import { count } from "../base/counts.ts";
import type { Activity } from "../operations/activity.ts";
import { type Html, html } from "./html.ts";
import { table } from "./layout.ts";
import { ago } from "./words.ts";

/** A table of runs. */
export function runsTable(runs: Activity["runs"], nowMs: number): Html {
  if (runs.length === 0) {
    return html`
      <div class="sheet">
        <h2>Sweeps and verifications</h2>
        <p class="muted">None has run yet. <code>tick({ sweepMs, verifyKeys })</code> runs both from the cron trigger.</p>
      </div>
    `;
  }
  const rows = runs.map(({ atMs, operation, done, counts }) => [
    ago(atMs, nowMs),
    operation === "sweep" ? "Sweep" : "Verification",
    found(operation, counts),
    done ? "complete" : "goes on",
  ]);
  return table("Sweeps and verifications, day by day", ["Last", "What", "Found", "State"], rows);
}

function found(operation: string, counts: Record<string, number>): Html {
  const bad = operation === "verify" && (counts.damaged ?? 0) + (counts.missing ?? 0) > 0;
  const parts = Object.entries(counts).filter(([name, n]) => n > 0 || name === "checked" || name === "deleted")
    .map(([name, n]) => `${count(n)} ${name}`);
  return html`${
    bad && html`
      <span class="tag lost">damage</span>
    `
  }${parts.join(", ") || "nothing"}`;
}
