/**
 * An archive as it would be had time passed: versions of so many days ago, as objects and in packs.
 * @module
 */
import { deflateFreezer, type Freezer } from "../../mod.ts";
import { freezePack } from "../../src/archive/pack.ts";
import { placeWord } from "../../src/archive/place.ts";
import { type ArchiveRecord, freezeRecord, type Tombstone } from "../../src/archive/record.ts";
import { objectName, packName, tombstoneVersion } from "../../src/base/keys.ts";
import type { NotedArchive } from "./packs.ts";

const DAY_US = 24 * 60 * 60 * 1e6;

/** One version of a key. */
export interface OldVersion {
  key: string;
  /** The version, if it is not the pack's. */
  ver?: string;
  /** The word of the version before. */
  prev?: string;
  /** The key's own expiry, ms since 1970. */
  exp?: number;
  /** A tombstone. */
  gone?: Tombstone["gone"];
  /** The payload; by default a text with key and version, no `DUMP` that Redis would take. */
  dump?: Uint8Array;
}

/** Puts old versions. */
export interface OldArchive {
  /** The name of a version of so many days ago; `n` tells apart those of one moment. */
  version(daysAgo: number, n?: number): string;
  /** Puts a version in an object of its own; its name. */
  own(daysAgo: number, version: OldVersion): Promise<string>;
  /** Puts a pack; the words of its versions, in order. */
  pack(daysAgo: number, versions: OldVersion[]): Promise<string[]>;
}

/** Puts old versions into `archive`; `nowUs` is Redis' clock, `index` the id of the index that wrote them. */
export function oldArchive(
  archive: NotedArchive,
  nowUs: number,
  index: string,
  freezers: readonly Freezer[] = [deflateFreezer()],
): OldArchive {
  const version = (daysAgo: number, n = 0) =>
    `${String(Math.round(nowUs - daysAgo * DAY_US)).padStart(16, "0")}-${n.toString(16).padStart(8, "0")}`;
  const recordOf = (ver: string, { key, prev = "", exp = 0, gone, dump }: OldVersion): ArchiveRecord | Tombstone => {
    const head = { key, ver, at: Math.floor(Number(ver.slice(0, 16)) / 1000), index, prev };
    const bytes = dump ?? new TextEncoder().encode(`value of ${key} at ${ver}`);
    return gone === undefined ? { ...head, exp, dump: bytes } : { ...head, gone };
  };
  return {
    version,
    async own(daysAgo, each) {
      const plain = each.ver ?? version(daysAgo);
      const ver = each.gone === undefined ? plain : tombstoneVersion(plain, each.gone === true);
      const name = await objectName({ tqname: "default" }, each.key, ver);
      archive.objects.set(name, await freezeRecord(recordOf(ver, each), name, freezers));
      return ver;
    },
    async pack(daysAgo, versions) {
      const pack = version(daysAgo);
      const name = packName("default", pack);
      const records = versions.map((each) => recordOf(each.ver ?? pack, each));
      const { bytes, entries } = await freezePack(records, name, freezers, Infinity, index);
      archive.objects.set(name, bytes);
      return entries.map(({ ver, offset, length }) => placeWord({ ver, pack, offset, length }));
    },
  };
}
