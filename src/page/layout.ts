/**
 * The frame of each page: its head, the names of its views, and the headers of its answer.
 * @module
 */
import { randomBytes } from "../base/platform.ts";
import { assetUrl, HEADERS } from "./assets.ts";
import { base64url } from "./handles.ts";
import { type Content, type Html, html, trusted } from "./html.ts";
import type { Settings } from "./options.ts";
import type { Session } from "./session.ts";

/** The views that the head of a page links to. */
export type ViewName = "overview" | "keys" | "dead" | "history" | "help";

/** One page. */
export interface Page {
  /** Its heading, also in the window's title. */
  title: string;
  /** The view whose link is marked. */
  view?: ViewName;
  body: Content;
  /** Default: 200. */
  status?: number;
  /** `true`: scripts draw the charts. */
  charts?: boolean;
  headers?: Record<string, string>;
}

const VIEWS: readonly [name: ViewName, title: string][] = [
  ["overview", "Overview"],
  ["keys", "Keys"],
  ["dead", "Dead letters"],
  ["history", "History"],
  ["help", "Help"],
];

/** The answer with a page, for someone who has signed in or not. */
export function respond(page: Page, { title }: Settings, session?: Session): Response {
  const nonce = base64url(randomBytes(16));
  const scripts = page.charts
    ? [assetUrl("uplot.js"), assetUrl("charts.js")].map((url) =>
      html`<script src="${url}" nonce="${nonce}" defer></script>`
    )
    : [];
  const styles = [...page.charts ? [assetUrl("uplot.css")] : [], assetUrl("page.css")].map((url) =>
    html`<link rel="stylesheet" href="${url}" nonce="${nonce}">`
  );
  const document = html`
    ${trusted("<!doctype html>")}
    <html lang="en">
      <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <title>${page.title} · Tundra${title && html`
      · ${title}
    `}</title>
    ${styles}
    ${scripts}
      </head>
      <body>
        <a class="skip" href="#main">Skip to the content</a>
        <header class="top">
    <p class="brand"><a href="?">Tundra</a>${title && html`<span class="store">${title}</span>`}</p>
    ${session && navigation(page.view, session)}
        </header>
        <main id="main" tabindex="-1">
    ${page.body}
        </main>
      </body>
    </html>
  `;
  return new Response(document.html, {
    status: page.status ?? 200,
    headers: {
      ...HEADERS,
      "cache-control": "no-store",
      "content-security-policy": policy(nonce),
      "content-type": "text/html; charset=utf-8",
      ...page.headers,
    },
  });
}

/** Only what carries this answer's nonce is run or applied, and nothing else is loaded. */
function policy(nonce: string): string {
  return [
    "default-src 'none'",
    `script-src 'nonce-${nonce}'`,
    `style-src 'nonce-${nonce}'`,
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
}

function navigation(view: ViewName | undefined, session: Session): Html {
  return html`
    <nav aria-label="Views">
      <ul>
    ${VIEWS.map(([name, title]) =>
      html`
        <li><a href="${name === "overview" ? "?" : `?view=${name}`}"${name === view &&
          trusted(' aria-current="page"')}>${title}</a></li>
      `
    )}</ul>
    </nav>
    ${session.byCookie &&
      html`<form method="post" action="?view=leave">${
        tokenField(session)
      }<button class="quiet">Sign out</button></form>`}
  `;
}

/** The field that each form must carry. */
export function tokenField({ formToken }: Session): Html {
  return html`<input type="hidden" name="token" value="${formToken}">`;
}

/** A table that scrolls by itself if it is too wide; `columns` that hold numbers are aligned by `numbers`. */
export function table(
  caption: Content,
  head: readonly Content[],
  rows: readonly Content[][],
  numbers: number[] = [],
): Html {
  const aligned = (i: number) => numbers.includes(i) && trusted(' class="number"');
  const label = typeof caption === "string" ? caption : "Table";
  return html`
    <div class="scroll" role="region" tabindex="0" aria-label="${label}">
      <table>
        <caption>${caption}</caption>
        <thead>
          <tr>${head.map((cell, i) =>
            html`
              <th scope="col" ${aligned(i)}>${cell}</th>
            `
          )}</tr>
        </thead>
        <tbody>
    ${rows.map((row) =>
      html`
        <tr>${row.map((cell, i) => html`<td${aligned(i)}>${cell}</td>`)}</tr>
      `
    )}</tbody>
      </table>
    </div>
  `;
}

/** A message above a page's content. */
export function notice(level: "good" | "bad" | "info", content: Content): Html {
  return html`<p class="notice ${level}" role="status">${content}</p>`;
}
