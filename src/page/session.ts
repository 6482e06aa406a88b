/**
 * Sessions: of a bearer, or a browser that has signed in. Its cookie is a signed time; the secret is nowhere.
 * @module
 */
import { randomBytes, wallClockMs } from "../base/platform.ts";
import { isSameText } from "../base/secrets.ts";
import { hmacSha256 } from "../freezers/webcrypto.ts";
import { base64url } from "./handles.ts";

/** Someone who may see the page. */
export interface Session {
  /** The token of the forms of this session. */
  formToken: string;
  /** `true` if the browser sends the cookie by itself, so that forms must prove where they come from. */
  byCookie: boolean;
}

const NONCE_BYTES = 12;

async function sign(secret: string, text: string): Promise<string> {
  const encoder = new TextEncoder();
  return base64url(await hmacSha256(encoder.encode(secret), encoder.encode(`@tundra/store/page ${text}`)));
}

/** The cookie's name: pages with other secrets below the same path have others. */
async function cookieName(secret: string): Promise<string> {
  return `tundra_${(await sign(secret, "name")).replace(/[^A-Za-z0-9]/g, "").slice(0, 8)}`;
}

/** The session of a request; `undefined` if it brings neither the secret nor a cookie that is valid. */
export async function sessionOf(request: Request, secret: string): Promise<Session | undefined> {
  const given = request.headers.get("authorization");
  if (given !== null && await isSameText(given, `Bearer ${secret}`)) {
    return { formToken: await sign(secret, "form of a bearer"), byCookie: false };
  }
  const name = await cookieName(secret);
  for (const pair of (request.headers.get("cookie") ?? "").split(";")) {
    const [, value] = new RegExp(`^\\s*${name}=([0-9a-z]{1,12}\\.[\\w-]{16}\\.[\\w-]{43})\\s*$`).exec(pair) ?? [];
    if (value === undefined) continue;
    const [until, nonce, signature] = value.split(".");
    const isValid = await isSameText(signature!, await sign(secret, `session ${until} ${nonce}`));
    if (isValid && parseInt(until!, 36) > wallClockMs()) {
      return { formToken: await sign(secret, `form ${value}`), byCookie: true };
    }
  }
  return undefined;
}

/** The header `Set-Cookie` of a browser that has sent the secret. */
export async function signedIn(request: Request, secret: string, sessionMs: number): Promise<string> {
  const until = Math.ceil(wallClockMs() + sessionMs).toString(36);
  const nonce = base64url(randomBytes(NONCE_BYTES));
  const value = `${until}.${nonce}.${await sign(secret, `session ${until} ${nonce}`)}`;
  return cookie(request, await cookieName(secret), value, Math.ceil(sessionMs / 1000));
}

/** The header that ends the session of a browser. */
export async function signedOut(request: Request, secret: string): Promise<string> {
  return cookie(request, await cookieName(secret), "", 0);
}

/** Without a path it is that of the page, also behind a proxy that cuts a prefix off. */
function cookie(request: Request, name: string, value: string, seconds: number): string {
  const forwarded = request.headers.get("x-forwarded-proto")?.split(",")[0]?.trim();
  const isSecure = new URL(request.url).protocol === "https:" || forwarded === "https";
  return `${name}=${value}; Max-Age=${seconds}; HttpOnly; SameSite=Strict${isSecure ? "; Secure" : ""}`;
}

/**
 * Tells if a form may come from the page itself, by what the browser says. With `Referrer-Policy: no-referrer` it says
 * `Origin: null`; then `Sec-Fetch-Site` tells, and the form's token in any case.
 */
export function isFromHere(request: Request): boolean {
  const site = request.headers.get("sec-fetch-site");
  if (site !== null && site !== "same-origin" && site !== "none") return false;
  const origin = request.headers.get("origin");
  if (origin === null || origin === "null" || site !== null) return true;
  try {
    const { host } = new URL(origin);
    return host === (request.headers.get("host") ?? new URL(request.url).host);
  } catch {
    return false;
  }
}
