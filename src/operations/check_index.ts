/**
 * checkIndex: an operation begins only with an index that belongs to this database and this archive.
 * @module
 */
import type { Context, RequestOptions } from "../core/context.ts";
import { checkIdentity } from "../core/identity.ts";
import { readState } from "../scripts/read_state.ts";

/**
 * The id of the index, confirmed or not; "" if this is a new store.
 *
 * Cost: 1 request, 3 commands; a listing more for an index that no tick has worked on yet.
 *
 * @throws {TundraError} `LOST` if the index was lost, or belongs to another database or archive
 */
export async function checkIndex(context: Context, call: RequestOptions): Promise<string> {
  const { id } = await readState(context.index, [], call);
  if (!await checkIdentity(context, id, call)) return id;
  return (await readState(context.index, [], call)).id;
}
