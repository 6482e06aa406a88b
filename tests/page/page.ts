/**
 * What tests of the page share: a browser without a window, which keeps cookies and sends forms as browsers do.
 * @module
 */
import { assert, assertEquals } from "@std/assert";

/** The secret of all pages in tests. */
export const SECRET = "correct-horse-battery";
/** Where the page is mounted. */
export const ADDRESS = "https://shop.example/admin/tundra";

/** A handler. */
export type Handler = (request: Request) => Promise<Response>;

/** An answer, read. */
export interface Answer {
  status: number;
  headers: Headers;
  text: string;
}

/** Sends a request and reads the answer. */
export async function ask(handle: Handler, url: string, init: RequestInit = {}): Promise<Answer> {
  const response = await handle(new Request(new URL(url, ADDRESS), init));
  return { status: response.status, headers: response.headers, text: await response.text() };
}

/** A form's body, as browsers send it. */
export function formBody(fields: [string, string][]): RequestInit {
  const headers = { "content-type": "application/x-www-form-urlencoded" };
  return { method: "POST", headers, body: new URLSearchParams(fields).toString() };
}

/** Someone who has signed in. */
export interface Visitor {
  readonly cookie: string;
  get(url: string): Promise<Answer>;
  /** Sends a form of fields, with the token of the last page. */
  post(url: string, fields?: [string, string][], headers?: Record<string, string>): Promise<Answer>;
}

/** Signs in. */
export async function signIn(handle: Handler): Promise<Visitor> {
  const { status, headers } = await ask(handle, "?view=login", formBody([["secret", SECRET]]));
  assertEquals([status, headers.get("location")], [303, "?"]);
  const cookie = headers.get("set-cookie")!.split(";")[0]!;
  let token = "";
  const noted = (answer: Answer) => {
    token = /name="token" value="([^"]+)"/.exec(answer.text)?.[1] ?? token;
    return answer;
  };
  return {
    cookie,
    get: async (url) => noted(await ask(handle, url, { headers: { cookie } })),
    async post(url, fields = [], headers = {}) {
      const { headers: type, ...form } = formBody([["token", token], ...fields]);
      return noted(
        await ask(handle, url, { ...form, headers: { ...type as Record<string, string>, cookie, ...headers } }),
      );
    },
  };
}

/** The handle of a key, as forms carry it. */
export function handleOf(key: string): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(key))).replace(/\+/g, "-").replace(/\//g, "_").replace(
    /=/g,
    "",
  );
}

/** The text of a page as a person reads it. */
export function readable(html: string): string {
  return html.replace(/<(style|script)\b[^]*?<\/\1>/g, "").replace(/<[^>]+>/g, " ").replace(/&quot;/g, '"').replace(
    /&#39;/g,
    "'",
  )
    .replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&").replace(/\s+/g, " ").trim();
}

/** Fails if a page has markup that this package did not write: only known elements and attributes, none with code. */
export function assertOnlyOwnMarkup(html: string): void {
  const elements = new Set(
    ("html head meta title link script body a header p nav ul li form input button main section h1 h2 h3 ol dl dt dd div span " +
      "table caption thead tbody tr th td time bdi pre code strong label select option figure figcaption svg path details summary")
      .split(" "),
  );
  const attributes = new Set(
    ("lang charset name content rel href nonce src defer class id tabindex role aria-label aria-current aria-describedby " +
      "aria-hidden method action type value form scope datetime title for required autofocus autocomplete autocapitalize " +
      "spellcheck selected hidden viewbox d preserveaspectratio data-chart").split(" "),
  );
  for (const [, tag, rest] of html.replace("<!doctype html>", "").matchAll(/<\/?([^\s>/]*)((?:[^>"]|"[^"]*")*)>/g)) {
    assert(elements.has(tag!.toLowerCase()), `<${tag}> in the page`);
    for (const [, name] of rest!.matchAll(/([^\s=/"]+)(?:="[^"]*")?/g)) {
      assert(attributes.has(name!.toLowerCase()), `the attribute ${name} of <${tag}>`);
    }
  }
  assert(!/<script(?![^>]*\bsrc=)/.test(html), "a script in the page");
}
