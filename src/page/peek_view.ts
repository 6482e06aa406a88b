/**
 * A look at a value, evicted or not, which stays where it is. Large values are shown in part.
 * @module
 */
import { count, counted } from "../base/counts.ts";
import { contextOf } from "../core/context.ts";
import { peek } from "../operations/peek.ts";
import { type ReadValue, readValue } from "../scripts/read_value.ts";
import { type Html, html } from "./html.ts";
import { keyForm } from "./key_forms.ts";
import { keyOf } from "./key_view.ts";
import { notice, type Page, table } from "./layout.ts";
import type { Visit } from "./visit.ts";
import { name, visibleBytes } from "./words.ts";

const LIMITS = { bytes: 4_000, entries: 50 };
const CELL_BYTES = 500;
const LINES = /[\n\t]/;

/** Names of entries, and of what each consists of. */
const ENTRIES: Readonly<Record<string, [one: string, several: string | undefined, head: string[]]>> = {
  list: ["item", undefined, ["Item"]],
  set: ["member", undefined, ["Member"]],
  zset: ["member", undefined, ["Member", "Score"]],
  hash: ["field", undefined, ["Field", "Value"]],
  stream: ["entry", "entries", ["Id", "Fields and values"]],
};

/** Cost: what `peek()` costs, and 3 requests and 4 commands. */
export async function peekView({ store, form, session }: Visit): Promise<Page> {
  const key = keyOf(form);
  const { connection } = contextOf("show a value", store);
  const shown = await peek(store, key, (_, held) => readValue(connection, "show a value", held, LIMITS));
  const body = html`
    <div>
      <h1>Value</h1>
      <div class="title">${name(key, 40_000)}</div>
    </div>
    ${shown === undefined ? notice("info", "The key is absent: it was removed, or it has expired.") : valueOf(shown)}
    <div class="row">${keyForm(session, "key", key, {}, "Back to the key")}</div>
  `;
  return { title: "Value", view: "keys", body };
}

function valueOf({ type, length, text, entries }: ReadValue): Html {
  if (text !== undefined) {
    const isPart = length > LIMITS.bytes;
    return html`
      <section>
        <h2>${titleOf(type, counted(length, "byte"), isPart)}</h2>
        <pre class="value" tabindex="0">${visibleBytes(text.slice(0, LIMITS.bytes), isPart, LINES)}</pre>
      </section>
    `;
  }
  const [one, several, head] = ENTRIES[type] ?? ["entry", "entries", ["Entry"]];
  const rows = entries!.slice(0, LIMITS.entries).map((cells) => {
    const [id = "", ...rest] = cells;
    return type === "stream" ? [cell(id), spaced(rest.map(cell))] : cells.map(cell);
  });
  return table(titleOf(type, counted(length, one, several), length > rows.length), head, rows);
}

function titleOf(type: string, length: string, isPart: boolean): string {
  return `${type}, ${length}${isPart ? ": its beginning" : ""}`;
}

function cell(bytes: string): Html {
  const isPart = bytes.length > CELL_BYTES;
  const shown = visibleBytes(bytes.slice(0, CELL_BYTES), isPart, LINES);
  const rest = isPart && html`<span class="muted"> … ${count(bytes.length)} bytes</span>`;
  return html`<span class="value-cell">${shown}</span>${rest}`;
}

function spaced(cells: Html[]): Html {
  return html`${
    cells.map((each, i) =>
      i === 0 ? each : html`
        ${each}
      `
    )
  }`;
}
