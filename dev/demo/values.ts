/**
 * Values of every Redis type: how they are written, and what a full read of them must say.
 * @module
 */
import { Buffer } from "node:buffer";
import { type CommandPart, RedisError, type Reply } from "../../src/testing/resp.ts";

/** A value as an application has it. */
export type Value =
  | { type: "string"; bytes: Uint8Array }
  | { type: "hash"; fields: [field: string, value: string][] }
  | { type: "list"; items: string[] }
  | { type: "set"; members: string[] }
  | { type: "zset"; scores: [member: string, score: number][] }
  | {
    type: "stream";
    entries: [id: string, fields: string[]][];
    /** A consumer group, one consumer of which has read this many entries and acknowledged none. */
    group: { name: string; consumer: string; pending: number };
  };

/** The commands that make it. */
export function writeCommands(key: string, value: Value): CommandPart[][] {
  switch (value.type) {
    case "string":
      return [["SET", key, value.bytes]];
    case "hash":
      return [["HSET", key, ...value.fields.flat()]];
    case "list":
      return chunks(value.items).map((items) => ["RPUSH", key, ...items]);
    case "set":
      return chunks(value.members).map((members) => ["SADD", key, ...members]);
    case "zset":
      return chunks(value.scores).map((
        scores,
      ) => ["ZADD", key, ...scores.flatMap(([member, score]) => [score, member])]);
    case "stream": {
      const { name, consumer, pending } = value.group;
      return [
        ...value.entries.map(([id, fields]) => ["XADD", key, id, ...fields]),
        ["XGROUP", "CREATE", key, name, "0"],
        ["XREADGROUP", "GROUP", name, consumer, "COUNT", pending, "STREAMS", key, ">"],
      ];
    }
  }
}

/** The commands that read all of it. */
export function readCommands(key: string, value: Value): CommandPart[][] {
  switch (value.type) {
    case "string":
      return [["GET", key]];
    case "hash":
      return [["HGETALL", key]];
    case "list":
      return [["LRANGE", key, 0, -1]];
    case "set":
      return [["SMEMBERS", key]];
    case "zset":
      return [["ZRANGE", key, 0, -1, "WITHSCORES"]];
    case "stream":
      return [["XRANGE", key, "-", "+"], ["XPENDING", key, value.group.name]];
  }
}

/** Do the replies to {@linkcode readCommands} hold just this value, every byte of it? */
export function isEqual(value: Value, replies: Reply[]): boolean {
  const read = replies.map(plain);
  switch (value.type) {
    case "string":
      return same(read[0], binary(value.bytes));
    case "hash":
      return same(pairs(read[0]), sorted(value.fields.map((pair) => pair.map(binaryText))));
    case "list":
      return same(read[0], value.items.map(binaryText));
    case "set":
      return Array.isArray(read[0]) && same(read[0].sort(), value.members.map(binaryText).sort());
    case "zset":
      return same(pairs(read[0]), sorted(value.scores.map(([m, score]) => [binaryText(m), String(score)])));
    case "stream": {
      const { consumer, pending } = value.group;
      const ids = value.entries.slice(0, pending).map(([id]) => id);
      return same(read[0], value.entries.map(([id, fields]) => [id, fields.map(binaryText)])) &&
        same(read[1], [ids.length, ids[0], ids.at(-1), [[consumer, String(ids.length)]]]);
    }
  }
}

type Plain = string | number | null | Plain[];

/** Strings become binary strings, one character a byte. */
function plain(reply: Reply): Plain {
  if (reply instanceof RedisError) return [reply.message];
  if (Array.isArray(reply)) return reply.map(plain);
  return Buffer.isBuffer(reply) ? binary(reply) : reply;
}

function binary(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
}

function binaryText(text: string): string {
  return Buffer.from(text).toString("latin1");
}

function pairs(flat: Plain | undefined): Plain[][] | undefined {
  if (!Array.isArray(flat)) return undefined;
  return sorted(Array.from({ length: flat.length / 2 }, (_, i) => flat.slice(2 * i, 2 * i + 2)));
}

function sorted<T extends Plain[]>(list: T[]): T[] {
  return list.sort(([a], [b]) => String(a) < String(b) ? -1 : 1);
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function chunks<T>(items: T[]): T[][] {
  return Array.from({ length: Math.ceil(items.length / 1000) }, (_, i) => items.slice(1000 * i, 1000 * i + 1000));
}
