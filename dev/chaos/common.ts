/**
 * The common part of all processes of a chaos run: clients of the servers, the keys, and a read of one key.
 * @module
 */
import { createHash } from "node:crypto";
import { closeSync, fstatSync, openSync, readFileSync, readSync, writeSync } from "node:fs";
import process from "node:process";
import { TundraError, type TundraOptions, type TundraStore, tundraStore } from "../../mod.ts";
import { type ArchiveConfig, chaosDatastore } from "./archives.ts";
import { type Event, type Ledger, ledger, parseEvents, type Value } from "./ledger.ts";

/** Settings of a process, as JSON in its environment. */
export interface ChaosConfig {
  seed: number;
  /** Its number among those of its kind, from 0. */
  index: number;
  /** The number of processes of its kind. */
  count: number;
  /** The number of times that it was started before. */
  life: number;
  redis: { url: string; token: string };
  archive: ArchiveConfig;
  /** The path of its ledger. */
  file: string;
  keysEach: number;
  leaseMs: number;
}

/** The kind of value that a key holds. */
export type Kind = "string" | "hash" | "list";

/** One key of a run. */
export interface ChaosKey {
  name: string;
  kind: Kind;
  /** `true`: other applications may bring it back too. */
  shared: boolean;
}

const CONFIG = "TUNDRA_CHAOS";
/** The least `redisTtlMs` that a store takes. */
const REDIS_TTL_MS = 10 * 3_600_000;

/** The environment of a process that is to run with this configuration. */
export function environment(config: ChaosConfig): Record<string, string | undefined> {
  return { ...process.env, [CONFIG]: JSON.stringify(config) };
}

/** The configuration of this process. The process ends as soon as the one that started it has ended. */
export function configuration(): ChaosConfig {
  process.stdin.on("end", () => process.exit(0)).on("error", () => process.exit(0)).resume();
  return JSON.parse(process.env[CONFIG]!);
}

/** A store of the run. */
export function chaosStore(
  config: Pick<ChaosConfig, "redis" | "archive">,
  redis: Partial<TundraOptions["redis"]> = {},
  options: Pick<TundraOptions, "packBytes"> = {},
): TundraStore {
  return tundraStore(chaosDatastore(config.archive), {
    redis: { ...config.redis, automaticDeserialization: false, timeoutMs: 3000, retry: { retries: 2 }, ...redis },
    redisTtlMs: REDIS_TTL_MS,
    minEvictBytes: 0, // its values are small
    databaseId: "chaos", // each application reaches the same database by a URL of its own
    ...options,
  });
}

/** The keys of one application; no other process writes them. */
export function keysOf(application: number, keysEach: number): ChaosKey[] {
  const kinds: Kind[] = ["string", "hash", "list"];
  return Array.from({ length: keysEach }, (_, i) => {
    const kind = kinds[i % kinds.length]!;
    return { name: `chaos/${application}:${kind} ${i} é`, kind, shared: i % 2 === 0 };
  });
}

const READ = `
local kind = redis.call('TYPE', KEYS[1]).ok
local data = ''
if kind == 'string' then data = redis.call('GET', KEYS[1]) end
if kind == 'hash' then data = redis.call('HGETALL', KEYS[1]) end
if kind == 'list' then data = redis.call('LRANGE', KEYS[1], 0, -1) end
return { kind, data, string.format('%.0f', redis.call('PEXPIRETIME', KEYS[1])) }`;

/** A key in Redis at one moment, value and own expiry. */
export async function readValue(store: Pick<TundraStore, "redis">, key: string): Promise<Value> {
  const [kind, data, expires] = await store.redis.evalRo(READ, [key], []) as [string, string | string[], string];
  if (kind === "none") return "absent";
  const exp = Math.max(0, Number(expires));
  if (kind !== "hash") return { data, exp };
  const pairs = Array.from({ length: data.length / 2 }, (_, i) => [data[2 * i]!, data[2 * i + 1]!]);
  return { data: Object.fromEntries(pairs), exp };
}

/** Random values that can be had again. */
export interface Seeded {
  /** A number in [0, 1). */
  next(): number;
  /** A whole number from 0 to below `n`. */
  int(n: number): number;
  pick<T>(of: readonly T[]): T;
}

/** A source of random values, the same ones for the same text. */
export function seeded(text: string): Seeded {
  let block = createHash("sha256").update(text).digest();
  let at = 0;
  const next = () => {
    if (at + 4 > block.length) {
      block = createHash("sha256").update(block).digest();
      at = 0;
    }
    return block.readUInt32BE((at += 4) - 4) / 2 ** 32;
  };
  const int = (n: number) => Math.floor(next() * n);
  return { next, int, pick: (of) => of[int(of.length)]! };
}

/** The failure as text; `undefined` if it only says that a server is away. Programming errors are thrown. */
export function unexpected(error: unknown): string | undefined {
  if (!(error instanceof TundraError)) {
    if (error instanceof Error && error.name === "UpstashError") return undefined; // Redis was loading, say
    throw error;
  }
  const causes = Object.values(error.causes);
  const codes = causes.length > 0 ? causes.map((cause) => (cause as TundraError).code) : [error.code];
  if (codes.every((code) => code === "UNAVAILABLE")) return undefined;
  return `${error.code}: ${error.message}; ${causes.map((cause) => cause.message).join("; ")}`;
}

/** A ledger that is kept in a file, with the notes of earlier lives of this process. */
export interface LedgerFile {
  readonly book: Ledger;
  /** Writes an event to the file; returns the violation that it shows, if any. */
  note(event: Event): string | undefined;
}

/** Opens a ledger. A line that a SIGKILL cut short is ended. */
export function openLedger(file: string): LedgerFile {
  const book = readLedger(file);
  const descriptor = openSync(file, "a+");
  const { size } = fstatSync(descriptor);
  const last = new Uint8Array(1);
  if (size > 0 && readSync(descriptor, last, 0, 1, size - 1) === 1 && last[0] !== 10) writeSync(descriptor, "\n");
  process.on("exit", () => closeSync(descriptor));
  return {
    book,
    note(event) {
      writeSync(descriptor, `${JSON.stringify(event)}\n`);
      return book.add(event);
    },
  };
}

/** The events in a file; none if it is missing. */
export function readLedger(file: string): Ledger {
  const book = ledger();
  let text = "";
  try {
    text = readFileSync(file, "utf8");
  } catch {
    // the first life of its process
  }
  for (const event of parseEvents(text)) book.add(event);
  return book;
}

/**
 * Reads a key through `ensureKs` and compares it with the ledger; a write or mark of unknown outcome is decided first.
 */
export async function settle(store: TundraStore, key: string, { book, note }: LedgerFile): Promise<void> {
  const { limbo } = book.state(key);
  if (limbo === "overwrite") {
    await store.dirty({ overwrite: true }, key).catch((error) => {
      if (error?.code !== "MISSING") throw error; // the write has not happened, or has expired
    });
  } else if (limbo === "mark") await store.dirty({ missing: "del" }, key);
  if (limbo !== "none") note({ is: "marked", key, at: Date.now() });
  await store.ensureKs(key);
  const from = Date.now();
  const value = await readValue(store, key);
  note({ is: "saw", key, from, to: Date.now(), value });
}
