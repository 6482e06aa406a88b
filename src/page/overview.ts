/**
 * The first view: the verdict, the counts, the charts, and what happened last.
 * @module
 */
import { count, counted } from "../base/counts.ts";
import { contextOf } from "../core/context.ts";
import { activity } from "../operations/activity.ts";
import type { Status } from "../store_interface.ts";
import { chartOf, hasChart } from "./charts.ts";
import { deadTable } from "./dead_view.ts";
import { type Content, type Html, html } from "./html.ts";
import { openForm } from "./key_forms.ts";
import type { Page } from "./layout.ts";
import { runsTable } from "./runs.ts";
import { estimate, sampleSizes, type Sizes } from "./sizes.ts";
import { type Verdict, verdictOf } from "./verdict.ts";
import type { Visit } from "./visit.ts";
import { ago, duration, size } from "./words.ts";

const [SHOWN, HOURS] = [5, 24];

/** Cost: 4 requests, 15 commands; with dead letters 6 and 17. */
export async function overview(visit: Visit): Promise<Page> {
  const { store, settings, session, nowMs } = visit;
  const [status, past, sample] = await Promise.all([
    store.status(),
    activity(store),
    sampleSizes(contextOf("show sizes", store)),
  ]);
  const letters = status.dead > 0 ? await store.deadLetters({ limit: SHOWN }) : [];
  const verdict = verdictOf(status, past, nowMs, settings.lateMs);
  const charts = hasChart(past.hours);
  const body = html`
    ${verdictBox(verdict, status, nowMs)}
    ${figures(status, estimate(status, sample))}
    ${letters.length > 0 && html`<section>${openForm(session)}${deadTable(visit, letters, status.dead)}</section>`}
    <section class="pair">${chartOf("keys", past.hours, HOURS)}${chartOf("waiting", past.hours, HOURS)}</section>
    <section class="pair">${totals(status)}${runsTable(past.runs.slice(0, SHOWN), nowMs)}</section>
  `;
  return { title: verdict.title, view: "overview", body, charts };
}

function verdictBox({ level, title, summary, todo }: Verdict, { lastTickMs }: Status, nowMs: number): Html {
  return html`<section class="verdict ${level.split(" ")[0]}">
<h1>${title}</h1>
<p>${summary}</p>
${todo.length > 0 && html`<ol>${todo.map((each) => html`<li>${each}</li>`)}</ol>`}
<p class="small">Last tick: ${ago(lastTickMs, nowMs)}.</p>
</section>`;
}

function figures(status: Status, sizes: Sizes): Html {
  const { dirty, due, oldestDueMs, dead, purge, resident, evicted } = status;
  const about = (bytes: number | undefined) =>
    bytes === undefined
      ? "size not known"
      : bytes === 0
      ? "none"
      : `${sizes.exact ? "at most" : "about"} ${size(bytes)}`;
  const figure = (term: Content, value: Content, note: Content) =>
    html`
      <div>
        <dt>${term}</dt>
        <dd>${value}<div class="note">${note}</div></dd>
      </div>
    `;
  return html`<dl class="figures">
${figure("Evicted", count(evicted), sizes.evicted ? `${about(sizes.evicted)} out of Redis` : about(sizes.evicted))}
${figure("Archived and in Redis", count(resident), about(sizes.resident))}
${
    figure(
      "Waiting",
      count(dirty - dead),
      due > 0 ? `${count(due)} due, the oldest for ${duration(oldestDueMs)}` : "none due",
    )
  }
${figure("Dead letters", count(dead), dead > 0 ? "never evicted" : "none")}
${figure("To be deleted", count(purge), "removed and expired keys")}
</dl>`;
}

function totals({ totals }: Status): Html {
  const { frozen, bytes, evicted, restored, rescued, removed } = totals;
  return html`
    <div class="sheet">
      <h2>Since the beginning</h2>
      <dl class="facts">
        <dt>Archived</dt>
        <dd>${counted(frozen, "value")}, ${size(bytes)} put into the archive</dd>
        <dt>Evicted</dt>
        <dd>${counted(evicted, "time")}</dd>
        <dt>Brought back</dt>
        <dd>${counted(restored, "time")}</dd>
        <dt>Removed</dt>
        <dd>${counted(removed, "key")}</dd>
        <dt>Rescued</dt>
        <dd>${counted(rescued, "change")} that nobody had marked</dd>
      </dl>
    </div>
  `;
}
