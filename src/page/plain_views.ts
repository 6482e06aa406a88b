/**
 * Views that ask no server: signing in, help, and errors.
 * @module
 */
import type { TundraError } from "../base/errors.ts";
import { ADVICE } from "./advice.ts";
import { adviceFor } from "./dead_view.ts";
import { withoutAddresses } from "./hide.ts";
import { html } from "./html.ts";
import { notice, type Page } from "./layout.ts";
import { visible } from "./words.ts";

/** The form that asks for the secret. */
export function loginView(said?: string): Page {
  const body = html`<div class="login"><h1>Sign in</h1>${said && notice("bad", said)}
<form method="post" action="?view=login"><label for="secret">Secret</label>
<input id="secret" name="secret" type="password" required autofocus autocomplete="current-password">
<p class="hint">The option <code>secret</code> of the page.</p><button>Sign in</button></form></div>`;
  return { title: "Sign in", body, status: 401, headers: { "www-authenticate": "Bearer" } };
}

/** The meaning of each code and each word. */
export function helpView(): Page {
  const words: readonly [string, string][] = [
    ["dirty", "A key with a change that is not archived yet: only Redis has it."],
    ["resident", "An archived key that is in Redis."],
    ["evicted", "An archived key that is not in Redis. ensureKs() brings it back."],
    ["dead letter", "A key that has used up its attempts to be archived. It stays in Redis until it is requeued."],
    ["rescued", "A change that nobody had marked. An eviction found it, and marked it."],
    ["to be deleted", "Removed and expired keys whose objects the next ticks delete from the archive."],
    ["sweep", "Deletes from the archive what nothing needs any more."],
    ["verify", "Reads the archive, and compares it with what Redis takes it for."],
  ];
  const body = html`
    <div>
      <h1>Help</h1>
      <p class="lead">What the words and the error codes mean, and what to do. The manual’s page on errors says more.</p>
    </div>
    <section>
      <h2>Words</h2>
      <dl class="facts sheet">${words.map(([word, meaning]) =>
        html`
          <dt>${word}</dt>
          <dd>${meaning}</dd>
        `
      )}</dl>
    </section>
    <section>
      <h2>Error codes</h2>
      <dl class="codes">${Object.keys(ADVICE).map(adviceFor)}</dl>
    </section>
  `;
  return { title: "Help", view: "help", body };
}

/** An error of the store, or of a form. */
export function errorView(error: TundraError): Page {
  const { code, message, retryable } = error;
  const heading = code === "UNAVAILABLE"
    ? "A server does not answer"
    : code === "LOST"
    ? "The index, or a value, is lost"
    : "That did not work";
  const body = html`
    <section class="verdict ${code === "BAD_ARGUMENT" || code === "CONFLICT" || code === "MISSING"
      ? "waiting"
      : "needs"}">
      <h1>${heading}</h1>
      <p>${visible(withoutAddresses(message))}</p>
      <p class="small">${retryable
        ? "The same may work later, with nothing changed."
        : "The same fails again until a person changes something."}</p>
    </section>
    <section>
      <h2>What it means</h2>
      <dl class="codes">${adviceFor(code)}</dl>
    </section>
    <p><a href="?">Back to the overview</a></p>
  `;
  return { title: heading, body, status: statusOf(error) };
}

/** A request that the page refuses. */
export function refusalView(
  status: number,
  heading: string,
  sentence: string,
  headers: Record<string, string> = {},
): Page {
  const body = html`
    <section class="verdict waiting">
      <h1>${heading}</h1>
      <p>${sentence}</p>
    </section>
    <p><a href="?">To the overview</a></p>
  `;
  return { title: heading, body, status, headers };
}

function statusOf({ code, retryable }: TundraError): number {
  if (code === "BAD_ARGUMENT") return 400;
  if (code === "MISSING" || code === "NOT_FOUND") return 404;
  if (code === "CONFLICT") return 409;
  return retryable ? 503 : 500;
}
