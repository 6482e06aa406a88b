/**
 * The connection as the `@upstash/redis` client wants it: answers as that client's own transport gives them.
 * @module
 */
import { errors, type Requester } from "@upstash/redis";
import { bytes } from "../base/binary.ts";
import { TundraError } from "../base/errors.ts";
import { readEvents } from "./events.ts";
import { errorOf, resultOf } from "./reply.ts";
import { keepSaid, throwIfTooLarge } from "./said.ts";
import { commandNames, scrub } from "./scrub.ts";
import type { Exchange, ReplyBody, Send, SyncToken } from "./transport.ts";

/** The parts of a connection that its requester needs. */
export interface RequesterSettings {
  send: Send;
  sync: SyncToken;
  /** The signals of one request. */
  signals: (signal: AbortSignal | undefined) => AbortSignal[];
  timeoutMs: number;
  maxReplyBytes: number;
  base64Replies: boolean;
  token: string;
}

type UpstashRequest = Parameters<Requester["request"]>[0];

/** Makes the requester. No I/O. */
export function stockRequester(settings: RequesterSettings): Requester {
  const { send, sync, signals } = settings;
  return {
    get readYourWrites() {
      return sync.readYourWrites;
    },
    set readYourWrites(value) {
      sync.readYourWrites = value !== false;
    },
    get upstashSyncToken() {
      return sync.token;
    },
    set upstashSyncToken(value) {
      sync.token = value ?? "";
      sync.from = sync.sent; // newer than what was asked before
    },
    async request<T>(request: UpstashRequest): Promise<{ result?: T; error?: string }> {
      const own = signals(request.signal);
      try {
        const answered = await send(exchangeOf(request, own, settings));
        if (answered instanceof errors.UpstashError) throw answered;
        return answered as { result?: T; error?: string };
      } catch (error) {
        const aborted = own.find((signal) => signal.aborted);
        if (aborted && error instanceof TundraError && error.cause === aborted.reason) throw aborted.reason;
        throw error;
      }
    },
  };
}

/** An error's text as the stock client has it, without the commands' arguments. */
export function namedError(error: string, commands: readonly (readonly unknown[])[]): string {
  return `${error}, command was: ${commandNames(commands)}`;
}

const SCRIPTS = /^(eval|evalsha|fcall)(_ro)?$/i;
const UPSTASH_LIMIT = /^ERR max \w+ size exceeded/;

function exchangeOf(request: UpstashRequest, signals: AbortSignal[], settings: RequesterSettings): Exchange<unknown> {
  const { timeoutMs, maxReplyBytes, base64Replies, token } = settings;
  const path = request.path ?? [];
  const isBatch = path[0] === "pipeline" || path[0] === "multi-exec";
  const body = Array.isArray(request.body) ? request.body as unknown[] : [];
  const commands = isBatch ? body as unknown[][] : [[...path, ...body]];
  const streaming = request.headers?.Accept === "text/event-stream";
  const decode = base64Replies ? stockDecode : (raw: unknown): unknown => raw;
  const errorAt = (error: unknown, i: number): string | undefined => {
    if (typeof error !== "string") return undefined;
    const one = [commands[i] ?? []];
    keepSaid(one[0]!, error); // the client passes on texts only: the command leads back to it
    return namedError(scrub(error, one, [token]), one);
  };
  return {
    path,
    body: request.body,
    commands,
    headers: { ...(base64Replies && { "Upstash-Encoding": "base64" }), ...request.headers },
    signals,
    timeoutMs: streaming ? 0 : timeoutMs,
    async read(reply: ReplyBody): Promise<unknown> {
      const { onMessage } = request;
      if (streaming && onMessage && reply.response.ok && reply.response.body) {
        void readEvents(reply.response.body, reply.signal, maxReplyBytes, onMessage, reply.keep());
        return { result: 1 };
      }
      const json = await reply.json();
      if (Array.isArray(json)) {
        return json.map(({ result, error }, i) => ({ result: decode(result), error: errorAt(error, i) }));
      }
      const refused = errorOf(json);
      if (refused !== undefined) {
        const error = scrub(refused, commands, [token]);
        // a script says whatever its author wrote
        if (!SCRIPTS.test(String(commands[0]?.[0])) || UPSTASH_LIMIT.test(refused)) {
          throwIfTooLarge(refused, error, commands);
        }
        // Returned, not thrown: an error that a reader throws makes another attempt.
        if (isBatch) return keepSaid(new errors.UpstashError(namedError(error, commands)), refused);
        return { result: undefined, error: namedError(error, commands) };
      }
      return { result: decode(resultOf(json)), error: undefined };
    },
  };
}

/** Base64 to text as the stock client does it: what isn't base64 stays, a byte order mark goes, objects are null. */
function stockDecode(raw: unknown): unknown {
  if (typeof raw === "string") {
    if (raw === "OK") return raw;
    try {
      return new TextDecoder().decode(bytes(atob(raw)));
    } catch {
      return raw;
    }
  }
  if (raw === undefined || typeof raw === "number") return raw;
  if (Array.isArray(raw)) return raw.map((one) => typeof one === "boolean" ? one : stockDecode(one));
  return typeof raw === "object" ? null : undefined;
}
