/**
 * Numbers, sizes, times and names as people read them.
 * @module
 */
import { bytes } from "../base/binary.ts";
import { count, counted } from "../base/counts.ts";
import { type Html, html } from "./html.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
/** The characters of a name that lists show. */
const SHOWN = 120;
/** The last time that a Date can hold. */
const LAST_MS = 8.64e15;

/** `512 bytes`, `1.5 KiB`, `12 MiB`: by 1,024, as the command line has them. */
export function size(bytes: number): string {
  if (bytes < 1024) return counted(bytes, "byte");
  const units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = bytes;
  let unit = -1;
  while (value >= 1023.5 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** `40 seconds`, `3 minutes`, `5 hours`, `2 days` */
export function duration(ms: number): string {
  if (ms < 1000) return "less than a second";
  if (ms < MINUTE_MS) return counted(Math.floor(ms / 1000), "second");
  if (ms < HOUR_MS) return counted(Math.floor(ms / MINUTE_MS), "minute");
  if (ms < 2 * DAY_MS) return counted(Math.floor(ms / HOUR_MS), "hour");
  return counted(Math.floor(ms / DAY_MS), "day");
}

/** `2026-11-26 17:24 UTC`; the element carries the exact time. */
export function time(ms: number): Html {
  if (!(ms > 0) || ms > LAST_MS) return html`unknown`;
  const exact = new Date(ms).toISOString();
  return html`<time datetime="${exact}">${exact.slice(0, -8).replace("T", " ")} UTC</time>`;
}

/** `3 minutes ago`, with the exact time in the element. */
export function ago(ms: number, nowMs: number): Html {
  if (!(ms > 0) || ms > LAST_MS) return html`never`;
  const exact = new Date(ms).toISOString();
  const words = nowMs - ms < 1000 ? "just now" : `${duration(nowMs - ms)} ago`;
  return html`<time datetime="${exact}" title="${exact}">${words}</time>`;
}

/**
 * A name of a key, or any other text of an application: what cannot be seen, or would turn the text around it, is
 * written as `\u{202e}`. Only so many characters are shown.
 */
export function name(text: string, most = SHOWN): Html {
  if (text === "") return html`<span class="muted">(the empty key)</span>`;
  const characters = text.length > most ? [...text.slice(0, 2 * most)].slice(0, most).join("") : text;
  const rest = characters.length < text.length && html`<span class="muted">… ${count(text.length)} characters</span>`;
  return html`<bdi class="name">${visible(characters)}</bdi>${rest}`;
}

/** Text in which nothing is invisible. */
export function visible(text: string, keep?: RegExp): Html[] {
  // invisible or unassigned, separators of lines, spaces that are none of ASCII's
  return text.split(/([\p{C}\p{Zl}\p{Zp}]|[^\P{Zs} ])/u).map((part, i) =>
    i % 2 === 0 || keep?.test(part)
      ? html`${part}`
      : html`<span class="escape">\\u{${part.codePointAt(0)!.toString(16)}}</span>`
  );
}

/**
 * Bytes as text; if they are no UTF-8, all but printable ASCII is written as `\x9f`. Of the beginning of something, the
 * last character may be cut off: it is left out.
 */
export function visibleBytes(binary: string, isBeginning: boolean, keep?: RegExp): Html[] {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  try {
    return visible(decoder.decode(bytes(binary), { stream: isBeginning }), keep);
  } catch {
    return binary.split(/([^\x20-\x7e])/).map((part, i) =>
      i % 2 === 0 || keep?.test(part)
        ? html`${part}`
        : html`<span class="escape">\\x${part.charCodeAt(0).toString(16).padStart(2, "0")}</span>`
    );
  }
}
