/**
 * Processes that are explored: the shipped code in a process is deterministic, so what it does next is a function of
 * what it has been told since its start (replies, failures, timers, time). That function is learnt as a tree: a node
 * for each such history, with the requests that are open after it. The code itself runs only if a history is new; it
 * cannot be copied, so a history whose process is no longer at hand is played again from its start, and must ask for
 * the same again.
 * @module
 */
import { setImmediate } from "node:timers";
import type { TundraError, TundraStore } from "../../../mod.ts";
import type { Platform } from "../../../src/base/platform.ts";
import type { Datastore, DatastoreCallOptions } from "../../../src/datastores/datastore.ts";
import { type Answer, requestCommands, responseOf } from "../redis/endpoint.ts";
import { sha1 } from "../redis/redis.ts";
import { digest } from "../redis/scripts.ts";
import { REFUSED } from "../simulation/network.ts";
import type { SimulatedOp } from "../simulation/oracle.ts";
import type { Subject } from "../simulation/simulation.ts";
import type { OracleView } from "../simulation/workload.ts";

/** The role of a process. */
export interface Program {
  readonly name: string;
  /** Its nonces begin with this: no two processes draw the same, and what they draw does not depend on others. */
  readonly number: number;
  /** It reads no clock: what is not a tick only waits, and never for as long as time passes here. */
  readonly timeless?: boolean;
  /** It dies after so many requests. */
  readonly dies?: number;
  run(actor: Actor): Promise<unknown>;
}

/** The check of the answer of a call; `stale`: a replica may have answered. */
export type CallView = OracleView & { stale: boolean };

/** A call of the store under way. */
export interface ExploredCall {
  /** The number of calls before it. */
  readonly index: number;
  readonly kind: string;
  readonly keys: readonly string[];
}

/** The means of a program. */
export interface Actor {
  readonly store: TundraStore;
  /** Makes a call whose answer `check` checks, later and perhaps often; `undefined`: it failed. */
  call<T>(
    kind: string,
    keys: readonly string[],
    act: () => Promise<T>,
    check: (view: CallView, op: SimulatedOp, value: T | undefined, error: TundraError | undefined) => void,
  ): Promise<{ value: T } | undefined>;
}

/** A call has ended. */
export interface CallEnd {
  readonly call: ExploredCall;
  readonly succeeded: boolean;
  readonly line: string;
  check(view: CallView, op: SimulatedOp): void;
}

/** The effect that a request asks for. */
export type Demand =
  | { to: "redis"; transaction: boolean; batch: boolean; commands: string[][] }
  | { to: "put"; name: string; bytes: Uint8Array }
  | { to: "get" | "head" | "delete"; names: readonly string[] }
  | { to: "list"; prefix: string };

/** A request that is under way. */
export interface OpenRequest {
  /** The number of requests of its process before it. */
  readonly id: number;
  readonly demand: Demand;
  /** The same number for the same demand, whoever makes it. */
  readonly same: number;
  readonly call: ExploredCall | undefined;
}

/** An answer to a process. */
export type Input =
  & { readonly key: number }
  & (
    | { kind: "answer"; id: number; answer: Answer }
    | { kind: "reset"; id: number }
    | { kind: "value"; id: number; value: unknown }
    | { kind: "refusal"; id: number; retryable: boolean }
    | { kind: "timer" }
    | { kind: "time"; us: number }
  );
type NewInput = Input extends infer Each ? Each extends Input ? Omit<Each, "key"> : never : never;

/** A history. */
export interface ProcessNode {
  readonly id: number;
  readonly program: Program;
  readonly parent: ProcessNode | undefined;
  readonly input: Input | undefined;
  readonly children: Map<number, ProcessNode>;
  readonly open: readonly OpenRequest[];
  /** Calls that ended with its last input. */
  readonly ended: readonly CallEnd[];
  readonly done: boolean;
  readonly result: unknown;
  /** Its own clock, microseconds since it started. */
  readonly clockUs: number;
  instance: Instance | undefined;
}

/** Options of the stores. */
export interface StoreSettings {
  retries: number;
  redisTtlMs: number | undefined;
}

/** Learns what processes do. */
export interface ProcessTree {
  start(program: Program): ProcessNode | Promise<ProcessNode>;
  /** The node after this input. */
  after(node: ProcessNode, input: Input): ProcessNode | Promise<ProcessNode>;
  input(input: NewInput): Input;
  /** The number of a demand. */
  same(demand: Demand): number;
  readonly counts: { nodes: number; started: number; played: number };
  close(): void;
}

const START_US = 1_700_000_000_000_000;
const STORE_TIMEOUT_MS = 90_000;
/** Longer than any time that passes by itself here: what runs into it was made to hang. */
export const REDIS_TIMEOUT_MS = 100_000;
/** Processes kept at hand. */
const KEPT = 2_000;

interface Timer {
  at: number;
  act: () => void;
}

/** A process that runs. */
interface Instance {
  program: Program;
  nowUs: number;
  drawn: number;
  requests: number;
  timers: Timer[];
  open: Map<number, { request: OpenRequest; resolve: (value: unknown) => void; reject: (error: unknown) => void }>;
  call: ExploredCall | undefined;
  calls: number;
  ended: CallEnd[];
  done: boolean;
  result: unknown;
  failure: unknown;
}

/** Makes one. It takes over the subject's platform until it is closed. */
export function processTree(subject: Subject, settings: StoreSettings): ProcessTree {
  const roots = new Map<Program, ProcessNode>();
  const numbers = new Map<string, number>();
  const counts = { nodes: 0, started: 0, played: 0 };
  const kept: ProcessNode[] = [];
  let current: Instance;

  const numberOf = (text: string): number => {
    let number = numbers.get(text);
    if (number === undefined) numbers.set(text, number = numbers.size + 1);
    return number;
  };

  const platform: Platform = {
    // an application asks only for how long a fetch has been shared, and none of these makes two calls at once
    monotonicMs: () => current.program.timeless ? 0 : clockUs() / 1000,
    wallClockMs: () => Math.floor(clockUs() / 1000),
    uuid: () => `uuid-${drawn()}`,
    nonce: drawn,
    random: () => 0.5,
    leastDurationMs: 1,
    after(ms, act) {
      const { timers, nowUs } = current;
      const timer = { at: nowUs + ms * 1000, act };
      timers.push(timer);
      return () => {
        const i = timers.indexOf(timer);
        if (i >= 0) timers.splice(i, 1);
      };
    },
    digest,
  };
  subject.setPlatform(platform);

  function clockUs(): number {
    if (current.program.timeless) throw new Error(`${current.program.name} reads a clock`);
    return current.nowUs;
  }

  function drawn(): string {
    return (current.program.number * 0x10000 + ++current.drawn).toString(16).padStart(8, "0");
  }

  // ---- the process' side of the network

  function opened(instance: Instance, demand: Demand, signal: AbortSignal | undefined) {
    return new Promise<unknown>((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const id = instance.requests++;
      const request = { id, demand, same: same(demand), call: instance.call };
      const settle = (act: (value: unknown) => void) => (value: unknown) => {
        instance.open.delete(id); // or nobody waits for it any more
        act(value);
      };
      const open = { request, resolve: settle(resolve), reject: settle(reject) };
      instance.open.set(id, open);
      signal?.addEventListener("abort", () => open.reject(signal.reason), { once: true });
    });
  }

  function same(demand: Demand): number {
    if (demand.to === "put") return numberOf(`put ${demand.name} ${sha1(String.fromCharCode(...demand.bytes))}`);
    return numberOf(JSON.stringify(demand));
  }

  function storeOf(instance: Instance): TundraStore {
    const redis: typeof fetch = (url, init) => {
      const body = init!.body as string;
      const demand: Demand = {
        to: "redis",
        transaction: String(url).endsWith("/multi-exec"),
        batch: body.startsWith("[["),
        commands: requestCommands(body),
      };
      return opened(instance, demand, init!.signal ?? undefined) as Promise<Response>;
    };
    const ask = <T>(demand: Demand, options: DatastoreCallOptions | undefined): Promise<T> => {
      options?.onRequest?.();
      return opened(instance, demand, options?.signal) as Promise<T>;
    };
    const datastore: Datastore = {
      timeoutMs: STORE_TIMEOUT_MS / 2, // what hangs does so for ever: Tundra gives it up
      putKey: (name, value, options) => ask({ to: "put", name, bytes: new Uint8Array(value) }, options),
      fetchKeys: async (names, options) => {
        const found = await ask<(Uint8Array | undefined)[]>({ to: "get", names }, options);
        return found.map((bytes, i) => bytes ?? subject.notFound(names[i]!));
      },
      fetchRanges: async (reads, options) => {
        const names = reads.map(({ name }) => name);
        const found = await ask<(Uint8Array | undefined)[]>({ to: "get", names }, options);
        return reads.map(({ name, offset, length }, i) => {
          const range = found[i]?.slice(offset, offset + length);
          if (range === undefined) return subject.notFound(name);
          return range.length === length ? range : new Error(`${name} ends before the range`);
        });
      },
      deleteKeys: (names, options) => ask({ to: "delete", names }, options),
      hasKeys: (names, options) => ask({ to: "head", names }, options),
      listKeys: (prefix, _cursor, options) => ask({ to: "list", prefix }, options),
    };
    return subject.tundraStore(datastore, {
      redis: {
        url: "http://redis.model",
        token: "token",
        fetch: redis,
        retry: { retries: settings.retries, backoff: () => 50 },
        enableAutoPipelining: false,
        timeoutMs: REDIS_TIMEOUT_MS,
      },
      freezer: null,
      ...(settings.redisTtlMs !== undefined && { redisTtlMs: settings.redisTtlMs, minEvictBytes: 0 }),
    });
  }

  // ---- running it

  async function begin(program: Program): Promise<Instance> {
    counts.started++;
    const instance: Instance = {
      program,
      nowUs: START_US,
      drawn: 0,
      requests: 0,
      timers: [],
      open: new Map(),
      call: undefined,
      calls: 0,
      ended: [],
      done: false,
      result: undefined,
      failure: undefined,
    };
    current = instance;
    const actor: Actor = {
      store: storeOf(instance),
      async call(kind, keys, act, check) {
        const call = instance.call = { index: instance.calls++, kind, keys };
        const end = (succeeded: boolean, line: string, checking: CallEnd["check"]) =>
          instance.ended.push({ call, succeeded, line, check: checking });
        try {
          const value = await act();
          const line = `${kind}(${keys}) is done: ${JSON.stringify(value) ?? ""}`;
          end(true, line, (view, op) => check(view, op, value, undefined));
          return { value };
        } catch (thrown) {
          const error = thrown as TundraError;
          end(false, `${kind}(${keys}) failed: ${error}`, (view, op) => check(view, op, undefined, error));
          return undefined;
        } finally {
          instance.call = undefined;
        }
      },
    };
    program.run(actor).then((result) => {
      instance.done = true;
      instance.result = result;
    }, (error) => instance.failure = error);
    await settled(instance);
    return instance;
  }

  /** Runs it until it waits for an answer; if it waits for time alone, time passes for it: nobody else can tell. */
  async function settled(instance: Instance): Promise<void> {
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      if (instance.failure) throw instance.failure;
      if (instance.done || instance.open.size > 0) return;
      if (!fireFirst(instance, Infinity)) throw new Error(`${instance.program.name} waits for nothing`);
    }
  }

  function fireFirst(instance: Instance, latest: number): boolean {
    let first: Timer | undefined;
    for (const timer of instance.timers) if (!first || timer.at < first.at) first = timer;
    if (!first || first.at > latest) return false;
    instance.timers.splice(instance.timers.indexOf(first), 1);
    instance.nowUs = Math.max(instance.nowUs, first.at);
    first.act();
    return true;
  }

  async function tell(instance: Instance, input: Input): Promise<void> {
    counts.played++;
    current = instance;
    instance.ended = [];
    const take = (id: number) => instance.open.get(id)!;
    switch (input.kind) {
      case "answer":
        take(input.id).resolve(responseOf(input.answer));
        break;
      case "reset":
        take(input.id).reject(new TypeError("connection reset"));
        break;
      case "value":
        take(input.id).resolve(input.value);
        break;
      case "refusal": {
        const { retryable } = input;
        const why = retryable ? "connection reset" : REFUSED;
        take(input.id).reject(new subject.TundraError(retryable ? "UNAVAILABLE" : "UNSUPPORTED", why));
        break;
      }
      case "timer":
        if (!fireFirst(instance, Infinity)) throw new Error(`${instance.program.name} waits for ever`);
        break;
      case "time": {
        const until = instance.nowUs + input.us;
        while (fireFirst(instance, until)) await new Promise((resolve) => setImmediate(resolve));
        instance.nowUs = Math.max(instance.nowUs, until);
      }
    }
    await settled(instance);
  }

  // ---- the tree

  function nodeOf(instance: Instance, parent: ProcessNode | undefined, input: Input | undefined): ProcessNode {
    const node: ProcessNode = {
      id: ++counts.nodes,
      program: instance.program,
      parent,
      input,
      children: new Map(),
      open: [...instance.open.values()].map(({ request }) => request),
      ended: instance.ended,
      done: instance.done,
      result: instance.result,
      clockUs: instance.nowUs,
      instance,
    };
    if (node.done) node.instance = undefined;
    else kept.push(node);
    if (kept.length > KEPT) kept.shift()!.instance = undefined;
    return node;
  }

  /** The process itself, with this history. */
  async function instanceAt(node: ProcessNode): Promise<Instance> {
    const { instance } = node;
    node.instance = undefined;
    if (instance) return instance;
    const inputs: ProcessNode[] = [];
    for (let at = node; at.parent; at = at.parent) inputs.unshift(at);
    const again = await begin(node.program);
    for (const { input } of inputs) await tell(again, input!);
    const asked = [...again.open.values()].map(({ request }) => request.same).join();
    if (asked !== node.open.map((request) => request.same).join() || again.nowUs !== node.clockUs) {
      throw new Error(`${node.program.name} did not do the same again: it knows more than what it was told`);
    }
    return again;
  }

  async function root(program: Program): Promise<ProcessNode> {
    const node = nodeOf(await begin(program), undefined, undefined);
    roots.set(program, node);
    return node;
  }

  async function grow(node: ProcessNode, input: Input): Promise<ProcessNode> {
    const instance = await instanceAt(node);
    await tell(instance, input);
    const child = nodeOf(instance, node, input);
    node.children.set(input.key, child);
    return child;
  }

  return {
    counts,
    same,
    start: (program) => roots.get(program) ?? root(program),
    after: (node, input) => node.children.get(input.key) ?? grow(node, input),
    input(input) {
      const text = "value" in input
        ? JSON.stringify(input, (_, value) => value instanceof Uint8Array ? sha1(String.fromCharCode(...value)) : value)
        : JSON.stringify(input);
      return { ...input, key: numberOf(text) } as Input;
    },
    close: () => subject.setPlatform(),
  };
}
