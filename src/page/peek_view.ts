/**
 * A look at a value, evicted or not, which stays where it is. Large values are shown in part.
 * @module
 */
import type { Redis } from "@upstash/redis";
import { contextOf } from "../core/context.ts";
import { peek } from "../operations/peek.ts";
import { redisClient } from "../upstash/client.ts";
import { type Html, html } from "./html.ts";
import { keyForm } from "./key_forms.ts";
import { keyOf } from "./key_view.ts";
import { notice, type Page, table } from "./layout.ts";
import type { Visit } from "./visit.ts";
import { count, counted, name, visible } from "./words.ts";

const [MOST_TEXT, MOST_ITEMS] = [4_000, 50];
const LINES = /[\n\t]/;

/** A value, as far as it is shown. */
interface Shown {
  type: string;
  /** Its length in its own measure. */
  length: string;
  text?: string;
  items?: { head: string[]; rows: string[][] };
  isPart: boolean;
}

/** Cost: what `peek()` costs, and 3 requests and 3 commands. */
export async function peekView({ store, form, session }: Visit): Promise<Page> {
  const key = keyOf(form);
  const { connection, clientOptions } = contextOf("show a value", store);
  // as it is: the application's client would read what looks like JSON, and 1e3 would be 1000
  const plain = redisClient(connection, { ...clientOptions, automaticDeserialization: false });
  const shown = await peek(store, key, (_, held) => read(plain, held));
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

function valueOf({ type, length, text, items, isPart }: Shown): Html {
  const what = `${type}, ${length}${isPart ? ": its beginning" : ""}`;
  if (items) {
    return table(
      what,
      items.head,
      items.rows.map((row) => row.map((cell) => html`<span class="value-cell">${visible(cell, LINES)}</span>`)),
    );
  }
  return html`
    <section>
      <h2>${what}</h2>
      <pre class="value" tabindex="0">${visible(text ?? "", LINES)}</pre>
    </section>
  `;
}

async function read(redis: Redis, key: string): Promise<Shown> {
  const type: string = await redis.type(key); // also stream, which the oldest client does not name
  const last = MOST_ITEMS - 1;
  if (type === "string") {
    const [length, text] = await Promise.all([redis.strlen(key), redis.getrange(key, 0, MOST_TEXT - 1)]);
    return { type, length: counted(length, "byte"), text: textOf(text), isPart: length > MOST_TEXT };
  }
  if (type === "list") {
    const [length, found] = await Promise.all([redis.llen(key), redis.lrange(key, 0, last)]);
    return items(type, length, "item", ["Item"], found.map((item) => [item]));
  }
  if (type === "zset") {
    const [length, flat] = await Promise.all([redis.zcard(key), redis.zrange(key, 0, last, { withScores: true })]);
    return items(type, length, "member", ["Member", "Score"], pairs(flat));
  }
  if (type === "set") {
    const [length, [, found]] = await Promise.all([redis.scard(key), redis.sscan(key, 0, { count: MOST_ITEMS })]);
    return items(type, length, "member", ["Member"], found.map((member) => [member]));
  }
  if (type === "hash") {
    const [length, [, flat]] = await Promise.all([redis.hlen(key), redis.hscan(key, 0, { count: MOST_ITEMS })]);
    return items(type, length, "field", ["Field", "Value"], pairs(flat));
  }
  if (type === "stream") {
    const [length, found] = await Promise.all([redis.xlen(key), redis.xrange(key, "-", "+", MOST_ITEMS)]);
    return items(type, length, "entry", ["Id", "Fields"], entriesOf(found), "entries");
  }
  const text = textOf(await redis.json.get(key));
  return {
    type,
    length: counted(text.length, "character"),
    text: text.slice(0, MOST_TEXT),
    isPart: text.length > MOST_TEXT,
  };
}

function items(type: string, length: number, one: string, head: string[], found: unknown[][], several?: string): Shown {
  const rows = found.slice(0, MOST_ITEMS).map((row) => row.map((cell) => shortened(textOf(cell))));
  const isPart = length > rows.length;
  return { type, length: counted(length, one, several), items: { head, rows }, isPart };
}

/** Entries of a stream: by their ids, or as the server lists them. */
function entriesOf(found: object): unknown[][] {
  if (!Array.isArray(found)) return Object.entries(found);
  return found.map(([id, fields]) => [id, Object.fromEntries(pairs(fields))]);
}

function pairs(flat: unknown[]): unknown[][] {
  return Array.from({ length: Math.floor(flat.length / 2) }, (_, i) => [flat[2 * i], flat[2 * i + 1]]);
}

function shortened(text: string): string {
  return text.length > 500 ? `${text.slice(0, 500)} … ${count(text.length)} characters` : text;
}

/** Text as it is; what the client has made of several texts, as JSON. */
function textOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value) ?? "";
}
