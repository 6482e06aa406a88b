/**
 * What tests of operations share: looks at all that Redis and the bucket hold, and stores that must be refused.
 * @module
 */
import { Buffer } from "node:buffer";
import { assertEquals } from "@std/assert";
import type { TundraStore } from "../../mod.ts";
import { BUCKET, type ColdStack, tundraError } from "./fixtures.ts";
import { everythingIn, type Stack } from "./stack.ts";

/** Names and bytes of objects. */
type Objects = ReadonlyMap<string, Uint8Array>;

/**
 * Everything that Redis and the archive hold, names, bytes and expiries, but for the notes of what operations did on
 * which day.
 */
export async function allThatIsThere(stack: ColdStack): Promise<unknown>;
export async function allThatIsThere(stack: Stack, objects: Objects): Promise<unknown>;
export async function allThatIsThere(stack: Stack | ColdStack, given?: Objects): Promise<unknown> {
  const { "tundra:default:runs": _, ...redis } = await everythingIn(stack);
  const objects = given ?? (stack as ColdStack).s3.objects(BUCKET);
  return { redis, objects: [...objects].map(([name, bytes]) => [name, Buffer.from(bytes).toString("base64")]).sort() };
}

/**
 * Runs `act` and fails if Redis or the archive hold anything else afterwards, see {@linkcode allThatIsThere}. The
 * archive is the bucket of the stack, or `objects`.
 */
export async function changesNothing<T>(stack: ColdStack, act: () => Promise<T>): Promise<T>;
export async function changesNothing<T>(stack: Stack, act: () => Promise<T>, objects: Objects): Promise<T>;
export async function changesNothing<T>(
  stack: Stack | ColdStack,
  act: () => Promise<T>,
  objects: Objects = (stack as ColdStack).s3.objects(BUCKET),
): Promise<T> {
  const before = await allThatIsThere(stack, objects);
  try {
    return await act();
  } finally {
    assertEquals(await allThatIsThere(stack, objects), before);
  }
}

/** A call is refused with `LOST`, and changes nothing: if the index is another database's, and if it was lost. */
export async function refusedIfNotItsOwn(
  stack: ColdStack,
  act: (store: TundraStore) => Promise<unknown>,
): Promise<void> {
  const store = stack.store();
  const id = await stack.raw("GET", "tundra:default:id");
  for (const other of ["1@another.example", undefined]) {
    if (other === undefined) await stack.raw("DEL", "tundra:default:id");
    else await stack.raw("SET", "tundra:default:id", other);
    await changesNothing(stack, () => tundraError("LOST", () => act(store)));
  }
  await stack.raw("SET", "tundra:default:id", String(id));
}

/** The requests and billable commands of a call. */
export async function costOf(
  stack: ColdStack,
  act: () => Promise<unknown>,
): Promise<{ redis: number; billable: number }> {
  await stack.server.resetCounters();
  await act();
  return { redis: stack.server.requests, billable: await stack.server.billable() };
}
