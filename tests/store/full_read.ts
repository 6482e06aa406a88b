/**
 * Everything that a value is, read with the commands of its type.
 * @module
 */
import type { Buffer } from "node:buffer";
import type { UpstashServer } from "../../src/testing/upstash.ts";
import { plain } from "../support/fixtures.ts";

/** A value in full: comparable, bytes as text of one character a byte. `undefined`: there is none. */
export async function fullRead(raw: UpstashServer["raw"], key: string | Uint8Array): Promise<unknown> {
  const type = await raw("TYPE", key);
  const read = async (...command: (string | number)[]) =>
    plain(await raw(command[0]!, key, ...command.slice(1))) as string[];
  switch (type) {
    case "none":
      return undefined;
    case "string":
      return { type, value: await read("GET") };
    case "list":
      return { type, value: await read("LRANGE", 0, -1) };
    case "set":
      return { type, value: (await read("SMEMBERS")).sort() };
    case "zset":
      return { type, value: pairs(await read("ZRANGE", 0, -1, "WITHSCORES")).map((pair) => JSON.stringify(pair)) };
    case "hash":
      return { type, value: pairs(await read("HGETALL")).map((pair) => JSON.stringify(pair)).sort() };
    case "stream": {
      // with the whole state of groups, consumers and pending entries; how the tree is built is Redis' affair
      const full = pairs(plain(await raw("XINFO", "STREAM", key, "FULL", "COUNT", 0)) as string[]);
      return {
        type,
        value: full.filter(([name]) => !name!.startsWith("radix-tree")),
        entries: await read("XRANGE", "-", "+"),
      };
    }
    default:
      throw new Error(`unexpected type ${type as Buffer}`);
  }
}

function pairs(flat: string[]): string[][] {
  return Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i]!, flat[2 * i + 1]!]);
}
