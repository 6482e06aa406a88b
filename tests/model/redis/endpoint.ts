/**
 * Upstash's REST endpoint in front of the model of Redis: bodies in, statuses and bodies out.
 * @module
 */
import { type ModelRedis, OOM, RedisError, type RedisReply } from "./redis.ts";

/** An HTTP answer. */
export interface Answer {
  status: number;
  body: string;
  /** The sync token: as of when what was read is. */
  token?: string;
}

/** A Redis that is full queues no command. */
export const TRANSACTION_REFUSED: Answer = {
  status: 400,
  body: `{"error":"EXECABORT Transaction discarded because of: ${OOM}"}`,
};

/** The commands of a request, as Redis gets them. */
export function requestCommands(body: string): string[][] {
  const json = JSON.parse(body) as unknown[];
  const commands = Array.isArray(json[0]) ? json as unknown[][] : [json];
  const text = ASCII.test(body) && !body.includes("\\u") ? String : (argument: unknown) => utf8(String(argument));
  return commands.map((command) => command.map(text));
}

/** Runs a request's commands, one after the other, and answers; `run` runs one of them. */
export function answerRequest(body: string, run: (command: readonly string[]) => RedisReply): Answer {
  return answerCommands(requestCommands(body), body.startsWith("[["), run);
}

/** The same for commands that were read before. */
export function answerCommands(
  commands: readonly (readonly string[])[],
  isBatch: boolean,
  run: (command: readonly string[]) => RedisReply,
): Answer {
  const answers = commands.map((command) => {
    try {
      return { result: encode(run(command)) };
    } catch (error) {
      if (error instanceof RedisError) return { error: error.message };
      throw error;
    }
  });
  if (isBatch) return { status: 200, body: JSON.stringify(answers) };
  return { status: "error" in answers[0]! ? 400 : 200, body: JSON.stringify(answers[0]) };
}

/** Answers a request from a model. */
export function answerFrom(redis: ModelRedis, body: string): Answer {
  return answerRequest(body, (command) => redis.run(command));
}

/** The answer as `fetch` gives it: only what the connection reads of it. */
export function responseOf({ status, body, token }: Answer): Response {
  let left: Uint8Array | undefined = encoder.encode(body);
  const reader = {
    read() {
      const value = left;
      left = undefined;
      return Promise.resolve(value ? { done: false, value } : { done: true, value: undefined });
    },
    cancel: () => Promise.resolve(),
  };
  const response = {
    status,
    ok: status === 200,
    headers: { get: (name: string) => name === "upstash-sync-token" ? token ?? null : null },
    body: { getReader: () => reader, cancel: () => Promise.resolve() },
  };
  return response as unknown as Response;
}

const encoded = new Map<string, string>();

/** Base64; what is short is encoded once, as replies repeat each other. */
function base64(text: string): string {
  if (text.length > 500) return btoa(text);
  let found = encoded.get(text);
  if (found === undefined) {
    found = btoa(text);
    if (encoded.size > 20_000) encoded.clear();
    encoded.set(text, found);
  }
  return found;
}

function encode(reply: RedisReply): unknown {
  if (reply === null || typeof reply === "number") return reply;
  if (typeof reply === "string") return base64(reply);
  return Array.isArray(reply) ? reply.map(encode) : reply.ok === "OK" ? "OK" : btoa(reply.ok);
}

// deno-lint-ignore no-control-regex
const ASCII = /^[\x00-\x7f]*$/;
const encoder = new TextEncoder();

/** Text as the bytes of its UTF-8, a character a byte. */
export function utf8(text: string): string {
  if (ASCII.test(text)) return text;
  let out = "";
  for (const byte of encoder.encode(text)) out += String.fromCharCode(byte);
  return out;
}
