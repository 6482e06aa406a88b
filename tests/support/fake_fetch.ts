/**
 * A fetch that is answered by a function, for tests of what happens between a call and the network.
 * @module
 */

/** One request as the fake has seen it. */
export interface FakeCall {
  /** 0 for the first. */
  n: number;
  url: string;
  path: string;
  headers: Headers;
  json: unknown;
  init: RequestInit;
}

/** `answer` may return what JSON should be sent with 200, a Response, or throw. */
export function fakeFetch(
  answer: (call: FakeCall) => unknown,
): { fetch: typeof fetch; calls: FakeCall[] } {
  const calls: FakeCall[] = [];
  const fake = async (input: string | URL | Request, init: RequestInit = {}): Promise<Response> => {
    const url = String(input);
    const body = typeof init.body === "string" ? JSON.parse(init.body) : undefined;
    const headers = new Headers(init.headers);
    const call = { n: calls.length, url, path: new URL(url).pathname, headers, json: body, init };
    calls.push(call);
    const answered = await answer(call);
    return answered instanceof Response ? answered : Response.json(answered);
  };
  return { fetch: fake as typeof fetch, calls };
}

/** A fetch that never answers but honours its signal. */
export function hanging(call: FakeCall): Promise<never> {
  return new Promise((_, reject) => {
    const signal = call.init.signal!;
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

/** Base64 of the UTF-8 bytes of a text, as Upstash sends it. */
export function base64(text: string): string {
  let binary = "";
  for (const byte of new TextEncoder().encode(text)) binary += String.fromCharCode(byte);
  return btoa(binary);
}
