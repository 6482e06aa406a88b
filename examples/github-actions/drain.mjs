/**
 * Ticks until nothing is due, for DRAIN_MINUTES at most. Any number of these may run at once. The log names no key, as
 * the logs of a public repository are public.
 */
import process from "node:process";
import { setTimeout } from "node:timers/promises";
import { tundraFromEnv } from "@tundra/store";

const store = tundraFromEnv();
const end = Date.now() + 60_000 * Number(process.env.DRAIN_MINUTES ?? 10);
let total = 0;
for (;;) {
  const { frozen, remaining, dead, done, errors } = await store.tick({ deadlineMs: 30_000, nthreads: 16 });
  total += frozen;
  const codes = [...new Set(errors.map(({ code }) => code))].join(", ");
  console.log(`archived ${frozen}, ${remaining} wait${codes && `, errors: ${codes}`}`);
  if (dead > 0) process.exitCode = 1; // a run that fails is mailed: somebody has to look at dead letters
  if (done || Date.now() >= end) break;
  if (frozen === 0) await setTimeout(5_000); // what failed is due again later
}
console.log(`archived ${total} in all`);
