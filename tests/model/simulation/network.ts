/**
 * The network between a store and its servers: requests that are late, lost, doubled or cut short, servers that are
 * full or refuse their client, processes that die in between.
 * @module
 */
import type { Freezer } from "../../../src/archive/freezer.ts";
import { onAbort } from "../../../src/base/abort.ts";
import type { Datastore, DatastoreCallOptions } from "../../../src/datastores/datastore.ts";
import {
  type Answer,
  answerRequest,
  requestCommands,
  responseOf,
  TRANSACTION_REFUSED,
  utf8,
} from "../redis/endpoint.ts";
import { type ModelRedis, RedisError, type RedisReply, type RedisState } from "../redis/redis.ts";
import { describeCommand, onlyRead, scriptName, scriptOf } from "../redis/scripts.ts";
import { type ArchiveEntry, flipInPlace, FREEZER_ID, readEntries } from "./objects.ts";
import { type Oracle, type SimulatedOp, Violation } from "./oracle.ts";
import type { SimulatedWorld } from "./scheduler.ts";

/** A process: it has a store, and may die at any await. */
export interface Process {
  readonly name: string;
  dead: boolean;
  /** Told of each listing, as it is answered. */
  onListing?: (prefix: string) => void;
  /** Its current operations. */
  readonly ops: Set<SimulatedOp>;
}

/** Rates of faults, in a thousand. */
export interface Faults {
  /** The number of faults that are left. */
  left: number;
  /** Of requests to Redis, and to the datastore. */
  redis: number;
  store: number;
  /** Of datastore requests: refused for the object's own sake. */
  poison: number;
  /** Of uploads: nothing is stored, and the datastore resolves with something else than true. */
  lies: number;
  /** Of reads: answered by a replica that is behind. */
  stale: number;
  /** Redis refuses the token; the archive refuses its client, or is full. */
  redisDenied: boolean;
  storeDenied: boolean;
  /** Freezers wait for a service, which fails at this rate, or is down; `undefined`: they need none. */
  freezer: number | undefined;
  freezerDown: boolean;
  /** A key whose uploaders die. */
  killer: string | undefined;
  /** Redis refuses to show this key (`*`: any), in its slot, or a gateway fails over the whole request. */
  hidden: { key: string; how: "slot" | "gateway" } | undefined;
  /** Each upload of this key meets trouble that passes for others. */
  odd: string | undefined;
  /** The archive refuses every object, as if for its own sake. */
  refusesAll: boolean;
  /** Redis takes no longer request. */
  requestBytes: number;
  /** Redis gives no longer reply; what was asked for is done all the same. */
  replyBytes: number;
  /** The archive does not know conditional uploads: it puts them as any other. */
  unconditional: boolean;
  /** The number of requests to Redis that got no answer in time, or none that says what became of them. */
  unheard: number;
  /** The outcome of this request, if that is decided beforehand; it is asked when the request is sent. */
  plan?: (request: Sent) => RedisOutcome | StoreOutcome | undefined;
}

/** A request as it is sent. */
export interface Sent {
  process: Process;
  to: "redis" | "store";
  /** True if it makes no difference whether it takes effect, nor how often. */
  reads: boolean;
  /** The call of the datastore, or Redis' commands in their JSON. */
  what: string;
}

/** The error of an archive that refuses one object. */
export const REFUSED = "refused";

/** The errors that a datastore makes. */
export interface ErrorMaker {
  /** The store's trouble, or (not retryable) a refusal of this object. */
  unavailable(message: string, retryable: boolean): Error;
  notFound(name: string): Error;
  /** A name that must be new is taken. */
  taken(name: string): Error;
}

/** The network, and the archive at its other end. */
export interface Network {
  readonly faults: Faults;
  fetchFor(process: Process): typeof fetch;
  datastoreFor(process: Process): Datastore;
  freezerFor(process: Process): Freezer;
  /** Answers for a key service of a process: it may fail. */
  serviceFor<T>(process: Process, what: string, answer: () => T): T | Promise<T>;
}

/** A request on its way, and what can come of it. */
interface Request<T> {
  /** It takes effect. */
  act(): T;
  answered(result: T): void;
  failed(): void;
  /** It arrives later, or never. */
  late(what: string): void;
}

/** The process dies: nothing of it happens any more, bar what is in the network already. */
export function kill(process: Process, oracle: Oracle): void {
  process.dead = true;
  for (const op of process.ops) oracle.end(op, false);
}

/** The time for which clients wait for Redis (see `timeoutMs` in simulation.ts). */
const PATIENCE_US = 10_000_000;
/** Nothing is under way for longer: the record of a removed key outlives it by a day, so that late copies find it. */
const OLDEST_US = 20 * 3_600_000_000;

/** Makes one. */
export function makeNetwork(world: SimulatedWorld, redis: ModelRedis, oracle: Oracle, errors: ErrorMaker): Network {
  const { choices } = world;
  const past: { state: RedisState; after: number }[] = [];
  let executed = 0;
  const faults: Faults = {
    left: 0,
    redis: 0,
    store: 0,
    poison: 0,
    lies: 0,
    stale: 0,
    redisDenied: false,
    storeDenied: false,
    freezer: undefined,
    freezerDown: false,
    killer: undefined,
    hidden: undefined,
    odd: undefined,
    refusesAll: false,
    unheard: 0,
    requestBytes: Infinity,
    replyBytes: Infinity,
    unconditional: false,
  };

  function strikes(rate: number): boolean {
    if (faults.left <= 0 || !choices.chance(rate)) return false;
    faults.left--;
    return true;
  }

  /** Outcomes of requests of both kinds. */
  function meets<T>(process: Process, outcome: RedisOutcome | StoreOutcome, request: Request<T>): void {
    const { act, answered, failed, late } = request;
    switch (outcome) {
      case "reset before":
        return failed();
      case "reset after":
        act();
        return failed();
      case "hangs":
        return;
      case "hangs after":
        return void act();
      case "twice":
        answered(act());
        return late("a second copy");
      case "late":
        late("a late request");
        return failed();
      case "late, and hangs":
        return late("a late request");
      case "dies before":
        return kill(process, oracle);
      case "dies after":
        act();
        return kill(process, oracle);
      case "dies, and it comes late":
        late("a late request");
        return kill(process, oracle);
    }
  }

  // ---- Redis

  /** Replicas are as new as the sync token says, or newer. */
  function execute(url: string, body: string, ops: readonly SimulatedOp[], name: string, token: string): Answer {
    if (body.length * 3 > faults.requestBytes && utf8(body).length > faults.requestBytes) {
      world.note(() => `${name}: a request of ${body.length} bytes is refused`);
      return { status: 413, body: "<html>" };
    }
    if (faults.redisDenied) {
      faults.unheard++;
      return { status: 401, body: `{"error":"WRONGPASS"}` };
    }
    if (redis.full && url.endsWith("/multi-exec")) {
      return TRANSACTION_REFUSED;
    }
    const hides = (command: readonly string[]) =>
      faults.hidden !== undefined && command[0] === "DUMP" &&
      (faults.hidden.key === "*" || faults.hidden.key === command[1]);
    if (faults.hidden?.how === "gateway" && requestCommands(body).some(hides)) {
      return { status: 502, body: "<html>bad gateway</html>" };
    }
    let first = true;
    const run = (command: readonly string[]): RedisReply => {
      if (hides(command)) throw new RedisError("NOPERM this user has no permissions to run the 'dump' command");
      // others come in between the commands of a pipeline
      while (!first && url.endsWith("/pipeline") && world.ready.length > 0 && choices.chance(200)) {
        world.ready.splice(choices.int(world.ready.length), 1)[0]!.run();
      }
      first = false;
      world.note(() => `${name}: ${describeCommand(command, redis)}`);
      try {
        const reply = oracle.run(command, ops);
        noteLeases(name, command, reply);
        world.note(() => `    -> ${JSON.stringify(reply)}`);
        return reply;
      } catch (error) {
        world.note(() => `    -> ${error}`);
        throw error;
      }
    };
    if (faults.stale > 0) {
      past.push({ state: redis.save(), after: executed });
      if (past.length > 12) past.shift();
      const known = past.filter(({ after }) => after >= Number(token));
      if (isRead(body) && strikes(faults.stale)) {
        const now = redis.save();
        const { state, after } = known[choices.int(known.length)]!;
        redis.load(state);
        world.note(() => `${name}: a replica that is behind answers`);
        const answer = answerRequest(body, (command) => redis.run(command));
        redis.load(now);
        return { ...answer, token: String(after) };
      }
    }
    const answer = { ...answerRequest(body, run), token: String(++executed) };
    if (answer.body.length <= faults.replyBytes) return answer;
    world.note(() => `${name}: a reply of ${answer.body.length} bytes is refused`);
    return { status: 400, body: `{"error":"ERR max response size exceeded"}` };
  }

  function fetchFor(process: Process): typeof fetch {
    let requests = 0;
    const heard = { request: 0, token: "", was: "", atUs: 0 };
    return (url, init) =>
      new Promise((resolve, reject) => {
        if (process.dead) return;
        const body = init!.body as string;
        const request = ++requests;
        const token = (init!.headers as Record<string, string>)["Upstash-Sync-Token"] ?? "";
        const expected = heard.token;
        const isJustHeard = world.nowUs === heard.atUs && token === heard.was; // its reader has not come to its turn
        const ops = [...process.ops];
        const sentUs = world.nowUs;
        const answered = (answer: Answer) =>
          world.ready.push({
            owner: process,
            run() {
              if (world.nowUs - sentUs >= PATIENCE_US) faults.unheard++;
              if (answer.token !== undefined && request > heard.request && !init!.signal?.aborted) {
                Object.assign(heard, { request, token: answer.token, was: heard.token, atUs: world.nowUs });
              }
              resolve(responseOf(answer));
            },
          });
        const failed = () => world.ready.push({ owner: process, run: () => reject(new TypeError("connection reset")) });
        const act = () => execute(String(url), body, ops, process.name, token);
        const planned = faults.plan?.({ process, to: "redis", reads: onlyRead(requestCommands(body)), what: body });
        const copy = (what: string) => {
          world.late.push({
            run() {
              if (world.nowUs - sentUs > OLDEST_US) return;
              world.note(() => `${what} of ${process.name} arrives:`);
              act();
            },
          });
        };
        // in the network already: it arrives also if its sender dies
        world.ready.push({
          run() {
            if (world.nowUs - sentUs > OLDEST_US) return;
            if (token !== expected && !isJustHeard) {
              const what = `${process.name} asks for what was after ${token || "nothing"}, not after ${expected}`;
              throw new Violation("8 a read asks for what its process has written last", what);
            }
            if (planned === undefined && !strikes(faults.redis)) return answered(act());
            const outcome = planned ?? choices.pick(REDIS_OUTCOMES);
            faults.unheard++;
            world.note(() => `${process.name}: ${outcome}`);
            switch (outcome) {
              case "cut short": {
                const answer = act();
                const length = planned ? answer.body.length >> 1 : choices.int(answer.body.length);
                return answered({ ...answer, body: answer.body.slice(0, length) });
              }
              case "500 after":
                act();
                return answered({ status: 500, body: "{}" });
              case "503 before":
                return answered({ status: 503, body: `{"error":"busy"}` });
              default:
                return meets(process, outcome, { act, answered, failed, late: copy });
            }
          },
        });
      });
  }

  // ---- leases

  /**
   * When the latest lease of a process and a key ends, by the time that really passes: if Redis goes back, another process
   * may lease the key meanwhile.
   */
  const leasesEnd = new Map<string, number>();

  function noteLeases(name: string, command: readonly string[], reply: RedisReply): void {
    const source = scriptOf(command, redis);
    const script = source === undefined ? "" : scriptName(source);
    const args = command.slice(3 + Number(command[2]));
    const until = (leaseMs: string | undefined) => world.nowUs + Number(leaseMs) * 1000;
    if (script === "claim") {
      const [, [, , , keys]] = reply as [number, [string, string, string, string[]]]; // behind the count of commands
      for (const key of keys) leasesEnd.set(`${name} ${key}`, until(args[2]));
    }
    if (script === "begin") leasesEnd.set(`${name} ${args[0]}`, until(args[2]));
  }

  // ---- the archive

  function ask<T>(
    process: Process,
    options: DatastoreCallOptions | undefined,
    what: string,
    act: () => T,
    mayCome: "late" | "never",
  ): Promise<T> {
    options?.onRequest?.();
    return new Promise((resolve, reject) => {
      if (process.dead) return;
      const { signal } = options ?? {};
      if (signal?.aborted) return reject(signal.reason);
      const unavailable = (message: string) => errors.unavailable(message, true);
      if (signal) onAbort(signal, () => reject(signal.reason));
      const answered = (then: () => void) => world.ready.push({ owner: process, run: then });
      const execute = (): T => {
        world.note(() => `${process.name}: ${what}`);
        return act();
      };
      const sentUs = world.nowUs;
      const comesLate = () => {
        world.late.push({
          run() {
            if (world.nowUs - sentUs <= OLDEST_US) execute();
          },
        });
      };
      const planned = faults.plan?.({ process, to: "store", reads: mayCome === "never", what });
      world.ready.push({
        run() {
          if (faults.storeDenied) return answered(() => reject(unavailable("access denied, or full")));
          if (faults.odd !== undefined && what.startsWith("PUT") && what.includes(` ${faults.odd} `)) {
            return answered(() => reject(unavailable("HTTP 500")));
          }
          if (faults.refusesAll && what.startsWith("PUT")) {
            return answered(() => reject(errors.unavailable(REFUSED, false)));
          }
          if (what.startsWith("PUT") && strikes(faults.poison)) {
            world.note(() => `${process.name}: ${what}: the object itself is refused`);
            return answered(() => reject(errors.unavailable(REFUSED, false)));
          }
          if (what.startsWith("PUT") && strikes(faults.lies)) {
            world.note(() => `${process.name}: ${what}: false, and nothing is stored`);
            return answered(() => resolve(false as T));
          }
          if (planned === undefined && !strikes(faults.store)) {
            const result = execute();
            return answered(() => resolve(result));
          }
          const outcome = planned ?? choices.pick(mayCome === "late" ? STORE_OUTCOMES : STORE_OUTCOMES.slice(0, 2));
          world.note(() => `${process.name}: ${what}: ${outcome}`);
          if (outcome === "refused") return answered(() => reject(errors.unavailable(REFUSED, false)));
          meets(process, outcome, {
            act: execute,
            answered: (result) => answered(() => resolve(result)),
            failed: () => answered(() => reject(unavailable("connection reset"))),
            late: comesLate,
          });
        },
      });
    });
  }

  /** The versions in an object; whether it is well-formed is asked when it arrives. */
  function contentsOf(name: string, bytes: Uint8Array): ArchiveEntry[] {
    try {
      return readEntries(name, bytes, (wrong) => {
        throw new Error(wrong);
      });
    } catch {
      return [];
    }
  }

  function datastoreFor(process: Process): Datastore {
    return {
      timeoutMs: 5_000, // what hangs here does so for ever: Tundra gives it up, after twice that and 10 s
      putKey(name, value, options) {
        const bytes = new Uint8Array(value);
        const entries = contentsOf(name, bytes);
        if (entries.some(({ key }) => key === faults.killer)) {
          world.note(() => `${process.name} dies over ${name}`);
          process.dead = true;
        }
        const ops = [...process.ops];
        const late = entries.find(({ key, ver }) =>
          name.endsWith(ver) && world.nowUs > (leasesEnd.get(`${process.name} ${key}`) ?? Infinity)
        );
        const what = `PUT ${name} of ${entries.map(({ key }) => key).join(" ")} `;
        const answer = ask<true | "taken">(process, options, what, () => {
          if (options?.ifAbsent && !faults.unconditional && oracle.archive.has(name)) return "taken";
          if (late) throw new Violation("3 no upload begins after its lease", `${process.name} puts ${late.key}`);
          oracle.put(name, bytes, ops);
          return true;
        }, "late");
        return answer.then((stored) => {
          if (stored === "taken") throw errors.taken(name);
          return stored;
        });
      },
      fetchKeys: (names, options) =>
        ask(
          process,
          options,
          `GET ${names}`,
          () => names.map((name) => oracle.archive.get(name)?.bytes.slice() ?? errors.notFound(name)),
          "never",
        ),
      fetchRanges: (reads, options) =>
        ask(
          process,
          options,
          `GET ${reads.map(({ name, offset, length }) => `${name} ${offset}+${length}`)}`,
          () =>
            reads.map(({ name, offset, length }) => {
              const range = oracle.archive.get(name)?.bytes.slice(offset, offset + length);
              if (range === undefined) return errors.notFound(name);
              return range.length === length ? range : errors.unavailable(`${name} ends before the range`, false);
            }),
          "never",
        ),
      deleteKeys(names, options) {
        const ops = [...process.ops];
        return ask(process, options, `DELETE ${names}`, () => oracle.drop(names, ops), "late");
      },
      hasKeys: (names, options) =>
        ask(process, options, `HEAD ${names}`, () => names.map((name) => oracle.archive.has(name)), "never"),
      listKeys: (prefix, _cursor, options) =>
        ask(process, options, `LIST ${prefix}`, () => {
          process.onListing?.(prefix);
          return { names: [...oracle.archive.keys()].filter((name) => name.startsWith(prefix)).sort() };
        }, "never"),
    };
  }

  // ---- freezing

  /** At once; if `faults.freezer` is set it waits, and may fail. */
  function serviceFor<T>(process: Process, what: string, answer: () => T): T | Promise<T> {
    if (faults.freezer === undefined) return answer();
    return new Promise((resolve, reject) => {
      world.ready.push({
        owner: process,
        run() {
          const fails = faults.freezerDown || strikes(faults.freezer!);
          world.note(() => `${process.name}: ${what}${fails ? ": its service fails" : ""}`);
          if (fails) reject(new Error("the key service is down"));
          else resolve(answer());
        },
      });
    });
  }

  /** Works in place. */
  function freezerFor(process: Process): Freezer {
    const work = (what: string) => (bytes: Uint8Array): Uint8Array | Promise<Uint8Array> =>
      serviceFor(process, `a freezer ${what}`, () => flipInPlace(bytes));
    return { id: FREEZER_ID, freeze: work("freezes"), thaw: work("thaws") };
  }

  return { faults, fetchFor, datastoreFor, freezerFor, serviceFor };
}

const REDIS_OUTCOMES = [
  "reset before",
  "503 before",
  "reset after",
  "hangs after",
  "500 after",
  "cut short",
  "twice",
  "twice",
  "twice",
  "late",
  "late, and hangs",
] as const;

const STORE_OUTCOMES = ["reset before", "hangs", "reset after", "hangs after", "late"] as const;

/** Outcomes of any request. */
type RequestOutcome =
  | typeof STORE_OUTCOMES[number]
  | "late, and hangs"
  | "twice"
  | "dies before"
  | "dies after"
  | "dies, and it comes late";

/** Outcomes of a request to Redis. */
export type RedisOutcome = RequestOutcome | typeof REDIS_OUTCOMES[number];

/** Outcomes of a request to the datastore. */
export type StoreOutcome = RequestOutcome | "refused";

/** Tells if a replica may answer this. */
function isRead(body: string): boolean {
  const commands = requestCommands(body);
  return commands.length === 1 && /^(EVALSHA_RO|MGET|GET|ZRANGE|ZRANGEBYSCORE|TIME)$/i.test(commands[0]![0]!);
}
