/**
 * A datastore whose listings have few names a page, and whose cursors go stale when a test says so.
 * @module
 */
import { type Datastore, TundraError } from "../../mod.ts";

/** Lists `size` names a page. After `move()` it refuses the cursors before, as another bucket does. */
export function smallPages(given: Datastore, size: number): { datastore: Datastore; move(): void } {
  let bucket = 0;
  const listKeys: Datastore["listKeys"] = async (prefix, cursor, options) => {
    const [of, behind = ""] = cursor === undefined ? [String(bucket)] : cursor.split("|");
    if (of !== String(bucket)) {
      const message = "400 InvalidArgument: The continuation token provided is incorrect";
      throw new TundraError("UNAVAILABLE", message, { retryable: false });
    }
    const names: string[] = [];
    let next: string | undefined;
    do {
      const page: { names: string[]; cursor?: string } = await given.listKeys!(prefix, next, options);
      names.push(...page.names.filter((name) => name > behind));
      next = page.cursor;
    } while (next !== undefined);
    const some = names.slice(0, size);
    return { names: some, ...(names.length > size && { cursor: `${bucket}|${some.at(-1)}` }) };
  };
  return { datastore: { ...given, listKeys }, move: () => void bucket++ };
}
