/**
 * told: a call of a store that tells the application's listener what it did. Without a listener nothing is counted.
 * @module
 */
import type { Context } from "./context.ts";
import type { TundraCall } from "./events.ts";

/** Runs a call of a store; if there is a listener, it is told what the call has done. */
export async function told<T>(
  context: Context,
  call: TundraCall,
  keys: number,
  act: (context: Context) => Promise<T>,
): Promise<T> {
  return context.onEvent ? (await import("./observe.ts")).observe(context, call, keys, act) : act(context);
}
