/**
 * Bodies of requests and replies: JSON and bytes.
 * @module
 */
import { Buffer } from "node:buffer";
import type { IncomingMessage } from "node:http";
import { type CommandPart, RedisError, type Reply } from "../resp.ts";

/** The error for a request that cannot be understood. */
export class BadRequest extends Error {}

/**
 * Replies inside a body as JSON values: with `base64` every string but the status OK is encoded, errors' texts are not.
 * With `decoded` bytes that are no UTF-8 are lost before that.
 */
export function encode(body: unknown, base64: boolean, decoded = false): unknown {
  if (Array.isArray(body)) return body.map((entry) => encode(entry, base64, decoded));
  const entry = body as { result?: Reply; error?: string };
  return entry.error === undefined ? { result: encodeReply(entry.result!, base64, decoded) } : { error: entry.error };
}

function encodeReply(reply: Reply, base64: boolean, decoded: boolean): unknown {
  if (reply === null || typeof reply === "number" || reply === "OK") return reply;
  if (Array.isArray(reply)) return reply.map((item) => encodeReply(item, base64, decoded));
  const bytes = Buffer.isBuffer(reply) ? reply : Buffer.from(reply instanceof RedisError ? reply.message : reply);
  return (decoded ? Buffer.from(bytes.toString()) : bytes).toString(base64 ? "base64" : "utf8");
}

/** A request's body; what is none is refused. */
export function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch {
    throw new BadRequest("failed to parse the request: it isn't JSON");
  }
}

/** An array of commands. */
export function toCommands(value: unknown): CommandPart[][] {
  if (!Array.isArray(value) || value.length === 0) throw new BadRequest("the body must be an array of commands");
  return value.map(toCommand);
}

/** One command. */
export function toCommand(value: unknown): CommandPart[] {
  if (!Array.isArray(value) || value.length === 0) throw new BadRequest("a command must be an array with a name");
  return value.map((part, i) => {
    if (typeof part === "boolean") return String(part);
    if (typeof part === "string" || typeof part === "number" || Buffer.isBuffer(part)) return part;
    throw new BadRequest(`argument ${i} of a command must be a string, a number or a boolean`);
  });
}

/** A part of a command as text. */
export function partText(part: CommandPart): string {
  return typeof part === "object" ? Buffer.from(part).toString() : String(part);
}

/** A segment of a path as bytes. */
export function percentDecode(segment: string): Buffer {
  const bytes = segment.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
  return Buffer.from(bytes, "latin1");
}

/** Reads to the end even what is too long: a client that is still sending would not see an answer. */
export async function readBody(request: IncomingMessage, limit: number): Promise<{ body?: Buffer; length: number }> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length <= limit) chunks.push(chunk);
    else chunks.length = 0;
  }
  return length <= limit ? { body: Buffer.concat(chunks), length } : { length };
}
