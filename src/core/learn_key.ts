/**
 * learnKey: the key of objects whose name is shortened. Their records name it.
 * @module
 */
import { labelOf } from "../archive/encoding.ts";
import { unseal } from "../archive/seal.ts";
import { asTundraError, isNotFound, show, TundraError } from "../base/errors.ts";
import { isLarge, objectPrefix, versionMicros } from "../base/keys.ts";
import type { Context } from "./context.ts";
import type { EachRead } from "./newest_version.ts";

/** Objects of one key that are read, if the first cannot be. */
const MOST_READ = 3;
const SHORTENED = /~[0-9a-f]{32}\/$/;

/** Tells if the name of a key's objects, up to the last `/`, is one that does not tell the key. */
export function isShortened(prefix: string): boolean {
  return SHORTENED.test(prefix);
}

/**
 * The key of the objects `prefix + version`; `undefined` if none of them is there any more. The newest one is read; if
 * it is damaged, an older one.
 *
 * @throws TundraError `CORRUPT` or `UNSUPPORTED` if none can be read; `UNAVAILABLE`
 */
export async function learnKey(
  context: Context,
  prefix: string,
  versions: readonly string[],
  each: EachRead,
): Promise<string | undefined> {
  let failure: TundraError | undefined;
  const newest = versions.toSorted((a, b) => versionMicros(b) - versionMicros(a));
  for (const ver of newest.slice(0, MOST_READ)) {
    const name = prefix + ver;
    try {
      const [object] = await each(async (call) => {
        if (!isLarge(name)) return await context.datastore.fetchKeys([name], call);
        return await (await import("./large.ts")).fetchHeads(context, [name], call);
      });
      if (isNotFound(object)) continue;
      if (object instanceof Uint8Array) return await keyIn(context, object, prefix, ver);
      throw object;
    } catch (thrown) {
      const error = asTundraError(thrown, `read ${show(name)}`);
      if (error.code === "UNAVAILABLE") throw error;
      failure ??= error;
    }
  }
  if (failure) throw failure;
  return undefined;
}

async function keyIn(context: Context, object: Uint8Array, prefix: string, ver: string): Promise<string> {
  const what = `read the key of ${show(prefix + ver)}`;
  const label = isLarge(ver)
    ? await (await import("../archive/large.ts")).thawHead(object, { ver }, prefix + ver, context.freezers)
    : labelOf(await unseal(object, prefix + ver, context.freezers, what, []));
  const { key } = label;
  if (typeof key === "string" && label.ver === ver && await objectPrefix(context, key) === prefix) return key;
  throw new TundraError("CORRUPT", `Cannot ${what} as it must hold a version of a key with that name: it does not`);
}
