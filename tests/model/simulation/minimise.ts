/**
 * A failing schedule, shortened: fewer decisions, and duller ones, that break the same promise.
 * @module
 */
import { replayedChoices } from "./choices.ts";
import { type Play, runSchedule, type Subject } from "./simulation.ts";

/** The shortest list found that ends in the same broken promise, in at most `tries` runs. */
export async function minimise(
  subject: Subject,
  choices: readonly number[],
  check: string,
  tries = 1500,
  play: Play = runSchedule,
): Promise<number[]> {
  let best = trimmed(choices);

  const better = async (candidate: number[]): Promise<boolean> => {
    if (tries-- <= 0) return false;
    const replayed = replayedChoices(candidate);
    const { violation } = await play(subject, replayed);
    if (violation?.check !== check) return false;
    // what was not asked for any more was not needed
    best = trimmed(candidate.slice(0, replayed.taken.length));
    return true;
  };

  for (let size = Math.ceil(best.length / 2); size >= 1 && tries > 0; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = best.length - size; at > -size && tries > 0; at -= size) {
      const from = Math.max(0, at);
      const end = from + size;
      if (await better([...best.slice(0, from), ...best.slice(end)])) continue;
      if (best.slice(from, end).every((choice) => choice === 0)) continue;
      await better([...best.slice(0, from), ...Array<number>(size).fill(0), ...best.slice(end)]);
    }
  }
  return best;
}

/** Zeros at the end say nothing. */
function trimmed(choices: readonly number[]): number[] {
  let end = choices.length;
  while (end > 0 && choices[end - 1] === 0) end--;
  return choices.slice(0, end);
}
