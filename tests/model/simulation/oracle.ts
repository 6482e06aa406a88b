/**
 * The oracle: sees each command at the moment when Redis runs it, knows what each key's value must be, and says so at
 * the first step that the invariants in docs/PROTOCOL.md forbid.
 *
 * The value of a key is what Redis holds; if Redis holds none, it is what `ensureKs()` would bring back. The oracle
 * keeps for each key which of those outcomes are right (`right`), changes that only if an application's command, a
 * mark, an eviction, a removal or a key's own expiry does, and compares after every command.
 * @module
 */
import { versionMicros } from "../../../src/base/keys.ts";
import { type KeyRecord, parseRecord } from "../../../src/scripts/prelude.ts";
import { DAY_MS } from "../../support/times.ts";
import { dumpString, type ModelRedis, type RedisReply, type RedisState } from "../redis/redis.ts";
import { scriptName, scriptOf } from "../redis/scripts.ts";
import {
  type Archive,
  type ArchiveEntry,
  type ArchiveObject,
  holderOf,
  readEntries,
  saysWhose,
  type ValueState,
  versionsOf,
} from "./objects.ts";

/** A running call of an application or a cron trigger. */
export interface SimulatedOp {
  readonly kind: string;
  readonly keys: readonly string[];
  readonly startedAt: number;
  endedAt: number;
  /** It ended well. */
  succeeded: boolean;
  /** The states that its keys had while it ran: bits of {@linkcode SAW}. */
  readonly saw: Map<string, number>;
  /** Of a peek: what its key was while it ran, as {@linkcode peekText} has it. */
  readonly outcomes?: Set<string>;
  /** Of a restoration that took effect: the revision that it gave its key. */
  restored?: number;
}

/** A key at some moment. */
export const SAW = {
  /** In Redis, and its record agrees. */
  present: 1,
  /** In Redis although its record says evicted. */
  blind: 2,
  /** Evicted. */
  evicted: 4,
  /** Not in Redis, and not evicted. */
  missing: 8,
  /** Not in Redis, and nothing would be brought back. */
  absent: 16,
} as const;

/** A broken promise: `check` names which. */
export class Violation extends Error {
  constructor(readonly check: string, detail: string) {
    super(`${check}: ${detail}`);
  }
}

export interface Truth {
  /** The value in Redis after the last command. */
  held: ValueState;
  record: string | undefined;
  /** Right outcomes while Redis holds none. */
  right: ValueState[];
  /** True if the application has changed it since its last mark. */
  unmarked: boolean;
  /** The time of its last mark. */
  markedAt: number;
  /** Since when its record names a version. */
  namedAt: number;
  /**
   * Versions up to this time (microseconds) were removed on purpose, or expired long ago: their objects may be deleted.
   */
  deletableUs: number;
  /** Of those: the ones removed on purpose, which must be deleted. */
  removedUs: number;
  /** All removals on purpose: up to which version, and when, microseconds. */
  removals: [us: number, atUs: number][];
  /** Versions that its record has named, and that are to expire: they may be deleted from `atMs` on. */
  expiring: { us: number; atMs: number };
}

/** Promises that a schedule gives up, because it takes more away than Tundra can make good. */
export interface Leniency {
  /** Scripts end in their middle: keys may wait outside of the queue. */
  brokenScripts: boolean;
  /** Redis went back to an earlier state: values may be older, records and values apart. */
  rolledBack: boolean;
  /** Single keys of Redis went back: a record, its value and its place in the queues may be of different times. */
  apart: boolean;
  /** The bucket lost objects: `LOST` is right for them. */
  lostObjects: boolean;
  /** Requests may have so many bytes and no more: a write that is larger is `TOO_LARGE`. */
  smallRequests: boolean;
  /** The archive may be another index's: `LOST` is right. */
  severalIndexes: boolean;
  /** The index was lost: until it is rebuilt, and while calls go on that began before, `LOST` is right. */
  lostIndex: boolean;
  /** There are keys that it does not watch: the counts of `status()` are theirs, too. */
  othersToo: boolean;
  /** Sweeps delete too: versions that nothing names, after these times, microseconds. */
  sweeps: { keepUs: number; keepOrphansUs: number } | undefined;
}

/** A saved oracle. */
export type OracleState = { truths: Map<string, Truth>; archive: Archive };

/** The oracle. */
export interface Oracle {
  /** Runs a command on Redis and checks its effect. */
  run(command: readonly string[], ops: readonly SimulatedOp[]): RedisReply;
  /** An object is put, by these operations; it was sent at that moment of Redis' time, microseconds. */
  put(name: string, bytes: Uint8Array, ops: readonly SimulatedOp[]): void;
  /** Objects are deleted, by these operations. */
  drop(names: readonly string[], ops?: readonly SimulatedOp[]): void;
  /** The bucket loses an object. */
  lose(name: string): void;
  readonly archive: Archive;
  /** Counts commands: the oracle's time. */
  readonly time: number;
  readonly leniency: Leniency;
  /** The least bytes of a payload that a tick may evict. */
  readonly policy: { leastBytes: (key: string) => number };
  begin(kind: string, keys: readonly string[]): SimulatedOp;
  end(op: SimulatedOp, succeeded: boolean): void;
  markedSince(key: string, time: number): boolean;
  /** The value that Redis holds now or, if it holds none, the one that would be brought back. */
  held(key: string): ValueState;
  record(key: string): KeyRecord;
  outcome(key: string): ValueState;
  /** True if its record names an object that is gone. */
  isLost(key: string): boolean;
  /**
   * Versions that its record has named, that were removed on purpose or have expired with it, and that nobody has
   * deleted.
   */
  undeleted(key: string): string[];
  /** The versions of a key that the archive has ever held. */
  everHeld(key: string): string[];
  /** Tells if this version of a key was removed on purpose. */
  isRemoved(key: string, ver: string): boolean;
  /** The time of the last version of a key that was removed on purpose, microseconds; 0 for none. */
  removedUs(key: string): number;
  /**
   * Tells if its newest version is a value that no record ever named, and there is no record now. An upload that nobody
   * committed may come after the version that expired, if Redis' clock went back, or after the
   * tombstone of a key that was removed: a tick cannot tell it from one whose record Redis has lost.
   */
  hasOrphan(key: string): boolean;
  view(key: string): KeyView;
  /** Time has passed: keys may have expired. */
  look(): void;
  save(): OracleState;
  load(state: OracleState): void;
  /** Redis goes back to an earlier state, and with it what is right. */
  rollBack(redis: RedisState, truths: Map<string, Truth>): void;
  /** A key or its record alone goes back, as on a Redis that replicates key by key: any of its values may be right. */
  rollBackOne(earlier: RedisState, key: string, which: "value" | "record"): void;
  truths(): Map<string, Truth>;
  /** Redis is emptied. Until {@linkcode Oracle.rebuilt} nothing is said of what would come back. */
  empty(): void;
  /** The index counts as rebuilt: of each key the newest archived version is right, and what is in Redis is queued. */
  rebuilt(): void;
  /** All that it knows, but of operations; and back to it. */
  mark(): OracleMark;
  revert(mark: OracleMark): void;
}

/** The state of a key now, and what a read of it must find. */
export interface KeyView {
  held: ValueState;
  outcome: ValueState;
  /** Written while evicted: `ensureKs` refuses. */
  blind: boolean;
  /** Not in Redis, and the archive lacks the version that its record names: a newer one may come back. */
  lost: boolean;
}

/** The knowledge of an oracle at some moment. */
export interface OracleMark {
  truths: Map<string, Truth>;
  archive: ReadonlyMap<string, ArchiveObject>;
  latestMs: number;
  leniency: Leniency;
}

/** The time for which the objects of an expired key stay in the archive. */
export const EXPIRED_MS = 48 * 3_600_000;
const EXPIRED_US = EXPIRED_MS * 1000;
/** The time of the object that holds a version. */
function packUs({ ver, word }: ArchiveEntry): number {
  const [, pack = ver] = /@(\d{16}-[0-9a-f]{8})/.exec(word) ?? [];
  return versionMicros(pack);
}

/** The time at which a tombstone was put: a marker's version is as old as what it stands for. */
function tombstoneUs(entry: ArchiveEntry): number {
  const us = versionMicros(entry.ver);
  return us === versionMicros(entry.prev) + 1 ? Math.max(us, packUs(entry)) : us;
}
/** After a lease has ended for so long, nothing may be committed under it. */
const LATE_MS = 12 * 3_600_000;
const PREFIX = "tundra:default:";
const [ID, DIRTY, DEAD, PURGE, STATS] = ["id", "dirty", "dead", "purge", "stats"].map((name) => PREFIX + name) as [
  string,
  string,
  string,
  string,
  string,
];

const parsed = new Map<string | undefined, Readonly<KeyRecord>>();

/** A record, read; each text once, as it is asked after every command. */
function read(text: string | undefined): Readonly<KeyRecord> {
  let record = parsed.get(text);
  if (!record) {
    record = parseRecord(text ?? null);
    if (!record) throw new Violation("record", `unreadable: ${text}`);
    if (parsed.size > 20_000) parsed.clear();
    parsed.set(text, record);
  }
  return record;
}

/** Makes one; it watches these keys. */
export function makeOracle(
  redis: ModelRedis,
  redisUs: () => number,
  keys: readonly string[],
  archive: Archive = new Map(),
): Oracle {
  let truths = new Map<string, Truth>(keys.map((key) => [key, {
    held: null,
    record: undefined,
    right: [null],
    unmarked: false,
    markedAt: 0,
    namedAt: Infinity,
    deletableUs: 0,
    removedUs: 0,
    removals: [],
    expiring: { us: 0, atMs: 0 },
  }]));
  const running = new Set<SimulatedOp>();
  const leniency: Leniency = {
    brokenScripts: false,
    rolledBack: false,
    apart: false,
    lostObjects: false,
    smallRequests: false,
    severalIndexes: false,
    lostIndex: false,
    othersToo: false,
    sweeps: undefined,
  };
  /** The index was lost, and is not rebuilt: the newest version of each key when that happened, microseconds. */
  let newestUs: Map<string, number> | undefined;
  /** When a record last named a place or a version of its key, microseconds. */
  const namedAtUs = new Map<string, number>();
  const policy = { leastBytes: (_key: string) => 0 };
  const named = new Set<string>();
  const robbed = new Set<string>();
  const lastNamed = new Map<string, string>();
  const dropped = new Set<string>();
  /** The operations that have put objects, and when. */
  const putBy = new Map<string, SimulatedOp | undefined>();
  const putAt = new Map<string, number>();
  /** When an erasure of these keys has last told others that it looks what is left. */
  const toldAt = new Map<string, number>();
  /** Every version that was ever put: what it holds, when it came first, and after how many others. */
  const everPut = new Map<string, { state: ValueState; at: number; after: number }>();
  let time = 0;
  let latestMs = 0;

  const nowMs = (): number => {
    const now = Math.floor(redisUs() / 1000);
    latestMs = Math.max(latestMs, now);
    return now;
  };
  const recordNames = new Map(keys.map((key) => [key, `${PREFIX}rec:${key}`]));
  const recordName = (key: string) => recordNames.get(key) ?? `${PREFIX}rec:${key}`;
  const expired = (exp: number): boolean => exp !== 0 && exp <= nowMs();
  const evicted = (record: KeyRecord): boolean => record.flag === "e" && !expired(record.exp);
  const holders = new Map<string, { word: string; name: string }>();
  const archived = (key: string, word: string): ArchiveEntry | undefined => {
    let holder = holders.get(key);
    if (holder?.word !== word) holders.set(key, holder = { word, name: holderOf(key, word) });
    return archive.get(holder.name)?.entries.find((entry) => entry.key === key && entry.word === word);
  };

  function held(key: string): ValueState {
    return redis.peek(key) ?? null;
  }

  function fail(check: string, detail: string): never {
    throw new Violation(check, detail);
  }

  /** The value that `ensureKs()` brings back of a key that Redis does not hold: its record decides. */
  function outcomeOf(key: string, record: KeyRecord): ValueState {
    if (record.ver === "" || record.rev !== 0 || isGone(record) || expired(record.exp)) return null;
    const object = archived(key, record.ver);
    if (!object) {
      if (leniency.lostObjects || leniency.rolledBack) return null;
      fail("archive holds what records name", `${key} would be fetched as version ${record.ver}, which was never put`);
    }
    return object.state && expired(object.state.exp) ? null : object.state;
  }

  /** True if its record names an object that is gone. */
  function isLost(key: string, record: KeyRecord): boolean {
    const { rev, ver, exp } = record;
    return rev === 0 && ver !== "" && !isGone(record) && !expired(exp) && !archived(key, ver);
  }

  function isRight(truth: Truth, state: ValueState): boolean {
    nowMs(); // its own expiry may have passed a moment ago
    return truth.right.some((one) =>
      sameState(one, state) || (state === null && one !== null && one.exp !== 0 && one.exp <= latestMs)
    );
  }

  /** Redis no longer holds it, by an application's command or its own expiry: what is right from now on? */
  function afterLoss(key: string, truth: Truth, record: KeyRecord): void {
    if (evicted(record)) return; // what was removed was a blind write: the archived value lives
    truth.right = [null];
    if (record.rev === 0 && record.ver !== "" && !isGone(record)) {
      // behind Tundra's back: what is archived comes back, or stays away if the removal is marked later
      truth.right.push(archived(key, record.ver)?.state ?? null);
    }
  }

  /** Keys and records that time took away since the last command. */
  function look(): void {
    for (const [key, truth] of truths) {
      const now = held(key);
      if (!sameState(now, truth.held)) {
        if (now !== null) fail("only commands change values", `${key} became ${show(now)}`);
        afterLoss(key, truth, read(truth.record));
        truth.held = now;
      }
      truth.record = redis.peek(recordName(key))?.value;
      noteNamed(key, read(truth.record));
      note(key, truth);
    }
  }

  /** Notes the state of a key for the running operations. */
  function note(key: string, truth: Truth): void {
    let bits = -1;
    for (const op of running) {
      if (op.outcomes && op.keys[0] === key) op.outcomes.add(peekText(peekOf(key, read(truth.record))));
      const seen = op.saw.get(key);
      if (seen === undefined) continue;
      if (bits < 0) {
        const record = read(truth.record);
        if (truth.held) bits = evicted(record) ? SAW.blind : SAW.present;
        else {
          const absent = outcomeOf(key, record) === null && !isLost(key, record);
          bits = (evicted(record) ? SAW.evicted : SAW.missing) | (absent ? SAW.absent : 0);
        }
      }
      op.saw.set(key, seen | bits);
    }
  }

  /** What a peek must show: the archived value of an evicted key, whatever is in Redis. */
  function peekOf(key: string, record: KeyRecord): ValueState {
    if (record.rev !== 0 || !evicted(record)) return held(key) ?? outcomeOf(key, record);
    const state = archived(key, record.ver)?.state ?? null;
    return state && !expired(state.exp) ? state : null;
  }

  function run(command: readonly string[], ops: readonly SimulatedOp[]): RedisReply {
    time++;
    look();
    const source = scriptOf(command, redis);
    const full = source === undefined ? "" : scriptName(source);
    const script = full.replace(/_staged$/, ""); // a large value's, which does the same
    const temporary = temporaryBefore(full, command);
    const leases = script in LEASED ? leasesBefore(script, command) : [];
    if (script === "note_erasure") { for (const { keys } of ops) toldAt.set(keys.join(), time); }
    try {
      return redis.run(command);
    } finally {
      checkEffect(script, command, ops, leases);
      temporary();
    }
  }

  /** What a temporary key of a large value must be after a script: it goes by itself, and what is staged is leased. */
  function temporaryBefore(script: string, command: readonly string[]): () => void {
    if (script !== "stage" && script !== "put_piece") return () => {};
    const name = command[script === "stage" ? 6 : 3]!;
    const before = redis.peek(name);
    const isLeased = script !== "stage" || redis.score(command[3]!, command[5]!) === Number(command[7]);
    return () => {
      const now = redis.peek(name);
      if (now && now.exp === 0) fail("temporary keys go", `${name} has no TTL after ${script}`);
      if (now && !before && !isLeased) fail("3 fencing", `${command[5]} was staged by a tick without its lease`);
      if (script === "stage" && before && now?.value !== before.value) {
        fail("6 what is staged never changes", `${name} held ${before.value.length} bytes of another state`);
      }
    };
  }

  function checkEffect(
    script: string,
    command: readonly string[],
    ops: readonly SimulatedOp[],
    leases: { key: string; score: number | undefined; record: string | undefined; dead: number | undefined }[],
  ): void {
    for (const { key, score, record, dead } of leases) {
      const same = redis.score(DIRTY, key) === score && redis.peek(recordName(key))?.value === record &&
        redis.score(DEAD, key) === dead;
      if (!same) fail("3 fencing", `${script} changed ${key} without its latest token`);
    }
    for (const [key, truth] of truths) {
      const [before, now] = [truth.held, held(key)];
      const [recordBefore, recordNow] = [truth.record, redis.peek(recordName(key))?.value];
      if (!sameState(before, now) || recordBefore !== recordNow) {
        if (script === "") byApplication(key, truth, before, now, recordBefore, recordNow);
        else byScript(script, command, ops, key, truth, before, now, read(recordBefore), read(recordNow), recordBefore);
      }
      truth.held = now;
      truth.record = recordNow;
      standing(key, truth);
      note(key, truth);
    }
    countsAreTrue(script);
  }

  /** Keys that are archived by their records, and those of them that are evicted; and what status() says. */
  function counts(): [archived: number, evicted: number, countedArchived: number, countedEvicted: number] {
    let [archived, evicted] = [0, 0];
    for (const key of truths.keys()) {
      const { flag, fp, ver, old } = read(redis.peek(recordName(key))?.value);
      if ((flag !== "r" && flag !== "e") || fp === "" || ver === old) continue;
      archived++;
      if (flag === "e") evicted++;
    }
    const fields = redis.fields(STATS);
    const total = (name: string) => Number(fields.get(name) ?? 0);
    return [archived, evicted, total("archived"), total("evicted") - total("restored") - total("left")];
  }

  /** Counts of status() for keys that this oracle does not watch, such as those that a schedule leaves out. */
  let uncounted = [0, 0];

  function countsAreTrue(script: string): void {
    if (leniency.brokenScripts || leniency.rolledBack || leniency.othersToo) return;
    const [archived, evicted, countedArchived, countedEvicted] = counts();
    if (archived + uncounted[0]! !== countedArchived || evicted + uncounted[1]! !== countedEvicted) {
      fail(
        "counts are true",
        `${script}: ${[archived, evicted, countedArchived, countedEvicted]}, besides ${uncounted}`,
      );
    }
  }

  function byApplication(
    key: string,
    truth: Truth,
    before: ValueState,
    now: ValueState,
    recordBefore: string | undefined,
    recordNow: string | undefined,
  ): void {
    if (recordBefore !== recordNow) fail("records are Tundra's", `a command changed the record of ${key}`);
    if (before !== null && now === null) {
      afterLoss(key, truth, read(recordBefore));
      // a reader that found it there may find nothing, and find it there again once it was written anew
      for (const op of running) if (op.outcomes && op.keys[0] === key) op.outcomes.add(peekText(null));
    }
    truth.unmarked = true;
  }

  /** A command of a transparent client: nothing is written beside a value that is away, and no change has no mark. */
  function byCommand(
    command: readonly string[],
    key: string,
    truth: Truth,
    before: ValueState,
    now: ValueState,
    was: KeyRecord,
    is: KeyRecord,
  ): void {
    const count = Number(command[2]);
    const use = command[3 + count + 6]![command.slice(3, 3 + count).indexOf(recordName(key)) - 4];
    const away = before === null ? outcomeOf(key, was) : null;
    if (!sameState(before, now)) {
      if (use === "r") fail("a command changes what it says", `${key} became ${show(now)}`);
      if (use === "w" && away !== null) {
        fail("8 nothing is written beside a value that is away", `${key}: ${show(away)}, and now ${show(now)}`);
      }
      if (is.rev === was.rev && leniency.brokenScripts) truth.unmarked = true; // it died before the mark
      else if (is.rev === was.rev && now !== null) fail("1 no change without its mark", `${key} became ${show(now)}`);
      if (now === null && before !== null) afterLoss(key, truth, is);
    }
    if (is.rev !== was.rev) {
      if (now === null && is.flag !== "g") fail("mark of a missing key", `${key}: ${JSON.stringify(is)}`);
      truth.unmarked = false;
      truth.right = [null];
      truth.markedAt = time;
    } else if (now === null && before !== null && outcomeOf(key, is) !== null && !leniency.brokenScripts) {
      fail("4 what a command removed stays removed", `${key} would come back: ${JSON.stringify(is)}`);
    }
  }

  function byScript(
    script: string,
    command: readonly string[],
    ops: readonly SimulatedOp[],
    key: string,
    truth: Truth,
    before: ValueState,
    now: ValueState,
    was: KeyRecord,
    is: KeyRecord,
    textBefore: string | undefined,
  ): void {
    const moved = !sameState(before, now);
    if (moved && !MOVERS.has(script)) {
      fail("only evict, restore and del move values", `${script} made ${key} ${show(now)}`);
    }
    // removed while a tick archived it, or before a rebuild found what it had been
    const meanwhile = (script === "commit" || script === "raise") && was.flag === "g" && is.rev !== 0;
    if (meanwhile || (is.flag === "g" && ["remove", "mark", "command"].includes(script))) {
      // what the record named when a call said that the key is removed, and what is older
      truth.removals = [...truth.removals, [versionMicros(is.ver), redisUs()]];
      truth.removedUs = Math.max(truth.removedUs, versionMicros(is.ver));
      truth.deletableUs = Math.max(truth.deletableUs, truth.removedUs);
    }
    switch (script) {
      case "mark": {
        const count = Number(command[2]);
        const args = command.slice(3 + count);
        if (before) {
          if (evicted(was)) {
            const i = command.slice(3, 3 + count).indexOf(recordName(key)) - 4;
            if (args[3] !== "now" && !(args[3] === "cas" && args[4 + i] === textBefore)) {
              fail(
                "8 no blind write replaces a value",
                `${key}, ${show(truth.right[0]!)} archived, now ${show(before)}`,
              );
            }
          }
          truth.unmarked = false;
        } else if (args[2] !== "del" || evicted(was) || is.flag !== "g") {
          fail("mark of a missing key", `${key} changed: ${JSON.stringify(was)} became ${JSON.stringify(is)}`);
        }
        truth.right = [null];
        truth.markedAt = time;
        break;
      }
      case "command":
        byCommand(command, key, truth, before, now, was, is);
        break;
      case "evict":
        if (moved) {
          const object = archived(key, is.ver);
          if (now !== null) fail("2 proof before eviction", `${key} became ${show(now)}`);
          // a del() that a rollback undid has deleted objects: they may be gone
          const lost = !object && (leniency.lostObjects || leniency.rolledBack);
          if (!lost && !sameState(object?.state ?? null, before)) {
            fail(
              "2 proof before eviction",
              `${key} left with ${show(before)}, archived is ${show(object?.state ?? null)}`,
            );
          }
          const limit = command[3 + Number(command[2])]!;
          const ageUs = redisUs() - versionMicros(was.ver);
          if (limit !== "" && ageUs < 3_600_000_000 && ageUs > -86_400_000_000) {
            fail("1 a tick evicts nothing that was archived just now", `${key}, version ${was.ver}`);
          }
          // a touch that died before its last write was never acknowledged; one of a clock a day ahead counts as none
          const ahead = was.touch > nowMs() + DAY_MS;
          if (limit !== "" && was.flag === "r" && was.touch > Number(limit) && !ahead && !leniency.brokenScripts) {
            fail("a key in use stays", `${key} was touched at ${was.touch}, evicted by a limit of ${limit}`);
          }
          if (limit !== "" && was.flag === "r" && dumpString(before!.value).length < policy.leastBytes(key)) {
            fail("what the policy keeps stays", `${key}, ${before!.value.length} characters`);
          }
          truth.right = [before];
        } else if (before === null) fail("evict of a missing key", `changed the record of ${key}`);
        else if (is.flag === "e" && was.flag !== "e") {
          if (!leniency.brokenScripts) fail("an eviction ends", `${key} is still there`);
          truth.right = [before, null]; // it died before its last write: whoever removes the value removes a copy
        } else if (is.rev > was.rev) {
          truth.right = [null]; // rescued: marked
          truth.unmarked = false;
          truth.markedAt = time;
        }
        break;
      case "restore": {
        const newer = is.ver > was.ver && isLost(key, was) ? archived(key, is.ver) : undefined;
        // what the record named is gone: the newest of the archive's, a tombstone too, is what was acknowledged last
        if (newer) truth.right = [newer.state];
        if (moved) {
          if (before !== null || !now || !isRight(truth, now)) {
            fail(
              "1, 4, 5, 8: only the right value comes back",
              `${key} came back as ${show(now)}, was ${show(before)}, right is ${truth.right.map(show).join(" or ")}`,
            );
          }
        } else if (before !== null && is.flag !== was.flag) {
          fail("restore of a key that is there", `changed the record of ${key}`);
        }
        break;
      }
      case "restore_version":
        restorationIsRight(command, ops, key, truth, before, now, was, is);
        truth.unmarked = is.rev === was.rev; // it died before its second write, and what it wrote may expire
        truth.right = truth.unmarked ? [null, ...truth.right] : [null];
        truth.markedAt = time;
        break;
      case "remove":
        if (!removalIsRight(key, truth, ops)) {
          fail("4 a late del does nothing", `${key}, ${show(before)}, was removed by a del that had ended`);
        }
        truth.right = [null];
        truth.markedAt = time;
        truth.unmarked = false;
        break;
      case "same":
      case "reconcile":
        if (!before || (archived(key, was.ver)?.state?.value !== before.value && !leniency.lostObjects)) {
          fail("8 reconcile only what is archived", `${key} holds ${show(before)}`);
        }
        break;
      case "commit":
        if (is.flag === "g" && was.flag !== "g") fail("9 absence is not intent", `commit says that ${key} was removed`);
        if (is.ver !== was.ver && versionMicros(is.ver) <= versionMicros(was.ver)) {
          fail("R1 a version is newer than the one it replaces", `${is.ver} of ${key} after ${was.ver}`);
        }
        if (nowMs() > Number(command[3 + Number(command[2])]) + LATE_MS) {
          fail("R4 a late commit is stale", `${key} was committed 12 hours after its lease`);
        }
        if (isGone(is) && !isGone(was)) {
          if (now !== null || !truth.right.includes(null)) {
            fail("1 a tombstone only over what is gone", `${key}, ${show(now)}, right is ${truth.right.map(show)}`);
          }
        }
        if (is.rev === 0 && is.flag === "r" && now && !truth.unmarked && !leniency.rolledBack) {
          const object = archived(key, is.ver);
          if (!(leniency.lostObjects && !object) && (!object || !sameState(object.state, now))) {
            fail("1 clean means archived", `${key} holds ${show(now)}, archived is ${show(object?.state ?? null)}`);
          }
        }
        break;
      case "purged":
        if (is.ver !== "" || (was.exp > 0 && nowMs() < was.exp + EXPIRED_MS)) {
          const { old: _, ...others } = is;
          const { old: __, ...before } = was;
          if (JSON.stringify(others) !== JSON.stringify(before)) {
            fail("records change for a reason", `${script} of ${key}`);
          }
        }
        break;
      case "raise":
        if (now !== null && is.flag === "e" && was.flag !== "e") {
          fail("R10 what is in Redis is never evicted", `${key}, ${show(now)}`);
        }
        if (was.rev !== 0 && is.rev !== was.rev) fail("R10 a change that was marked stays", key);
        if (versionMicros(is.ver) < versionMicros(was.ver) - 1) {
          fail("R10 records are only raised", `${is.ver} of ${key} after ${was.ver}`);
        }
        if (newestUs === undefined) fail("R10 nothing is raised once the index is rebuilt", `${is.ver} of ${key}`);
        break;
      case "relocate": {
        const moved = { ...was, ver: is.ver, old: was.old === was.ver ? is.ver : was.old };
        const copy = archived(key, is.ver);
        if (JSON.stringify(is) !== JSON.stringify(moved) || is.ver.split("@")[0] !== was.ver.split("@")[0]) {
          fail("R7 nothing but the place changes", `${JSON.stringify(was)} of ${key} became ${JSON.stringify(is)}`);
        }
        if (!copy) fail("R7 the new place holds the version", `${is.ver} of ${key}`);
        if (redisUs() > versionMicros(is.ver.split(/[@:]/)[1]!) + LATE_MS * 1000) {
          fail("R7 no old pack is named anew", `${is.ver} of ${key}`);
        }
        break;
      }
      default:
        if (is.flag !== was.flag || is.ver !== was.ver || is.fp !== was.fp || is.exp !== was.exp) {
          fail("records change for a reason", `${script} made ${JSON.stringify(was)} of ${key} ${JSON.stringify(is)}`);
        }
    }
  }

  /**
   * A restoration belongs to a restoreVersion() that runs, or to one that failed, and nothing was marked since. It brings
   * the value of that version, replaces only what the archive holds, and is a change.
   */
  function restorationIsRight(
    command: readonly string[],
    ops: readonly SimulatedOp[],
    key: string,
    truth: Truth,
    before: ValueState,
    now: ValueState,
    was: KeyRecord,
    is: KeyRecord,
  ): void {
    const wrong = (what: string, detail: string) =>
      fail(what, `${key}, ${show(before)}, became ${show(now)}: ${detail}`);
    const [, , note, , told, fresh] = command.slice(3 + Number(command[2]));
    const ver = note!.split(" ")[1]!;
    const op = ops.find((each) => each.kind.startsWith("restoreVersion") && each.keys.at(-1) === key);
    if (op) op.restored = is.rev;
    if (leniency.rolledBack) return;
    if (!op || !(op.endedAt === 0 || (!op.succeeded && truth.markedAt <= op.endedAt))) {
      wrong("6 a late restoration does nothing", `${ver}, of a call that had ended`);
    }
    const state = everPut.get(`${op!.keys[0]} ${ver}`)?.state;
    if (!state || now?.value !== state.value) {
      return wrong("a restoration brings that version", `${ver} is ${show(state ?? null)}`);
    }
    const isOver = state.exp > 0 && expired(state.exp);
    if (isOver && told !== "1") wrong("5 what is past its own expiry is not restored", ver);
    if (now.exp !== (isOver ? 0 : state.exp)) wrong("5 a restored value keeps its own expiry", ver);
    if (was.rev !== 0) wrong("1 a restoration replaces what is archived", JSON.stringify(was));
    const present = archived(key, was.ver)?.state ?? null;
    if (before !== null && !sameState(before, present)) {
      wrong("1 a restoration replaces what is archived", `archived is ${show(present)}`);
    }
    if (fresh === "1" && (before !== null || outcomeOf(key, was) !== null)) {
      wrong("1 a restoration to another name replaces nothing", JSON.stringify(was));
    }
    if ((is.rev === 0 || is.flag !== "r") && !leniency.brokenScripts) {
      wrong("1 a restored value is a change", JSON.stringify(is));
    }
  }

  /** A removal belongs to a del() that runs, or to one that failed, and nothing was marked since. */
  function removalIsRight(key: string, truth: Truth, ops: readonly SimulatedOp[]): boolean {
    if (leniency.rolledBack) return true;
    return ops.some((op) =>
      (op.kind === "del" || op.kind === "erase") && op.keys.includes(key) &&
      (op.endedAt === 0 || (!op.succeeded && truth.markedAt <= op.endedAt))
    );
  }

  /** An object is deleted on purpose only: its version was removed by del() or by a marked removal. */
  function deletionIsRight({ key, ver, state }: ArchiveEntry, truth: Truth, bySweep: boolean): void {
    noteExpiry(truth);
    if (bySweep || versionMicros(ver) <= truth.deletableUs) return;
    const newer = versionsOf(archive, key).some((other) => versionMicros(other.ver) > versionMicros(ver));
    if (state === null && newer) return; // a tombstone of a record that Redis has lost since
    // a record that went back alone may say that what was archived since was removed: what is newer stays
    if (leniency.apart && versionMicros(read(truth.record).ver) > versionMicros(ver)) return;
    fail("9 absence is not intent", `${ver} of ${key} was deleted, which was not removed on purpose: ${show(state)}`);
  }

  /** Notes which places and versions records name now: Redis may go back to that for 48 hours. */
  function noteNamed(key: string, { ver: word }: KeyRecord): void {
    // while records are rebuilt, they name older versions first: Redis does not go back to that without the walk
    if (word === "" || leniency.sweeps === undefined || newestUs !== undefined) return;
    for (const name of [word, word.split("@")[0]!]) namedAtUs.set(`${key} ${name}`, redisUs());
  }

  /**
   * A sweep deletes only what nothing names, nothing can come to name within 48 hours, and no history needs: by what
   * records have named, whatever it was that the sweep went by.
   */
  function sweepIsRight(name: string, entry: ArchiveEntry, mayBeYoung = false): void {
    const { key, ver, word, state } = entry;
    const truth = truths.get(key);
    if (!truth) return;
    const nowUs = redisUs();
    const us = versionMicros(ver);
    const wrong = (why: string) => fail("R5 a sweep deletes only what nothing needs", `${word} of ${key}: ${why}`);
    const ago = (what: string) => nowUs - (namedAtUs.get(`${key} ${what}`) ?? -Infinity);
    const ageUs = nowUs - versionMicros(name.slice(name.lastIndexOf("/") + 1));
    if (ageUs < EXPIRED_US && !mayBeYoung) wrong("it is young");
    const isOver = state !== null && state.exp > 0 && state.exp * 1000 + EXPIRED_US <= nowUs; // nothing brings it back
    if (read(truth.record).ver === word) wrong("a record names it");
    const together = archive.get(name)!.entries; // they go in one request
    const others = versionsOf(archive, key).filter((other) => !together.includes(other));
    // moved, and whoever reads a record of before that looks for the copy
    if (others.some((other) => other.ver === ver && nowUs - packUs(other) >= EXPIRED_US)) return;
    const older = others.filter((other) => versionMicros(other.ver) < us);
    const newer = others.filter((other) => versionMicros(other.ver) > us);
    // a record that goes back to what was removed before leads to what was written anew since
    const isOutlived = newer.some((other) =>
      other.removal && nowUs - tombstoneUs(other) >= EXPIRED_US && newer.some((each) => each.ver > other.ver)
    );
    // a removed key's record that comes back says so without its tombstone, too
    const isEnded = state === null && truth.record === undefined;
    if (ago(word) < EXPIRED_US && !isOver && !isOutlived && !isEnded) wrong("a record named it within 48 hours");
    const record = read(truth.record);
    if (state === null) {
      if (older.length > 0) wrong("a tombstone with older versions");
      if (nowUs - tombstoneUs(entry) < leniency.sweeps!.keepOrphansUs) wrong("a young tombstone");
      return;
    }
    if (truth.removals.some(([upTo, atUs]) => us <= upTo && nowUs - atUs >= EXPIRED_US)) return;
    // a removal that Redis has forgotten, and whose tombstone the archive holds
    if (newer.some((other) => other.removal && nowUs - tombstoneUs(other) >= EXPIRED_US)) return;
    if (truth.record === undefined && newer.length === 0 && older.some((other) => other.state !== null)) {
      wrong("an older value would be the newest");
    }
    if (isOver) return;
    const isOrphan = versionMicros(record.ver) < us && !newer.some((other) => other.state === null);
    // no record ever named it: it was an orphan until something newer was archived
    const wasOrphan = !namedAtUs.has(`${key} ${ver}`) && newer.some((other) => other.state !== null);
    if ((isOrphan || wasOrphan) && nowUs - us >= leniency.sweeps!.keepOrphansUs) return;
    const isHistory = versionMicros(record.ver) > us || newer.length > 0;
    if (!isHistory) wrong("it may be the last copy of an acknowledged value");
    if (ago(ver) < EXPIRED_US + leniency.sweeps!.keepUs) wrong("it was its key's value within keepMs");
    if (nowUs - us < EXPIRED_US + leniency.sweeps!.keepUs) wrong("it is younger than keepMs");
  }

  /** The older values that a tombstone alone stands above; none of those in `names`. */
  function leftBelow({ key, ver }: ArchiveEntry, names: readonly string[]): ArchiveEntry[] {
    const others = versionsOf(archive, key).filter((other) => !names.includes(holderOf(key, other.word)));
    const us = (other: ArchiveEntry) => versionMicros(other.ver);
    return others.filter((older) =>
      older.state !== null && us(older) < versionMicros(ver) &&
      !others.some((other) => other.state === null && us(other) > us(older)) // a purge puts a marker before
    );
  }

  /** What was put just now is taken back, as an erasure looked meanwhile what is left: nothing names it. */
  function takesBack(name: string, entry: ArchiveEntry, ops: readonly SimulatedOp[]): boolean {
    const { key, ver, word, state } = entry;
    if (!name.includes("/~packs/") || !ops.includes(putBy.get(name)!)) return false;
    const truth = truths.get(key);
    if (read(truth?.record).ver === word) fail("R7 what is taken back is not named", `${word} of ${key}`);
    if (versionsOf(archive, key).some((other) => other.ver === ver && other.word !== word)) return true;
    // it may be erased by now, or a sweep has deleted what it is a copy of
    if (state === null ? leftBelow(entry, [name]).length === 0 : versionMicros(ver) <= (truth?.deletableUs ?? 0)) {
      return true;
    }
    if (leniency.sweeps) sweepIsRight(name, entry, true);
    return leniency.sweeps !== undefined;
  }

  /**
   * An erasure deletes tombstones of its keys once nothing older is left, and packs of which all other versions have a
   * copy, that records name; `false`: it is another deletion, such as a tick's within it.
   */
  function erasureIsRight(entry: ArchiveEntry, erasure: SimulatedOp, names: readonly string[]): boolean {
    const { key, ver, word, state } = entry;
    const { keys } = erasure;
    const isOwn = keys.includes(key) && state === null; // the record of a removed key goes on to name its tombstone
    const isCopied = versionsOf(archive, key).some((other) =>
      other.ver === ver && !names.includes(holderOf(key, other.word))
    );
    if (!isOwn && word.includes("@") && isCopied) {
      if (read(truths.get(key)?.record).ver === word) fail("R7 an erased pack is not named", `${word} of ${key}`);
      return true;
    }
    if (keys.includes(key) && state !== null) { // its orphans go too; else it may go as for any deletion
      const { removals, record } = truths.get(key)!;
      return removals.some(([, atUs]) => versionMicros(ver) < atUs) || (held(key) === null && record === undefined);
    }
    if (!isOwn) return false;
    const left = leftBelow(entry, names).find((older) => !cameLate(older, entry, erasure) && !isToGo(older, erasure));
    if (left) fail("4 no tombstone is erased before older values", `${word} of ${key}, ${left.word}`);
    return true;
  }

  /** A tick's request came after the erasure had begun, and even after the removal of what it put was archived. */
  function cameLate({ key, ver, word }: ArchiveEntry, tombstone: ArchiveEntry, erasure: SimulatedOp): boolean {
    const { at, after } = everPut.get(`${key} ${ver}`)!;
    return putBy.get(holderOf(key, word))?.kind === "tick" && at >= erasure.startedAt &&
      after > everPut.get(`${key} ${tombstone.ver}`)!.after;
  }

  /** Another operation has put it since the erasure began to look, and will take it back. */
  function isToGo({ key, word }: ArchiveEntry, erasure: SimulatedOp): boolean {
    const name = holderOf(key, word);
    const [op, at] = [putBy.get(name), putAt.get(name)!];
    return word.includes("@") && op !== erasure && op?.endedAt === 0 && at >= toldAt.get(erasure.keys.join())!;
  }

  function notePut(entries: readonly ArchiveEntry[]): void {
    for (const { key, ver, state } of entries) {
      const first = everPut.get(`${key} ${ver}`) ?? { at: time, after: everPut.size };
      everPut.set(`${key} ${ver}`, { ...first, state });
    }
  }

  /** A version that is put is of this index, names the one that it replaces, and shares its time with no other. */
  function entryIsRight(entry: ArchiveEntry, ops: readonly SimulatedOp[]): void {
    const { key, ver, index, prev, state } = entry;
    const truth = truths.get(key);
    const id = redis.peek(ID)?.value;
    if (!truth || leniency.rolledBack || leniency.severalIndexes || leniency.lostIndex) return;
    const isCopy = everPut.has(`${key} ${ver}`); // of what an index before a rebuild has put, perhaps
    if (id !== undefined && index !== id && !isCopy) {
      fail("R8 a version names its index", `${ver} of ${key} names ${index}`);
    }
    const known = ops.some((op) => op.kind === "tick" && truth.namedAt < op.startedAt);
    const { ver: now } = read(truth.record);
    const copied = versionsOf(archive, key).find((other) => other.ver === ver);
    const isRemoval = isCopy && entry.removal; // a copy of a tombstone, made from its name alone
    if (now !== "" && prev === "" && known && !isRemoval) {
      fail("a version names the one before", `${ver} of ${key}, after ${now}`);
    }
    if (copied && !sameState(copied.state, state)) fail("R7 a copy holds the same value", `${ver} of ${key}`);
    const rival = versionsOf(archive, key).find((other) => versionMicros(other.ver) === versionMicros(ver));
    // a clock that went back gives the version after the one before, again and again
    const went = Math.floor(redisUs() / 1000) < latestMs || versionMicros(ver) === versionMicros(prev) + 1;
    if (rival && rival.ver !== ver && !went) fail("8 versions have an order", `${ver} and ${rival.ver} of ${key}`);
  }

  /** Allows the deletion of what has expired for two days. */
  function noteExpiry(truth: Truth): void {
    nowMs();
    const { us, atMs } = truth.expiring;
    if (us > 0 && latestMs >= atMs) truth.deletableUs = Math.max(truth.deletableUs, us);
    const { ver, exp } = read(truth.record);
    if (exp > 0 && ver !== "") truth.expiring = { us: versionMicros(ver), atMs: exp + EXPIRED_MS };
  }

  /** Checks that keys with objects to delete, now or once they have expired, are queued for that. */
  function purgeIsQueued(key: string, { rev, flag, ver, exp, old }: KeyRecord): void {
    const waits = (old !== "" && old !== ver) || (rev === 0 && exp > 0 && (flag === "r" || flag === "e"));
    if (!waits || leniency.brokenScripts || leniency.apart) return;
    if (redis.score(PURGE, key) === undefined) {
      fail("4 what is to be deleted is queued", `${key} is not: ${redis.peek(recordName(key))?.value}`);
    }
  }

  /** Checks what holds after every command. */
  function standing(key: string, truth: Truth): void {
    const record = read(truth.record);
    noteExpiry(truth);
    noteNamed(key, record);
    if (record.ver !== "" && lastNamed.get(key) !== record.ver) {
      named.add(`default/${key}/${record.ver}`);
      lastNamed.set(key, record.ver);
    }
    truth.namedAt = record.ver === "" ? Infinity : Math.min(truth.namedAt, time);
    const layout = /^.{25}a$/.test(record.ver) ? "3 " : /@/.test(record.ver + record.old) ? "2 " : "1 ";
    if (truth.record !== undefined && !truth.record.startsWith(layout)) {
      fail("a place has layout 2, a large value layout 3", truth.record);
    }
    purgeIsQueued(key, record);
    if (truth.held === null && newestUs === undefined) {
      const outcome = outcomeOf(key, record);
      if (!isLost(key, record) && !isRight(truth, outcome)) {
        fail(
          "1, 4, 5, 8: what would come back",
          `${key} would be ${show(outcome)}, right is ${truth.right.map(show).join(" or ")}; record ${truth.record}`,
        );
      }
    }
    if (record.rev !== 0) {
      const queued = redis.score(DIRTY, key) !== undefined ||
        redis.score(DEAD, key) !== undefined;
      if (!queued && !leniency.brokenScripts && !leniency.apart) {
        fail("7 a dirty key is queued", `${key} is in neither queue: ${truth.record}`);
      }
      if (redis.peek(recordName(key))!.exp !== 0) fail("a dirty record has no TTL", key);
    }
  }

  function leasesBefore(script: string, command: readonly string[]) {
    const leased = LEASED[script]!(command);
    // a release may name a key twice: for an old lease, and for the one that it is under
    const rightly = new Set(
      leased.filter(({ key, token }) => redis.score(DIRTY, key) === Number(token)).map(({ key }) => key),
    );
    return leased.filter(({ key }) => !rightly.has(key)).flatMap(({ key, token }) => {
      const score = redis.score(DIRTY, key);
      const record = redis.peek(recordName(key))?.value;
      if (script === "fail") {
        const [before, after] = (record ?? "").split(" ").slice(8, 10);
        if (before === token && score === Number(after)) return []; // begun by the same tick
      }
      return [{ key, score, record, dead: redis.score(DEAD, key) }];
    });
  }

  return {
    run,
    archive,
    leniency,
    policy,
    held,
    look,
    put(name, bytes, ops) {
      const there = archive.get(name);
      // if Redis forgot an id that nobody had confirmed yet, two may be on their way
      const owner = leniency.rolledBack && name.includes("/~owner/");
      if (there && !owner && !sameBytes(there.bytes, bytes)) fail("3 no object is overwritten", name);
      if (!saysWhose(name) && !archive.has("default/~owner/first")) {
        fail("no object before its archive has an owner", name);
      }
      const entries = readEntries(name, bytes, (what) => fail("objects lie under their names", what));
      if (!there) { for (const entry of entries) entryIsRight(entry, ops); }
      archive.set(name, { bytes, entries });
      putBy.set(name, ops[0]);
      putAt.set(name, time);
      notePut(entries);
    },
    lose(name) {
      for (const { key } of archive.get(name)?.entries ?? []) robbed.add(key);
      archive.delete(name);
    },
    drop(names, ops = []) {
      const bySweep = leniency.sweeps !== undefined && ops.some(({ kind }) => kind === "sweep");
      const erasure = ops.find(({ kind }) => kind === "erase");
      for (const name of names) {
        if (!name.startsWith("default/")) fail("objects of another queue stay", name);
        for (const entry of archive.get(name)?.entries ?? []) {
          const truth = truths.get(entry.key);
          if (erasure && erasureIsRight(entry, erasure, names)) continue;
          if (takesBack(name, entry, ops)) continue;
          if (bySweep) sweepIsRight(name, entry);
          if (truth) deletionIsRight(entry, truth, bySweep);
        }
        archive.delete(name);
        dropped.add(name); // a late copy may put it again
      }
      for (const [key, truth] of truths) standing(key, truth);
    },
    get time() {
      return time;
    },
    begin(kind, keys) {
      look();
      const op = {
        kind,
        keys,
        startedAt: ++time,
        endedAt: 0,
        succeeded: false,
        saw: new Map(keys.map((key) => [key, 0])),
        ...((kind === "peek" || kind === "transparent get") && { outcomes: new Set<string>() }),
      };
      running.add(op);
      for (const [key, truth] of truths) note(key, truth);
      return op;
    },
    end(op, succeeded) {
      look();
      op.succeeded = succeeded;
      op.endedAt = time;
      running.delete(op);
    },
    markedSince: (key, since) => truths.get(key)!.markedAt >= since,
    record: (key) => read(redis.peek(recordName(key))?.value),
    outcome: (key) => outcomeOf(key, read(redis.peek(recordName(key))?.value)),
    isLost: (key) => isLost(key, read(redis.peek(recordName(key))?.value)),
    everHeld: (key) =>
      [...everPut.keys()].filter((each) => each.startsWith(`${key} `)).map((each) => each.split(" ")[1]!),
    undeleted(key) {
      const truth = truths.get(key)!;
      const { rev, ver, flag, exp } = read(truth.record);
      if (rev !== 0) return []; // dead: nothing newer is archived yet
      const isOver = exp > 0 && (flag === "r" || flag === "e") && nowMs() >= exp + EXPIRED_MS;
      const lastUs = Math.max(truth.removedUs, isOver ? versionMicros(ver) : 0);
      return [...named].filter((name) => {
        const own = archive.get(name)?.entries[0];
        if (own?.key !== key || own.state === null) return false; // a tombstone stays until a later one comes
        return versionMicros(own.ver) <= lastUs && !dropped.has(name);
      });
    },
    isRemoved: (key, ver) => versionMicros(ver) <= (truths.get(key)?.removedUs ?? 0),
    removedUs: (key) => truths.get(key)?.removedUs ?? 0,
    hasOrphan(key) {
      if (!truths.has(key) || robbed.has(key)) return true; // its tombstone was left out, or lost
      if (redis.peek(recordName(key))) return false;
      const all = versionsOf(archive, key);
      return [all, all.filter(({ word }) => !word.includes("@"))].some((versions) => {
        const lastUs = Math.max(...versions.map(({ ver }) => versionMicros(ver)));
        return versions.some(({ ver, word, state }) =>
          versionMicros(ver) === lastUs && state !== null && !named.has(`default/${key}/${word}`)
        );
      });
    },
    view(key) {
      const [now, record] = [held(key), read(redis.peek(recordName(key))?.value)];
      return {
        held: now,
        outcome: now ?? outcomeOf(key, record),
        blind: now !== null && evicted(record),
        lost: now === null && isLost(key, record),
      };
    },
    save: () => ({ truths: copy(truths), archive: new Map(archive) }),
    load(state) {
      for (const [name, object] of state.archive) {
        const { entries } = object;
        if (entries.length === 0 || entries.some(({ key }) => keys.includes(key))) archive.set(name, object);
        notePut(entries);
      }
      for (const key of keys) truths.set(key, { ...state.truths.get(key)!, markedAt: 0, namedAt: 0 });
      const [archived, evicted, countedArchived, countedEvicted] = counts();
      uncounted = [countedArchived - archived, countedEvicted - evicted];
    },
    rollBackOne(earlier, key, which) {
      look();
      const name = which === "value" ? key : recordName(key);
      const state = new Map(redis.save());
      const entry = earlier.get(name);
      if (entry) state.set(name, entry);
      else state.delete(name);
      redis.load(state);
      leniency.rolledBack = leniency.apart = true;
      const truth = truths.get(key)!;
      const archivedStates = versionsOf(archive, key).map(({ state }) => state);
      truth.right = [...truth.right, null, truth.held, held(key), ...archivedStates];
      truth.held = held(key);
      look();
    },
    truths: () => copy(truths),
    empty() {
      redis.load(new Map());
      for (const { entries } of archive.values()) notePut(entries); // another database's, if the archive changes hands
      newestUs = new Map(keys.map((key) => [
        key,
        Math.max(0, ...versionsOf(archive, key).map(({ ver }) => versionMicros(ver))),
      ]));
      const nothing = { held: null, record: undefined, unmarked: false, namedAt: Infinity };
      for (const truth of truths.values()) Object.assign(truth, { ...nothing, right: [null] });
      uncounted = [0, 0];
      leniency.lostIndex = true;
    },
    rebuilt() {
      const newest = newestUs!;
      newestUs = undefined;
      for (const [key, truth] of truths) {
        const record = read(truth.record);
        const since = newest.get(key)!;
        // what a request of a former tick has put late is newer still, and may have come in time
        const versions = versionsOf(archive, key).filter(({ ver }) => since > 0 && versionMicros(ver) >= since);
        const isQueued = record.rev !== 0 || record.flag !== "r"; // else it was written after its record was made
        // its record has ended, as that of a key that was removed or has expired
        const isOver = ({ state }: ArchiveEntry) => state === null || (state.exp > 0 && expired(state.exp));
        const hasEnded = truth.record === undefined && versions.every(isOver);
        if (truth.held !== null && since > 0 && !isQueued && !hasEnded) fail("R10 what is in Redis is queued", key);
        truth.right = record.rev !== 0 || versions.length === 0 ? [null] : versions.map(({ state }) => state);
        standing(key, truth);
      }
    },
    mark: () => ({ truths: copy(truths), archive: new Map(archive), latestMs, leniency: { ...leniency } }),
    revert(mark) {
      truths = copy(mark.truths);
      archive.clear();
      for (const [name, object] of mark.archive) archive.set(name, object);
      latestMs = mark.latestMs;
      Object.assign(leniency, mark.leniency);
    },
    rollBack(state, earlier) {
      redis.load(state);
      const now = truths;
      truths = copy(earlier);
      for (const [key, truth] of truths) truth.deletableUs = Math.max(truth.deletableUs, now.get(key)!.deletableUs);
      leniency.rolledBack = true;
      look();
    },
  };
}

function copy(truths: Map<string, Truth>): Map<string, Truth> {
  return new Map([...truths].map(([key, truth]) => [key, { ...truth, right: [...truth.right] }]));
}

const MOVERS = new Set(["evict", "restore", "remove", "restore_version", "command"]);

/** Scripts that act under a lease: each key with its token. */
const LEASED: Record<string, (command: readonly string[]) => { key: string; token: string }[]> = {
  commit(command) {
    const count = Number(command[2]);
    const n = (count - 4) / 2;
    return command.slice(7 + n, 7 + 2 * n).map((key) => ({ key, token: command[3 + count]! }));
  },
  fail(command) {
    const args = command.slice(3 + Number(command[2]));
    return args.filter((_, i) => i >= 4 && (i - 4) % 6 === 0).map((key) => ({ key, token: args[0]! }));
  },
  release(command) {
    const [, ...args] = command.slice(3 + Number(command[2]));
    return args.flatMap((token, i) => i % 3 === 0 ? [{ token, key: args[i + 1]! }] : []);
  },
  begin(command) {
    const args = command.slice(3 + Number(command[2]));
    return [{ token: args[1]!, key: args[0]! }];
  },
};

/** A value as a read gives it. */
export function peekText(state: ValueState): string {
  return state === null ? "nothing" : state.value;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

function isGone({ flag }: KeyRecord): boolean {
  return flag === "g" || flag === "m";
}

/** Tells if two values are the same. */
export function sameState(a: ValueState, b: ValueState): boolean {
  if (a === b || a === null || b === null) return a === b;
  return a.value === b.value && a.exp === b.exp;
}

function show(state: ValueState): string {
  if (state === null) return "nothing";
  return state.exp === 0 ? state.value : `${state.value} until ${state.exp}`;
}
