/**
 * A backlog drained by Upstash QStash, which calls this endpoint: by a schedule each minute (schedule.ts), and by the
 * messages that a tick publishes if it is not done.
 *
 *   POST /drain  one tick, for QStash only
 */
import { Client, Receiver } from "@upstash/qstash";
import { tundraFromEnv } from "@tundra/store";

/** One message of a chain, which ends at `until`: then the schedule has begun a new one. */
interface Link {
  chain: string;
  number: number;
  until: number;
}

const need = (name: string): string => Deno.env.get(name) ?? fail(`${name} must be set`);
const fail = (message: string): never => {
  throw new Error(message);
};

const url = need("DRAIN_URL"); // this endpoint, as QStash reaches it
const receiver = new Receiver({
  currentSigningKey: need("QSTASH_CURRENT_SIGNING_KEY"),
  nextSigningKey: need("QSTASH_NEXT_SIGNING_KEY"),
});
const qstash = new Client({ token: need("QSTASH_TOKEN"), baseUrl: Deno.env.get("QSTASH_URL") });
const store = tundraFromEnv();

async function drain(request: Request): Promise<Response> {
  const body = await request.text();
  const signature = request.headers.get("upstash-signature") ?? "";
  const signed = await receiver.verify({ signature, body, url, clockTolerance: 5 }).catch(() => false);
  if (!signed) return new Response("the signature is wrong\n", { status: 401 });

  // the schedule's message has no body; if it is retried, it has the same id
  const { chain, number, until }: Link = body ? JSON.parse(body) : {
    chain: request.headers.get("upstash-message-id") ?? crypto.randomUUID(),
    number: 0,
    until: Date.now() + 55_000,
  };
  const report = await store.tick({ maxKeys: Number(Deno.env.get("MAX_KEYS") ?? 10_000), deadlineMs: 20_000 });
  const more = !report.done && Date.now() < until;
  if (more) {
    await qstash.publishJSON({
      url,
      body: { chain, number: number + 1, until },
      deduplicationId: `${chain}-${number + 1}`, // a message that comes twice makes no second chain
      ...report.frozen === 0 && { delay: 10 },
    });
  }
  return Response.json({ frozen: report.frozen, remaining: report.remaining, more });
}

Deno.serve({ port: Number(Deno.env.get("PORT") ?? 8000) }, async (request) => {
  if (new URL(request.url).pathname !== "/drain" || request.method !== "POST") {
    return new Response(null, { status: 404 });
  }
  try {
    return await drain(request);
  } catch (error) {
    console.error(error);
    return new Response("the tick failed\n", { status: 503 }); // QStash tries it again
  }
});
