/**
 * Libraries that nobody here wrote run on a transparent client unchanged, while their keys leave Redis again and again.
 */
import { randomUUID } from "node:crypto";
import { before, beforeEach, describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import type { Redis } from "@upstash/redis";
import type { TundraStore } from "../../mod.ts";
import { transparentRedis } from "../../src/transparent/mod.ts";
import { withArchive } from "../support/fixtures.ts";
import { installTools, library } from "./tools.ts";

/** The part of @upstash/ratelimit that is used. */
interface RatelimitModule {
  Ratelimit: {
    new (options: { redis: Redis; limiter: unknown; ephemeralCache: false; prefix?: string }): {
      limit(id: string): Promise<{ success: boolean; remaining: number }>;
      getRemaining(id: string): Promise<{ remaining: number }>;
      resetUsedTokens(id: string): Promise<void>;
    };
    fixedWindow(tokens: number, window: string): unknown;
    slidingWindow(tokens: number, window: string): unknown;
    tokenBucket(refillRate: number, interval: string, maxTokens: number): unknown;
  };
}

/** The part of Auth.js' adapter that is used. */
type AuthAdapter = Record<string, (...args: unknown[]) => Promise<Record<string, unknown> | null>>;

describe("on a transparent client", () => {
  const stack = withArchive();
  let store: TundraStore;
  let redis: Redis;
  before(() => installTools());
  beforeEach(async () => {
    await stack.flush();
    store = stack.store();
    redis = transparentRedis(store);
  });

  /** Archives and evicts every key that the library has made. */
  async function evictAll(): Promise<void> {
    assertEquals((await store.tick()).errors, []);
    const keys = await redis.keys("*");
    if (keys.length > 0) assertEquals((await store.evict(keys)).kept, {});
    assertEquals(await redis.keys("*"), []);
  }

  it("@upstash/ratelimit counts as on a plain one", async () => {
    const { Ratelimit } = await library<RatelimitModule>("@upstash/ratelimit");
    const limiters = [
      Ratelimit.fixedWindow(3, "1 h"),
      Ratelimit.slidingWindow(3, "1 h"),
      Ratelimit.tokenBucket(1, "1 h", 3),
    ];
    for (const [i, limiter] of limiters.entries()) {
      const ratelimit = new Ratelimit({ redis, limiter, ephemeralCache: false, prefix: `limit${i}` });
      const seen: [boolean, number][] = [];
      for (let call = 0; call < 5; call++) {
        const { success, remaining } = await ratelimit.limit("user");
        seen.push([success, remaining]);
        await evictAll();
      }
      assertEquals(seen, [[true, 2], [true, 1], [true, 0], [false, 0], [false, 0]], `limiter ${i}`);
      assertEquals((await ratelimit.getRemaining("user")).remaining, 0);
      await ratelimit.resetUsedTokens("user");
      assert((await ratelimit.limit("user")).success);
    }
  });

  it("Auth.js keeps users, accounts, sessions and tokens", async () => {
    const { UpstashRedisAdapter } = await library<{ UpstashRedisAdapter(redis: Redis): AuthAdapter }>(
      "@auth/upstash-redis-adapter",
    );
    const auth = UpstashRedisAdapter(redis);
    /** Each call finds its keys evicted. */
    const call = async (name: string, ...args: unknown[]) => {
      await evictAll();
      return await auth[name]!(...args);
    };
    const user = (await call("createUser", { email: "ada@example.com", emailVerified: new Date(0), name: "Ada" }))!;
    assertEquals(await call("getUser", user.id), user);
    assertEquals(await call("getUserByEmail", "ada@example.com"), user);
    assertEquals(await call("getUserByEmail", "nobody@example.com"), null);
    const account = { provider: "github", providerAccountId: "7", userId: user.id, type: "oauth" };
    await call("linkAccount", account);
    assertEquals(await call("getUserByAccount", { provider: "github", providerAccountId: "7" }), user);
    const named = { ...user, name: "Ada Lovelace" };
    assertEquals(await call("updateUser", { id: user.id, name: "Ada Lovelace" }), named);
    const session = { sessionToken: randomUUID(), userId: user.id, expires: new Date(4_000_000_000_000) };
    await call("createSession", session);
    assertEquals(await call("getSessionAndUser", session.sessionToken), { session, user: named });
    const later = new Date(4_100_000_000_000);
    await call("updateSession", { sessionToken: session.sessionToken, expires: later });
    assertEquals(await call("getSessionAndUser", session.sessionToken), {
      session: { ...session, expires: later },
      user: named,
    });
    await call("deleteSession", session.sessionToken);
    assertEquals(await call("getSessionAndUser", session.sessionToken), null);
    const token = { identifier: "ada@example.com", token: randomUUID(), expires: later };
    await call("createVerificationToken", token);
    assertEquals(await call("useVerificationToken", { identifier: token.identifier, token: token.token }), token);
    assertEquals(await call("useVerificationToken", { identifier: token.identifier, token: token.token }), null);
    await call("unlinkAccount", account);
    assertEquals(await call("getUserByAccount", { provider: "github", providerAccountId: "7" }), null);
    await call("deleteUser", user.id);
    assertEquals(await call("getUser", user.id), null);
    assertEquals(await call("getUserByEmail", "ada@example.com"), null);
  });

  it("handlers of Hono, Elysia, Next.js and SvelteKit read and change evicted keys", async () => {
    const { Hono } = await library<{
      Hono: new () => {
        post(
          path: string,
          act: (c: { req: { param(name: string): string }; json(body: unknown): Response }) => Promise<Response>,
        ): void;
        fetch(request: Request): Promise<Response>;
      };
    }>("hono");
    const hono = new Hono();
    hono.post(
      "/carts/:id",
      async (c) => c.json({ apples: await redis.hincrby(`cart:${c.req.param("id")}`, "apples", 1) }),
    );

    const { Elysia } = await library<{
      Elysia: new () => {
        post(
          path: string,
          act: (c: { params: { id: string } }) => Promise<unknown>,
        ): { handle(request: Request): Promise<Response> };
      };
    }>("elysia");
    const elysia = new Elysia().post("/carts/:id", async ({ params }) => ({
      apples: await redis.hincrby(`cart:${params.id}`, "apples", 1),
    }));

    // what these two export from app/carts/[id]/route.ts and src/routes/carts/[id]/+server.ts
    const next = async (_request: Request, { params }: { params: Promise<{ id: string }> }) =>
      Response.json({ apples: await redis.hincrby(`cart:${(await params).id}`, "apples", 1) });
    const svelte = async ({ params }: { params: { id: string } }) =>
      Response.json({ apples: await redis.hincrby(`cart:${params.id}`, "apples", 1) });

    const request = () => new Request("http://localhost/carts/7", { method: "POST" });
    const handlers = [
      () => hono.fetch(request()),
      () => elysia.handle(request()),
      () => next(request(), { params: Promise.resolve({ id: "7" }) }),
      () => svelte({ params: { id: "7" } }),
    ];
    for (const [i, handler] of handlers.entries()) {
      await evictAll();
      assertEquals(await (await handler()).json(), { apples: i + 1 });
    }
  });
});
