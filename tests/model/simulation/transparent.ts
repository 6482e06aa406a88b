/**
 * Schedules in which applications use a transparent client alone: they neither ensure nor mark. Under all faults that
 * there are, a read gives what the key holds, be it in Redis or in the archive; nothing is written beside a value that is
 * away, and what a call has changed is marked.
 * @module
 */
import type { Redis } from "@upstash/redis";
import type { Choices } from "./choices.ts";
import { SAW, Violation } from "./oracle.ts";
import { type Outcome, runSchedule, type Subject } from "./simulation.ts";
import { call, checkDel, command, evict, type Operation, type SimulatedBench, staleRuns } from "./workload.ts";

/** Plays one; the same choices, the same schedule. */
export async function runTransparent(subject: Subject, choices: Choices, log?: string[]): Promise<Outcome> {
  const clients = new WeakMap<object, Redis>();
  const clientOf = ({ store }: SimulatedBench): Redis => {
    let client = clients.get(store);
    if (!client) clients.set(store, client = subject.transparentRedis(store));
    return client;
  };
  const all = operations(clientOf);
  return await runSchedule(subject, choices, log, (choices) => choices.pick(all));
}

const one = ({ choices, keys }: SimulatedBench): string => choices.pick(keys);

/** A change: what it resolved with, unless that says that nothing was changed, must be marked. */
async function change(
  bench: SimulatedBench,
  name: string,
  keys: readonly string[],
  act: () => Promise<unknown>,
): Promise<void> {
  const { oracle } = bench;
  await call(bench, `transparent ${name}`, keys, act, (op, value, error) => {
    const nothing = value === undefined || value === null || value === 0;
    if (error !== undefined || nothing || oracle.leniency.rolledBack) return;
    for (const key of keys) {
      // of a key that nobody had marked nothing is left; another client may have deleted it in the middle of a pipeline
      const isGone = ["getdel", "batch"].includes(name) && (op.saw.get(key)! & SAW.absent) !== 0;
      if (!isGone && !oracle.markedSince(key, op.startedAt)) {
        throw new Violation("1 a change that resolved is marked", key);
      }
    }
  });
}

/** A read: its answer was the key's value at some moment of the call. */
async function read(bench: SimulatedBench, key: string, act: () => Promise<string | null>): Promise<void> {
  const { oracle, world } = bench;
  let shown: string | null = null;
  const noted = async () => {
    shown = await act();
    return shown ?? "nothing";
  };
  await call(bench, "transparent get", [key], noted, (op, found, error) => {
    const { rolledBack, lostObjects } = oracle.leniency;
    const isBlind = (op.saw.get(key)! & SAW.blind) !== 0; // written by others: Redis shows that
    if (error !== undefined || rolledBack || lostObjects || isBlind || staleRuns.has(world)) return;
    if (!op.outcomes!.has(found!)) {
      throw new Violation(
        "a read gives what the key holds",
        `${key}: ${found}, and it was ${[...op.outcomes!].join(" or ")}`,
      );
    }
  });
}

function operations(clientOf: (bench: SimulatedBench) => Redis): Operation[] {
  const append: Operation = async (bench) => {
    const key = one(bench);
    await change(bench, "append", [key], () => clientOf(bench).append(key, bench.fresh()));
  };
  const get: Operation = async (bench) => {
    const key = one(bench);
    await read(bench, key, () => clientOf(bench).get<string>(key));
  };
  const leave: Operation = (bench) => evict(bench, bench.choices.chance(500) ? [one(bench)] : bench.keys);
  return [
    ...[get, get, get, append, append, append, append, leave, leave, leave],
    async (bench) => {
      const key = one(bench);
      await change(bench, "set", [key], () => clientOf(bench).set(key, bench.fresh()));
    },
    async (bench) => {
      const values = Object.fromEntries(bench.keys.map((key) => [key, bench.fresh()]));
      await change(bench, "mset", bench.keys, () => clientOf(bench).mset(values));
    },
    async (bench) => {
      const key = one(bench);
      await change(bench, "getdel", [key], () => clientOf(bench).getdel(key));
    },
    async (bench) => {
      const key = one(bench);
      await call(bench, "del", [key], () => clientOf(bench).del(key), (op, _value, error) => {
        checkDel(bench.oracle, op, error);
      });
    },
    async (bench) => {
      const key = one(bench);
      await command(bench, [key], () => bench.store.redis.del(key)); // behind its back: the archived value lives
    },
    async (bench) => {
      const key = one(bench);
      const at = Math.floor(bench.world.redisUs() / 1000) + bench.choices.pick([2 * 3_600_000, 1_500, 40 * 3_600_000]);
      await change(bench, "pexpireat", [key], () => clientOf(bench).pexpireat(key, at));
    },
    async (bench) => {
      const key = one(bench);
      await change(bench, "persist", [key], () => clientOf(bench).persist(key));
    },
    async (bench) => {
      const [key, other] = [one(bench), one(bench)];
      const batch = bench.choices.chance(500) ? clientOf(bench).multi() : clientOf(bench).pipeline();
      batch.append(key, bench.fresh()).set(other, bench.fresh()).get(key);
      await change(bench, "batch", [...new Set([key, other])], () => batch.exec());
    },
  ];
}
