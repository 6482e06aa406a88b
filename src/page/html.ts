/**
 * HTML that escapes whatever is put into it.
 * @module
 */

/** A piece of HTML, made by {@linkcode html} only. */
export interface Html {
  readonly html: string;
}

/** Anything that may stand in a piece of HTML; nothing stands for `undefined` and `false`. */
export type Content = Html | string | number | undefined | false | readonly Content[];

const made = new WeakSet<object>();
// deno-lint-ignore no-control-regex
const NEVER = /[\x00-\x08\x0b-\x1f\x7f]/g; // a parser would drop or replace them

/** A piece of HTML; every text in it is escaped, also for attributes in double quotes. */
export function html(parts: TemplateStringsArray, ...contents: Content[]): Html {
  let text = parts[0]!;
  contents.forEach((content, i) => text += markupOf(content) + parts[i + 1]);
  return trusted(text);
}

/** Text that is HTML already: of this package, never of anybody else. */
export function trusted(text: string): Html {
  const piece = { html: text };
  made.add(piece);
  return piece;
}

function markupOf(content: Content): string {
  if (content === undefined || content === false) return "";
  if (typeof content === "string" || typeof content === "number") return escaped(String(content));
  if (isList(content)) return content.map(markupOf).join("");
  return made.has(content) ? content.html : escaped(String(content)); // an object of the same shape is not trusted
}

function isList(content: Html | readonly Content[]): content is readonly Content[] {
  return Array.isArray(content);
}

function escaped(text: string): string {
  return text.toWellFormed().replace(NEVER, "\ufffd").replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;")
    .replace(/"/g, "&quot;").replace(/'/g, "&#39;");
}
