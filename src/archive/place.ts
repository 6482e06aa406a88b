/**
 * Places: where the bytes of a version lie. A record names an archived version by one word:
 *
 * | word | the version lies in |
 * | --- | --- |
 * | `<version>` | an object of its own |
 * | `<version>@:<offset>:<length>` | the block at that offset of the pack with the same name |
 * | `<version>@<pack>:<offset>:<length>` | that block of another pack |
 * @module
 */
import { type Naming, objectName, packName } from "../base/keys.ts";

/** The place of one version. */
export interface Place {
  /** The version. */
  ver: string;
  /** The pack that holds it; "" if it has an object of its own. */
  pack: string;
  /** Offset and length of its block in the pack, bytes. */
  offset: number;
  length: number;
}

const WORD = /^(\d{16}-[0-9a-f]+)(?:@((?:\d{16}-[0-9a-f]+)?):(\d{1,15}):(\d{1,15}))?$/;

/** Reads a word; one that is malformed counts as the name of an object, which no tick ever wrote. */
export function placeOf(word: string): Place {
  const [, ver = word, pack, offset = 0, length = 0] = WORD.exec(word) ?? [];
  return { ver, pack: pack === undefined ? "" : pack || ver, offset: Number(offset), length: Number(length) };
}

/** The word for a place. */
export function placeWord({ ver, pack, offset, length }: Place): string {
  return pack === "" ? ver : `${ver}@${pack === ver ? "" : pack}:${offset}:${length}`;
}

/** The name of the object that holds a version: its own, or a pack. */
export async function holderName(of: Naming, key: string, word: string): Promise<string> {
  const { ver, pack } = placeOf(word);
  return pack === "" ? await objectName(of, key, ver) : packName(of.tqname, pack);
}
