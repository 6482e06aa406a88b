/**
 * Sessions on Deno: in Redis while they are used, in S3 once they are not. `Deno.cron` ticks each minute, and goes on
 * until nothing is due.
 *
 *   GET    /    counts this browser's visits; the cookie `session` says whose
 *   DELETE /    signs out
 */
import { tundraFromEnv } from "@tundra/store";

const DAY_MS = 24 * 60 * 60 * 1000;
const store = tundraFromEnv({ redisTtlMs: DAY_MS });

// Runs never overlap: an event that comes due meanwhile is left out.
Deno.cron("archive sessions", "* * * * *", async () => {
  for (const from = Date.now(); Date.now() - from < 50_000;) {
    const { frozen, evicted, remaining, errors, done } = await store.tick();
    console.log(`archived ${frozen}, evicted ${evicted}, ${remaining} wait, ${errors.length} errors`);
    if (done || frozen === 0) break;
  }
});

Deno.serve({ port: Number(Deno.env.get("PORT") ?? 8000) }, async (request) => {
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
});
