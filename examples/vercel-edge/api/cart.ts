/**
 * `GET`, `POST` and `DELETE /api/cart?id=ID`: a shopping cart, in Redis while it is used and in S3 once it is not.
 */
import { TundraError } from "@tundra/store";
import { store } from "../store.ts";

export const config = { runtime: "edge" };

export async function GET(request: Request): Promise<Response> {
  return await answer(request, async (key) => {
    await store().ensureKs(key);
    return await store().redis.hgetall(key) ?? {};
  });
}

export async function POST(request: Request): Promise<Response> {
  return await answer(request, async (key, query) => {
    await store().ensureKs(key);
    const tx = store().redis.multi(); // the change and its mark in one request
    tx.hincrby(key, query.get("article") ?? "apples", Number(query.get("count") ?? 1));
    tx.hgetall(key);
    store().dirtyIn(tx, key);
    return (await tx.exec<[number, Record<string, number>]>())[1];
  });
}

export async function DELETE(request: Request): Promise<Response> {
  return await answer(request, async (key) => ({ deleted: await store().del(key) }));
}

async function answer(request: Request, act: (key: string, query: URLSearchParams) => Promise<object>) {
  const query = new URL(request.url).searchParams;
  const id = query.get("id") ?? "";
  if (!/^[\w-]{1,100}$/.test(id)) return new Response("which cart?\n", { status: 400 });
  try {
    return Response.json(await act(`cart:${id}`, query));
  } catch (error) {
    if (!(error instanceof TundraError)) throw error;
    return Response.json({ error: error.code }, { status: error.retryable ? 503 : 500 });
  }
}
