/**
 * The ledger of an application: what it was told of each key, and the values that a key may therefore have.
 *
 * Each key has one writer, which writes an event here before it sends a write (`try`), after the write was acknowledged
 * (`ack`) and whenever it has read the key through `ensureKs` (`saw`). A write without an `ack` may have happened or
 * not, until the next `saw` decides it. Events are lines of JSON in a file of their own for each application process:
 * what was handed to the kernel survives a SIGKILL of the process. A line cut short is a write that was never sent, or
 * an acknowledgement that had no effect yet.
 * @module
 */

/** The content of a string, a hash or a list. */
export type Data = string | Record<string, string> | string[];

/** A value that a key may have; `exp`: its own expiry, milliseconds since 1970, 0 for none. */
export type Value = { data: Data; exp: number } | "absent";

/** The effect of a command of the application on a value. */
export type Write =
  | { do: "set"; value: string }
  | { do: "hset"; field: string; value: string }
  | { do: "rpush"; value: string }
  | { do: "expire"; at: number }
  | { do: "remove" }
  | { do: "restore" };

/** The mark that a key needs before it may be read, as its value changed and no mark was acknowledged. */
export type Limbo = "mark" | "overwrite" | "none";

/** One line of a ledger. Times are milliseconds since 1970. */
export type Event =
  | { is: "try"; key: string; at: number; write: Write; limbo: Limbo }
  | { is: "ack"; key: string; at: number }
  | { is: "marked"; key: string; at: number }
  | { is: "saw"; key: string; from: number; to: number; value: Value }
  | { is: "did"; what: string; at: number; good: boolean }
  | { is: "bad"; key: string; at: number; what: string };

/** The knowledge of one key. */
export interface KeyState {
  /** The values that it may have, as of `pending`'s start. */
  may: Value[];
  /** A write that was sent and not acknowledged. */
  pending?: { write: Write; from: number };
  limbo: Limbo;
  /** All values that it may have had, by their texts: a restoration gives one of them. */
  past: ReadonlyMap<string, Value>;
}

/** The knowledge of all keys, and the violations found. */
export interface Ledger {
  readonly keys: ReadonlyMap<string, KeyState>;
  readonly violations: readonly string[];
  /**
   * Numbers of writes that were acknowledged and that were not, of reads compared, and of other calls by their names.
   */
  readonly counts: Readonly<Record<string, number>>;
  /** Takes one event; returns the violation that it shows, if any. */
  add(event: Event): string | undefined;
  /** The state of a key; one that was never written is absent. */
  state(key: string): KeyState;
}

/**
 * Application, endpoint and Redis share one clock; Redis reads it once a command, so nearly equal times decide nothing.
 */
const CLOCK_MS = 1000;

/** An empty ledger. */
export function ledger(): Ledger {
  const keys = new Map<string, KeyState>();
  const violations: string[] = [];
  const counts: Record<string, number> = { acknowledged: 0, unknown: 0, compared: 0 };
  const count = (what: string) => counts[what] = (counts[what] ?? 0) + 1;
  const state = (key: string): KeyState => keys.get(key) ?? { may: ["absent"], limbo: "none", past: new Map() };
  /** Sets what is known of a key; it may have had these values. */
  const set = (key: string, next: Omit<KeyState, "past">, had = next.may): void => {
    const past = state(key).past as Map<string, Value>;
    for (const value of had) past.set(canonical(value), value);
    keys.set(key, { ...next, past });
  };

  const violated = (text: string): string => {
    violations.push(text);
    return text;
  };

  const add = (event: Event): string | undefined => {
    if (event.is === "did") {
      count(event.good ? event.what : `${event.what}, failed`);
      return;
    }
    const { key } = event;
    if (event.is === "bad") return violated(`${key}: ${event.what}`);
    const now = state(key);
    if (event.is === "try") {
      if (now.pending) return violated(`${key}: a write before the last one was decided; the ledger is wrong`);
      const pending = { write: event.write, from: event.at };
      set(key, { may: now.may, pending, limbo: event.limbo }, applied({ ...now, pending }, event.at));
    } else if (event.is === "ack") {
      if (!now.pending) return violated(`${key}: an acknowledgement of nothing; the ledger is wrong`);
      set(key, { may: applied(now, event.at), limbo: now.limbo });
      count("acknowledged");
    } else if (event.is === "marked") {
      keys.set(key, { ...now, limbo: "none" });
    } else {
      const allowed = worth(now, event.from, event.to);
      const seen = canonical(event.value);
      count("compared");
      if (now.pending) count("unknown");
      // From now on the value that was read counts, even if it is wrong: a loss is reported once.
      set(key, { may: [event.value], limbo: now.limbo });
      if (!allowed.some((value) => canonical(value) === seen)) {
        return violated(`${key}: is ${seen}, must be ${allowed.map(canonical).join(" or ")}`);
      }
    }
  };
  return { keys, violations, counts, add, state };
}

/** All events of a ledger's text; a last line that was cut short is none. */
export function parseEvents(text: string): Event[] {
  return text.split("\n").flatMap((line) => {
    try {
      return line === "" ? [] : [JSON.parse(line) as Event];
    } catch {
      return [];
    }
  });
}

/** The values that a read of a key may return between `from` and `to`. */
export function worth(state: KeyState, from: number, to: number): Value[] {
  return unique([...state.may, ...applied(state, to)].flatMap((value) => aged(value, from, to)));
}

/** The values that a key may have once its pending write has run, up to a time. */
function applied({ may, pending, past }: KeyState, to: number): Value[] {
  if (!pending) return [];
  const { write, from } = pending;
  return unique(
    write.do === "restore"
      ? [...past.values()].filter((value) => aged(value, from, to).some((left) => left !== "absent"))
      : may.flatMap((value) => apply(value, write, from, to)),
  );
}

/** A value as text; equal values have equal texts. */
export function canonical(value: Value): string {
  if (value === "absent") return value;
  const { data, exp } = value;
  const sorted = typeof data === "string" || Array.isArray(data)
    ? data
    : Object.fromEntries(Object.entries(data).sort(([a], [b]) => a < b ? -1 : 1));
  return `${JSON.stringify(sorted)}${exp > 0 ? ` until ${exp}` : ""}`;
}

/** The value that is left at some time between `from` and `to`. */
function aged(value: Value, from: number, to: number): Value[] {
  if (value === "absent" || value.exp === 0 || value.exp > to + CLOCK_MS) return [value];
  return value.exp < from - CLOCK_MS ? ["absent"] : [value, "absent"];
}

/** A write on a value, run at some time between `from` and `to`. */
function apply(before: Value, write: Exclude<Write, { do: "restore" }>, from: number, to: number): Value[] {
  return aged(before, from, to).flatMap((value): Value[] => {
    const there = value === "absent" ? { data: undefined, exp: 0 } : value;
    switch (write.do) {
      case "set":
        return [{ data: write.value, exp: 0 }];
      case "hset":
        return [{ data: { ...there.data as Record<string, string>, [write.field]: write.value }, exp: there.exp }];
      case "rpush":
        return [{ data: [...(there.data as string[] | undefined) ?? [], write.value], exp: there.exp }];
      case "expire":
        return value === "absent" ? [value] : aged({ data: value.data, exp: write.at }, from, to);
      case "remove":
        return ["absent"];
    }
  });
}

function unique(values: Value[]): Value[] {
  return [...new Map(values.map((value) => [canonical(value), value])).values()];
}
