/**
 * The rules of a sweep: may a version in the archive go, and for which reason? They read nothing: all that is known of
 * the version is given.
 *
 * Redis may go back by less than 48 hours, as in a failover. So whatever removes the need for a version must be older
 * than that.
 * @module
 */
import type { Tombstone } from "../archive/encoding.ts";
import { placeOf } from "../archive/place.ts";
import { versionMicros } from "../base/keys.ts";
import type { KeyRecord } from "../scripts/prelude.ts";

/** Changes that Redis can take back are younger than this: 48 hours, in microseconds. */
export const SAFE_US = 48 * 60 * 60 * 1e6;

/** A version of a key in one object: its own, or a pack. */
export interface Held {
  key: string;
  ver: string;
  /** The word that names its place. */
  word: string;
  /** The pack that holds it; "" for an object of its own. */
  pack: string;
  /** The key's own expiry, ms since 1970; 0 for none, or not known. */
  exp: number;
  gone: Tombstone["gone"] | undefined;
  /** `true` for a tombstone that a purge has put: its version is a microsecond above the one that it stands for. */
  isMarker: boolean;
}

/** Knowledge of the key's other versions. Times are microseconds, 0 for none. */
export interface Facts {
  /** The newest tombstone of a removal on purpose. */
  removedUs: number;
  /** The newest tombstone that a tick inferred. */
  inferredUs: number;
  /** The times at which those were put: a marker is younger than its version. */
  removedSinceUs: number;
  inferredSinceUs: number;
  /**
   * Versions older than this were superseded for longer than they are kept: a stored version that is as old as that
   * says that the record named a newer one, and none that is newer says otherwise.
   */
  supersededUs: number;
  /** The oldest version in any other object of the archive; `undefined` if nobody has searched for it. */
  oldestUs: number | undefined;
  /** The youngest pack that holds the same version, if it is another one. */
  copy: string;
  /** `true`: the key may have tombstones and copies that nobody has noted. */
  isPartial: boolean;
}

/** Nothing is known. */
export const NO_FACTS: Facts = {
  ...{ removedUs: 0, inferredUs: 0, removedSinceUs: 0, inferredSinceUs: 0 },
  ...{ supersededUs: 0, oldestUs: undefined, copy: "", isPartial: false },
};

/** The clock and the retention of a sweep, microseconds. */
export interface Times {
  nowUs: number;
  /** Superseded versions are kept so much longer than 48 hours. */
  keepUs: number;
  /** Versions that no record names, though nothing newer is named, are kept for so long. */
  keepOrphansUs: number;
}

/** The reason for which a version goes, or is kept. */
export type Reason =
  | "superseded"
  | "removed"
  | "expired"
  | "orphan"
  | "moved"
  | "tombstone"
  | "named"
  | "unsupported"
  | "young";

/** The verdict on one version. */
export interface Verdict {
  reason: Reason;
  /** `true`: it may go now. `false`: it is kept, or has to wait. */
  goes: boolean;
  /** `true`: it will go, so nothing has to be moved for its sake. */
  ends: boolean;
}

/**
 * Judges a version.
 *
 * @param record the key's record; `null` for none, `undefined` for one of another version
 * @param besideRemoved `true` if its pack holds a version that was removed on purpose: a copy elsewhere is then enough
 * after 48 hours
 */
export function judge(
  held: Held,
  record: KeyRecord | null | undefined,
  facts: Facts,
  times: Times,
  besideRemoved = false,
): Verdict {
  const us = versionMicros(held.ver);
  const { keepUs, keepOrphansUs } = times;
  const before = (at: number, more = 0) => at > 0 && at + SAFE_US + more <= times.nowUs;
  const isOld = before(Math.max(us, versionMicros(held.pack)));
  const goes = (reason: Reason, also: boolean, ends = also): Verdict => ({ reason, goes: isOld && also, ends });
  const kept = (reason: Reason): Verdict => ({ reason, goes: false, ends: false });
  if (record === undefined || us === 0) return kept("unsupported");
  if (record?.ver === held.word) return kept("named");

  const named = placeOf(record?.ver ?? "");
  const namedUs = versionMicros(named.ver);
  const sincePlace = Math.max(namedUs, versionMicros(named.pack));
  const isLast = facts.oldestUs !== undefined && facts.oldestUs >= us; // no older one would become the newest
  if (record !== null && named.ver === held.ver) {
    return goes("moved", before(sincePlace, besideRemoved ? 0 : keepUs), true);
  }
  const removedUs = Math.max(facts.removedUs, record?.flag === "g" && record.rev === 0 ? namedUs : 0);
  const removedSinceUs = facts.removedUs > us ? facts.removedSinceUs : sincePlace;
  if (held.gone === undefined && removedUs > us) return goes("removed", before(removedSinceUs), true);
  if (facts.copy !== "" && versionMicros(facts.copy) > versionMicros(held.pack)) {
    return goes("moved", before(versionMicros(facts.copy), besideRemoved ? 0 : keepUs), true);
  }
  if (held.gone !== undefined) {
    const sinceUs = held.isMarker ? Math.max(us, versionMicros(held.pack)) : us; // a marker is as young as its pack
    const isReplaced = record === null || namedUs <= us || before(sincePlace) || facts.supersededUs > us;
    return goes("tombstone", isLast && sinceUs + keepOrphansUs <= times.nowUs && isReplaced);
  }
  const supersedes = record !== null ? namedUs : facts.inferredUs;
  const supersedesSince = record !== null ? namedUs : facts.inferredSinceUs;
  if (supersedes > us && before(supersedesSince, keepUs) && (record === null || before(sincePlace))) {
    return goes("superseded", true);
  }
  if (record !== null && namedUs > us) return goes("superseded", facts.supersededUs > us);
  if (record === null && facts.inferredUs > us) return kept("superseded");
  if (record === null && before(held.exp * 1000)) return goes("expired", isLast);
  // one that names nothing yet is of a key made anew: what was removed before may have been named until then
  return goes("orphan", (namedUs > 0 || isLast) && us + keepOrphansUs <= times.nowUs);
}

/** Tells if the verdict may be another one once more is known of the key's other versions. */
export function wantsFacts(
  held: Held,
  record: KeyRecord | null | undefined,
  facts: Pick<Facts, "isPartial" | "removedUs">,
  times: Times,
): boolean {
  if (record === undefined || record?.ver === held.word) return false;
  const us = versionMicros(held.ver);
  if (facts.isPartial && held.gone === undefined && facts.removedUs <= us) return true;
  const { nowUs, keepUs, keepOrphansUs } = times;
  if (Math.max(us, versionMicros(held.pack)) + SAFE_US > nowUs) return false;
  const isKept = us + Math.min(SAFE_US + keepUs, keepOrphansUs) > nowUs;
  if (held.gone !== undefined || record !== null) return !isKept;
  return !isKept || held.pack === "" || (held.exp > 0 && held.exp * 1000 + SAFE_US <= nowUs);
}
