/**
 * The keys that Tundra knows: a look at one, or a list by pattern and state, some steps of a scan at a time.
 * @module
 */
import { count, counted } from "../base/counts.ts";
import { badArgument } from "../base/errors.ts";
import { checkMatch } from "../base/patterns.ts";
import { contextOf } from "../core/context.ts";
import { checkIndex } from "../operations/check_index.ts";
import { readClock, scanRecords } from "../operations/known_keys.ts";
import { entryOf, type KeyStateName, type ListedKey } from "../operations/list.ts";
import { PRICES, RECORD_BYTES } from "../operations/prices.ts";
import { parseRecord } from "../scripts/prelude.ts";
import { SCAN_START } from "../scripts/scan.ts";
import { type Content, type Html, html } from "./html.ts";
import { openButton, openForm } from "./key_forms.ts";
import { notice, type Page, table, tokenField } from "./layout.ts";
import type { Visit } from "./visit.ts";
import { ago, name, size } from "./words.ts";

const STATES: readonly KeyStateName[] = ["dirty", "resident", "evicted", "dead", "gone"];
const [WHAT, SHOWN] = ["list keys", 100];
/** Steps of one page, of 1,000 keys of the database each: Workers may send 50 requests. */
const STEPS = 10;

/** The request of a form. */
interface Search {
  match: string;
  state: KeyStateName | "";
  cursor: string;
}

/** The findings of one page. */
interface Found {
  rows: ListedKey[];
  sums: Map<KeyStateName, { keys: number; bytes: number }>;
  matching: number;
  /** `undefined`: the scan has ended. */
  next: string | undefined;
}

/** Cost: none until a form is sent; then 1 request and 2 commands, and at most 10 times 3 of both. */
export async function keysView(visit: Visit): Promise<Page> {
  const search = searchOf(visit.form);
  const found = visit.form.has("match") && await scanSome(visit, search);
  const body = html`
    <div>
      <h1>Keys</h1>
      <p class="lead">Keys that Tundra has a record of, evicted ones too. Nothing here is a use of a key.</p>
    </div>
    ${forms(visit, search)}
    ${found && results(visit, search, found)}
  `;
  return { title: "Keys", view: "keys", body };
}

function searchOf(form: URLSearchParams): Search {
  const [match = "*", state = "", cursor = SCAN_START] = ["match", "state", "cursor"].map((field) =>
    form.get(field) || undefined
  );
  checkMatch(WHAT, match);
  if (state !== "" && !STATES.includes(state as KeyStateName)) {
    throw badArgument(WHAT, "state", `one of ${STATES.join()}`, state);
  }
  if (!/^\d{1,20}$/.test(cursor)) throw badArgument(WHAT, "cursor", "a number", cursor);
  return { match, state: state as KeyStateName | "", cursor };
}

async function scanSome({ store }: Visit, { match, state, cursor }: Search): Promise<Found> {
  const context = contextOf(WHAT, store);
  await checkIndex(context, {});
  const found: Found = { rows: [], sums: new Map(), matching: 0, next: undefined };
  let steps = 0;
  for await (const { texts, next } of scanRecords(context, WHAT, match, cursor)) {
    const records = new Map([...texts].map(([key, text]) => [key, parseRecord(text)]));
    const { dead, nowMs } = await readClock(context, WHAT, records);
    for (const [key, record] of records) {
      const entry = record && entryOf(key, record, dead.has(key), nowMs);
      if (entry) note(found, entry, state);
    }
    found.next = next;
    if (++steps === STEPS || found.matching >= SHOWN) break;
  }
  return found;
}

function note(found: Found, entry: ListedKey, state: string): void {
  const sum = found.sums.get(entry.state) ?? { keys: 0, bytes: 0 };
  found.sums.set(entry.state, { keys: sum.keys + 1, bytes: sum.bytes + entry.bytes });
  if (state !== "" && entry.state !== state) return;
  found.matching++;
  if (found.rows.length < SHOWN) found.rows.push(entry);
}

function forms({ session }: Visit, { match, state }: Search): Html {
  return html`
    <div class="pair">
      <form class="sheet" method="post" action="?view=key"><h2>Look at a key</h2>${tokenField(session)}
    <div class="fields"><div class="wide"><label for="name">Its whole name</label>
    <input class="mono" id="name" name="name" type="text" required autocomplete="off" autocapitalize="off" spellcheck="false"></div>
    <button>Look</button></div></form>
      <form class="sheet" method="post" action="?view=keys"><h2>List keys</h2>${tokenField(session)}
    <div class="fields"><div class="wide"><label for="match">Pattern</label>
    <input class="mono" id="match" name="match" type="text" value="${match}" autocomplete="off" autocapitalize="off" spellcheck="false"
    aria-describedby="pattern-hint"></div>
    <div><label for="state">State</label><select id="state" name="state"><option value="">Any</option>
    ${STATES.map((each) =>
      html`<option${
        each === state && html`
          selected
        `
      }>${each}</option>`
    )}</select></div>
    <button>List</button></div><p class="hint" id="pattern-hint">As SCAN takes it: <code>cart:*</code></p></form>
    </div>
  `;
}

function results({ session, nowMs }: Visit, search: Search, { rows, sums, matching, next }: Found): Html {
  const shown = matching > rows.length
    ? `${count(rows.length)} of ${counted(matching, "key")}`
    : counted(matching, "key");
  const list: Content[][] = rows.map(({ key, state, bytes, atMs, usedMs }) => [
    openButton(key),
    stateTag(state),
    bytes > 0 ? size(bytes) : "",
    atMs > 0 ? ago(atMs, nowMs) : "",
    usedMs > 0 ? ago(usedMs, nowMs) : "",
  ]);
  const unseen = next !== undefined;
  const sumRows = STATES.flatMap((state) => {
    const sum = sums.get(state);
    return sum ? [[stateTag(state), count(sum.keys), size(sum.bytes)]] : [];
  });
  const caption = unseen ? "Sums of the keys looked at on this page" : "Sums";
  const none = notice("info", unseen ? "None among the keys looked at so far." : "No key that matches.");
  const listCaption = html`Keys <span class="muted">like ${name(search.match)}: ${shown}</span>`;
  const head = ["Key", "State", "Size", "Archived", "Last use"];
  return html`
    ${sumRows.length > 0 &&
      html`<section>${table(caption, ["State", "Keys", "Size"], sumRows, [1, 2])}${
        saving(sums.get("evicted"))
      }</section>`}
    <section>${openForm(session)}${rows.length === 0 ? none : table(listCaption, head, list, [2])}</section>
    ${unseen && moreForm(session, { ...search, cursor: next })}
  `;
}

function moreForm(session: Visit["session"], search: Search): Html {
  return html`<form method="post" action="?view=keys">${tokenField(session)}
${Object.entries(search).map(([field, value]) => html`<input type="hidden" name="${field}" value="${value}">`)}
<div class="row"><button>Look at more keys</button>
<span class="small muted">The scan has not seen the whole database yet.</span></div></form>`;
}

/** Memory that evicted keys do not take, and its price. */
function saving(evicted: { keys: number; bytes: number } | undefined): Html | undefined {
  const bytes = (evicted?.bytes ?? 0) - (evicted?.keys ?? 0) * RECORD_BYTES;
  if (bytes <= 0) return undefined;
  const { gbMonth } = PRICES.payAsYouGo;
  const dollars = bytes / 1e9 * gbMonth;
  const price = dollars < 0.01 ? "less than a cent" : `$${dollars.toFixed(2)}`;
  return html`<p class="small muted">The evicted keys among them take about ${
    size(bytes)
  } less of Redis’ memory: ${price} a month
at $${gbMonth} a GB.</p>`;
}

/** A state as a label. */
export function stateTag(state: string): Html {
  return html`<span class="tag ${state}">${state}</span>`;
}
