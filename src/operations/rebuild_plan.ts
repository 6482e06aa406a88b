/**
 * The plan of a rebuild: what it would do, from a walk that changes nothing. Unlike the rebuild itself it keeps the
 * newest version of each key in memory, some 200 bytes a key.
 * @module
 */
import { placeOf } from "../archive/place.ts";
import type { TundraError } from "../base/errors.ts";
import { versionMicros } from "../base/keys.ts";
import { wallClockMs } from "../base/platform.ts";
import { EXPIRED_MS } from "../scripts/prelude.ts";
import type { ArchivedKey } from "../scripts/raise.ts";
import { readState } from "../scripts/read_state.ts";
import type { RebuildCounts } from "../scripts/rebuild.ts";
import { inRequests, keyBytes } from "../upstash/requests.ts";
import { type Walk, walkArchive } from "./rebuild_walk.ts";

type Newest = Pick<ArchivedKey, "ver" | "what" | "exp">;

/** The effects that a rebuild would have. */
export interface Plan {
  /** `false` if a bound was reached: it is incomplete. */
  done: boolean;
  counts: RebuildCounts;
  /** Keys of which several versions are the newest. */
  rivals: string[];
  damaged: TundraError[];
}

/** Plans a rebuild of the archive that is walked. */
export async function planRebuild(walk: Walk): Promise<Plan> {
  const { bounds } = walk;
  const counts = { keys: 0, evicted: 0, gone: 0, resident: 0, lost: 0, objects: 0, packs: 0, copied: 0 };
  const plan: Plan = { done: false, counts, rivals: [], damaged: [] };
  const newest = new Map<string, Newest>();
  for await (const { found, objects, packs, damaged, next } of walkArchive(walk, { stage: "walk" })) {
    counts.objects += objects;
    counts.packs += packs;
    plan.damaged.push(...damaged);
    for (const { key, ver, what, exp } of found) newest.set(key, newerOf(newest.get(key), { ver, what, exp }));
    plan.done = next.stage === "end";
    bounds.progress(newest.size);
  }
  counts.keys = newest.size;
  const states = await inRequests(
    [...newest.keys()],
    keyBytes,
    bounds.context.connection.requestLimit,
    async (some) => {
      plan.done &&= bounds.mayBegin();
      return plan.done ? (await readState(bounds.context.index, some, bounds.call)).states : [];
    },
  );
  for (const { key, exists } of states) {
    const { what, exp } = newest.get(key)!;
    const isOver = exp > 0 && exp + EXPIRED_MS <= wallClockMs();
    if (exists) counts.resident++;
    else if (what === "value" && !isOver) counts.evicted++;
    else if (what !== "rivals") counts.gone++;
    else {
      counts.lost++;
      plan.rivals.push(key);
    }
  }
  return plan;
}

function newerOf(known: Newest | undefined, other: Newest): Newest {
  const [has, is] = [versionMicros(known?.ver ?? ""), versionMicros(other.ver)];
  if (known === undefined || is > has) return other;
  if (is < has || (known.what === other.what && placeOf(known.ver).ver === placeOf(other.ver).ver)) return known;
  return { ...known, what: "rivals" };
}
