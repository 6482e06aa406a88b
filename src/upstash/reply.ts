/**
 * The reading of replies over HTTP: bounded bodies, their JSON, and the wait that a reply asks for.
 * @module
 */
import { untilAborted } from "../base/abort.ts";
import { wallClockMs } from "../base/platform.ts";

/** The body as text; `undefined` if it is larger: then the rest is not read. */
export async function readText(response: Response, signal: AbortSignal, maxBytes: number): Promise<string | undefined> {
  const reader = response.body?.getReader();
  if (!reader) return "";
  const decoder = new TextDecoder();
  let text = "";
  let size = 0;
  let complete = false;
  try {
    if (Number(response.headers.get("content-length")) > maxBytes) return undefined;
    for (;;) {
      const { done, value } = await untilAborted(reader.read(), signal);
      if (done) break;
      size += value.length;
      if (size > maxBytes) return undefined;
      text += decoder.decode(value, { stream: true });
    }
    complete = true;
    return text + decoder.decode();
  } finally {
    if (!complete) reader.cancel().catch(() => {});
  }
}

/** The JSON of a text. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new TypeError("not JSON"); // the engine's own error would quote the reply
  }
}

/** The `error` of `{ error }`; `undefined` for anything else. */
export function errorOf(json: unknown): string | undefined {
  const error = (json as { error?: unknown } | null | undefined)?.error;
  return typeof error === "string" ? error : undefined;
}

/** The `result` of `{ result }`; throws for anything else. */
export function resultOf(json: unknown): unknown {
  if (typeof json !== "object" || json === null || !("result" in json)) throw new TypeError("not an answer");
  return json.result;
}

/** Seconds or an HTTP date, as milliseconds from now. */
export function retryAfter(header: string | null): number {
  if (!header?.trim()) return 0;
  const ms = /^\s*\d+\s*$/.test(header) ? Number(header) * 1000 : Date.parse(header) - wallClockMs();
  return ms > 0 ? ms : 0;
}
