/**
 * Dead letters: the keys that could not be archived, why, and their retry.
 * @module
 */
import { count, counted } from "../base/counts.ts";
import type { DeadLetter } from "../dead_letters.ts";
import { ADVICE, MORE } from "./advice.ts";
import { handleOf, ofHandle } from "./handles.ts";
import { withoutAddresses } from "./hide.ts";
import { type Content, type Html, html } from "./html.ts";
import { openButton, openForm } from "./key_forms.ts";
import { notice, type Page, table, tokenField } from "./layout.ts";
import { code } from "./verdict.ts";
import type { Visit } from "./visit.ts";
import { ago, visible } from "./words.ts";

const SHOWN = 50;

/** Cost: 3 requests, 12 commands; a page of retries 1 and 7 more. */
export async function deadView(visit: Visit, said?: Content): Promise<Page> {
  const { store, session, query, settings } = visit;
  const from = Math.min(1e9, Math.max(0, Math.floor(Number(query.get("from")) || 0)));
  const [{ dead }, letters] = await Promise.all([store.status(), store.deadLetters({ offset: from, limit: SHOWN })]);
  const codes = [...new Set(letters.map((letter) => letter.code))];
  const body = html`
    <div>
      <h1>Dead letters</h1>
      <p class="lead">Keys that ticks have given up. Their values are in Redis and are never evicted,
    and only Redis has their last change. End the cause first; a retry, or a new <code>dirty()</code>, puts a key back into the
    queue.</p>
    </div>
    ${said}
    ${letters.length === 0
      ? html`<p class="notice good">${from > 0 ? "There are no more." : "There are none."}</p>`
      : html`
        ${openForm(session)}${deadTable(visit, letters, dead)}
        <div class="row">${settings.allow.retry && retryAll(visit, letters)}${more(from, letters.length, dead)}</div>
        <section>
          <h2>What to do</h2>
          <dl class="codes">${codes.map(adviceFor)}</dl>
        </section>
      `}
  `;
  return { title: "Dead letters", view: "dead", body };
}

/** A retry that a form asks for, and then the list. */
export async function retry(visit: Visit): Promise<Page> {
  const keys = visit.form.getAll("key").map(ofHandle);
  const requeued = await visit.store.retryDead(keys);
  const said = requeued === keys.length
    ? notice("good", `${counted(requeued, "key")} put back into the queue. The next tick tries again.`)
    : notice(
      "info",
      `${count(requeued)} of ${counted(keys.length, "key")} put back; the others were not dead any more.`,
    );
  return await deadView(visit, said);
}

/** A table of dead letters, with a button each if retries are allowed. */
export function deadTable({ session, settings, nowMs }: Visit, letters: DeadLetter[], all: number): Html {
  const isAllowed = settings.allow.retry;
  const rows = letters.map(({ key, code: word, message, attempts, at }) => [
    openButton(key),
    code(word),
    html`<span class="message">${visible(withoutAddresses(message))}</span>`,
    count(attempts),
    ago(at, nowMs),
    ...isAllowed ? [html`<button class="quiet" form="retry" name="key" value="${handleOf(key)}">Retry</button>`] : [],
  ]);
  const head = [
    "Key",
    "Error",
    "Message",
    "Attempts",
    "Dead since",
    ...isAllowed ? [html`<span class="hidden">Retry</span>`] : [],
  ];
  const which = letters.length < all ? `${count(letters.length)} of ${count(all)}` : count(all);
  return html`${
    isAllowed && html`<form id="retry" hidden method="post" action="?view=retry">${tokenField(session)}</form>`
  }
${table(`Dead letters: ${which}`, head, rows, [3])}
${letters.length < all && html`<p class="small"><a href="?view=dead">All dead letters</a></p>`}`;
}

function retryAll({ session }: Visit, letters: DeadLetter[]): Html {
  return html`<form method="post" action="?view=retry">${tokenField(session)}
${letters.map(({ key }) => html`<input type="hidden" name="key" value="${handleOf(key)}">`)}
<button>Retry ${letters.length === 1 ? "it" : `all ${count(letters.length)} shown`}</button></form>`;
}

function more(from: number, shown: number, all: number): Html {
  return html`${from > 0 && html`<a href="?view=dead&amp;from=${Math.max(0, from - SHOWN)}">Earlier</a>`}
${from + shown < all && html`<a href="?view=dead&amp;from=${from + SHOWN}">Later</a>`}`;
}

/** The meaning of a code, and what to do, as an entry of a list. */
export function adviceFor(word: string): Html {
  const { meaning, todo, commandLine } = ADVICE[word as keyof typeof ADVICE] ??
    { meaning: "not known here", todo: "see the message", commandLine: "" };
  return html`
    <div id="${word}">
      <dt class="code">${word}</dt>
      <dd>${sentence(meaning)} <strong>What to do:</strong>
    ${todo}. ${MORE[word as keyof typeof MORE]}${commandLine !== "" && html`
      <strong>By the command line:</strong> ${commandLine}.
    `}</dd>
    </div>
  `;
}

function sentence(text: string): string {
  const begun = text.replace(/^[a-z]+(?= )/, (word) => word.charAt(0).toUpperCase() + word.slice(1)); // dirty() stays
  return `${begun}.`;
}
