/**
 * Forms that carry names of keys. No address holds one, as addresses stand in logs.
 * @module
 */
import { handleOf } from "./handles.ts";
import { type Html, html } from "./html.ts";
import { tokenField } from "./layout.ts";
import type { Session } from "./session.ts";
import { name } from "./words.ts";

const OPEN = "open";

/** The form behind the buttons that {@linkcode openButton} makes: once a page. */
export function openForm(session: Session): Html {
  return html`<form id="${OPEN}" hidden method="post" action="?view=key">${tokenField(session)}</form>`;
}

/** A key's name as a button that opens its page. */
export function openButton(key: string): Html {
  return html`<button class="link" form="${OPEN}" name="key" value="${handleOf(key)}">${name(key)}</button>`;
}

/** A form that posts something about one key. */
export function keyForm(
  session: Session,
  view: string,
  key: string,
  fields: Record<string, string>,
  button: string,
  quiet = true,
): Html {
  return html`<form method="post" action="?view=${view}">${tokenField(session)}
<input type="hidden" name="key" value="${handleOf(key)}">
${Object.entries(fields).map(([field, value]) => html`<input type="hidden" name="${field}" value="${value}">`)}
<button${
    quiet && html`
      class="quiet"
    `
  }>${button}</button></form>`;
}
