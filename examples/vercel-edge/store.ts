/**
 * The store of this application, made from Vercel's environment variables at its first use.
 */
import { tundraFromEnv, type TundraStore } from "@tundra/store";

const WEEK_MS = 7 * 24 * 60 * 60 * 1000;
let made: TundraStore | undefined;

export function store(): TundraStore {
  return made ??= tundraFromEnv({ redisTtlMs: WEEK_MS });
}
