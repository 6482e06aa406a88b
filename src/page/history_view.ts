/**
 * The past fortnight: charts, the numbers behind them, and the last sweeps and verifications.
 * @module
 */
import { activity } from "../operations/activity.ts";
import { chartOf, hasChart } from "./charts.ts";
import { html } from "./html.ts";
import type { Page } from "./layout.ts";
import { runsTable } from "./runs.ts";
import type { Visit } from "./visit.ts";

/** Cost: 1 request, 3 commands. */
export async function historyView({ store, nowMs }: Visit): Promise<Page> {
  const { hours, runs } = await activity(store);
  const body = html`
    <div>
      <h1>History</h1>
      <p class="lead">What ticks have noted, once an hour, for 14 days at most. Hours without a tick are gaps.
    Times are UTC.</p>
    </div>
    <section class="pair">${chartOf("keys", hours)}${chartOf("waiting", hours)}${chartOf("work", hours)}${chartOf(
      "age",
      hours,
    )}</section>
    <section>${runsTable(runs, nowMs)}</section>
  `;
  return { title: "History", view: "history", body, charts: hasChart(hours) };
}
