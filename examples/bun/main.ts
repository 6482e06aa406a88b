/**
 * Sessions on Bun: in Redis while they are used, in S3 once they are not. A loop in this process archives them.
 *
 *   GET    /        counts this browser's visits; the cookie `session` says whose
 *   DELETE /        signs out
 *   GET    /status  how much waits, and what the loop has done
 */
import process from "node:process";
import { tundraFromEnv } from "@tundra/store";

const DAY_MS = 24 * 60 * 60 * 1000;
const store = tundraFromEnv({ redisTtlMs: DAY_MS });

const worker = store.worker({
  throttleMs: 1_000,
  eoqBackoffMs: 1_000,
  monitor: ({ error }) => {
    if (error) console.error(`${error.code}: ${error.message}`);
  },
});
process.once("SIGTERM", async () => {
  await worker.stop(); // what is under way is completed
  process.exit(0);
});

async function visit(request: Request): Promise<Response> {
  const id = /(?:^|; )session=([\w-]{36})/.exec(request.headers.get("cookie") ?? "")?.[1] ?? crypto.randomUUID();
  const key = `session:${id}`;
  if (request.method === "DELETE") return Response.json({ signedOut: await store.del(key) === 1 });

  await store.ensureKs(key); // comes back from S3 if it was evicted
  const tx = store.redis.multi();
  tx.hincrby(key, "visits", 1);
  tx.pexpire(key, 90 * DAY_MS); // its own expiry is archived with it
  store.dirtyIn(tx, key);
  const [visits] = await tx.exec<[number, number]>();
  return new Response(`<!doctype html><h1>Visit ${visits}</h1>\n`, {
    headers: {
      "content-type": "text/html; charset=utf-8",
      "set-cookie": `session=${id}; Path=/; Max-Age=7776000; HttpOnly; SameSite=Lax`,
    },
  });
}

// Bun serves what the main module exports by default.
export default {
  port: Number(process.env.PORT ?? 3000),
  async fetch(request: Request): Promise<Response> {
    if (new URL(request.url).pathname !== "/status") return await visit(request);
    return Response.json({ ...await store.status(), worker: worker.stats });
  },
};
