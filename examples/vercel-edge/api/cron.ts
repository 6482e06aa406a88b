/**
 * `GET /api/cron`: Vercel calls it as vercel.json says, with the variable CRON_SECRET.
 */
import { cronHandler } from "@tundra/store/http";
import { store } from "../store.ts";

declare const process: { env: Record<string, string | undefined> };

export const config = { runtime: "edge" };

export const GET = cronHandler(store, { secret: process.env.CRON_SECRET, deadlineMs: 15_000 });
