/**
 * pageHandler: requests to pages.
 * @module
 */
import { ignoreErrors } from "../base/callbacks.ts";
import { asTundraError, badArgument, TundraError } from "../base/errors.ts";
import { wallClockMs } from "../base/platform.ts";
import { isSameText } from "../base/secrets.ts";
import type { TundraStore } from "../store_interface.ts";
import { HEADERS, respondAsset } from "./assets.ts";
import { deadView, retry } from "./dead_view.ts";
import { historyView } from "./history_view.ts";
import { askRestore, keyView, restore } from "./key_view.ts";
import { keysView } from "./keys_view.ts";
import { type Page, respond } from "./layout.ts";
import { checkOptions, type PageOptions, type Settings, WHAT } from "./options.ts";
import { overview } from "./overview.ts";
import { peekView } from "./peek_view.ts";
import { errorView, helpView, loginView, refusalView } from "./plain_views.ts";
import { isFromHere, type Session, sessionOf, signedIn, signedOut } from "./session.ts";
import type { Visit } from "./visit.ts";

/** Bytes of a form: of one that signs in, and of any other. */
const [LOGIN_BYTES, FORM_BYTES] = [8_192, 4 * 1024 * 1024];

type View = (visit: Visit) => Page | Promise<Page>;

/** Views that any address may name. */
const READ: Readonly<Record<string, View>> = {
  "": overview,
  overview,
  keys: keysView,
  dead: (visit) => deadView(visit),
  history: historyView,
  help: helpView,
};

/** Views that only a form may ask for: those that are about a key, and those that change something. */
const POSTED: Readonly<Record<string, View>> = {
  keys: keysView,
  key: (visit) => keyView(visit),
  peek: (visit) => visit.settings.allow.peek ? peekView(visit) : notAllowed("peek"),
  retry: (visit) => visit.settings.allow.retry ? retry(visit) : notAllowed("retry"),
  restore: (visit) => {
    if (!visit.settings.allow.restore) return notAllowed("restore");
    return visit.form.get("sure") === "yes" ? restore(visit) : askRestore(visit);
  },
};

/**
 * A page that shows the state of a store, and lets an operator act: a handler to mount at any one path. What it shows,
 * what it costs and how it is protected: docs/page.md.
 *
 * It only reads unless {@linkcode PageOptions.allow} says otherwise. Names of keys are in no address.
 *
 * Cost: the overview 4 requests and 15 billable commands; with dead letters 6 and 17.
 *
 * @param store the store, or a function that makes it for a request (on Cloudflare Workers: one for each request)
 * @returns the handler; it never rejects
 * @throws {TundraError} `BAD_ARGUMENT`
 * @example
 * ```ts
 * import { memoryDatastore, tundraStore } from "@tundra/store";
 * import { pageHandler } from "@tundra/store/page";
 *
 * const store = tundraStore(memoryDatastore(), { redis: { url: "https://eu1-example.upstash.io", token: "secret" } });
 * const page = pageHandler(store, { secret: "at least 16 characters".replaceAll(" ", "-"), allow: { retry: true } });
 *
 * const response = await page(new Request("https://shop.example/admin/tundra"));
 * console.log(response.status); // 401: the form that asks for the secret
 * ```
 */
export function pageHandler(
  store: TundraStore | ((request: Request) => TundraStore | Promise<TundraStore>),
  options: PageOptions,
): (request: Request) => Promise<Response> {
  if (typeof store !== "function" && typeof store?.status !== "function") {
    throw badArgument(WHAT, "store", "a store, or a function (request) => store", typeof store);
  }
  const settings = checkOptions(options);

  const made = (request: Request) => typeof store === "function" ? store(request) : store;

  return async (request) => {
    const file = await assetOf(request);
    if (file) return file;
    const session = await sessionOf(request, settings.secret);
    try {
      const answer = await answerTo(request, settings, session, made);
      return answer instanceof Response ? answer : respond(answer, settings, session);
    } catch (thrown) {
      ignoreErrors(() => settings.onError(asTundraError(thrown, WHAT_FAILED)));
      return respond(errorView(asShown(thrown)), settings, session);
    }
  };
}

const WHAT_FAILED = "show a page";

/** The answer to a request that is for no file. */
async function answerTo(
  request: Request,
  settings: Settings,
  session: Session | undefined,
  made: (request: Request) => TundraStore | Promise<TundraStore>,
): Promise<Page | Response> {
  const { method } = request;
  const { searchParams: query } = new URL(request.url);
  const view = query.get("view") ?? "";
  const isPost = method === "POST";
  if (!isPost && method !== "GET" && method !== "HEAD") return BAD_METHOD;
  if (isPost && !isFromHere(request)) return FOREIGN;
  if (isPost && view === "login") return await signIn(request, settings);
  if (!session) return loginView();
  const form = isPost ? await formOf(request, FORM_BYTES) : new URLSearchParams();
  if (form === undefined) return TOO_LARGE;
  if (isPost && !await hasToken(form, session)) return FOREIGN;
  if (isPost && view === "leave") return redirect(await signedOut(request, settings.secret));
  const views = isPost ? POSTED : READ;
  if (!Object.hasOwn(views, view)) return NOT_FOUND;
  return await views[view]!({ store: await made(request), settings, session, query, form, nowMs: wallClockMs() });
}

async function assetOf({ method, url }: Request): Promise<Response | undefined> {
  const name = new URL(url).searchParams.get("asset");
  return name !== null && (method === "GET" || method === "HEAD") ? await respondAsset(name) : undefined;
}

/** The error as the page shows it: the message of one that is not Tundra's may hold a secret. */
function asShown(thrown: unknown): TundraError {
  if (thrown instanceof TundraError) return thrown;
  const must = "Cannot show the page as making the store and asking it must succeed: it failed";
  return new TundraError("UNAVAILABLE", must, { retryable: false });
}

const BAD_METHOD = refusalView(405, "Not allowed", "The method must be GET or POST.", { allow: "GET, HEAD, POST" });
const FOREIGN = refusalView(
  403,
  "Not accepted",
  "This form is not of this session: open the page anew, and send it again.",
);
const NOT_FOUND = refusalView(404, "Not found", "There is no such view.");
const TOO_LARGE = refusalView(413, "Too large", "The form holds more than the page accepts.");

function notAllowed(what: string): Page {
  return refusalView(403, "Not allowed", `The page may do that only with the option allow: { ${what}: true }.`);
}

async function signIn(request: Request, { secret, sessionMs }: Settings): Promise<Page | Response> {
  const given = (await formOf(request, LOGIN_BYTES))?.get("secret") ?? "";
  if (!await isSameText(given, secret)) return loginView("That is not the secret.");
  return redirect(await signedIn(request, secret, sessionMs));
}

/** The token of its session in a form. A program that sends the secret needs none: no browser does so by itself. */
async function hasToken(form: URLSearchParams, { byCookie, formToken }: Session): Promise<boolean> {
  return !byCookie || await isSameText(form.get("token") ?? "", formToken);
}

/** To the overview, at whatever path the page is. */
function redirect(setCookie: string): Response {
  const headers = { ...HEADERS, "cache-control": "no-store", "location": "?", "set-cookie": setCookie };
  return new Response(null, { status: 303, headers });
}

/** The fields of a form; `undefined` if it has more bytes. */
async function formOf(request: Request, most: number): Promise<URLSearchParams | undefined> {
  const parts: Uint8Array[] = [];
  let length = 0;
  const reader = request.body?.getReader();
  while (reader) {
    const { done, value } = await reader.read();
    if (done) break;
    length += value.length;
    if (length > most) {
      await reader.cancel();
      return undefined;
    }
    parts.push(value);
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return new URLSearchParams(new TextDecoder().decode(whole));
}
