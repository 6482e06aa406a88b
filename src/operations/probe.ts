/**
 * probe: tries each assumption about the database and the bucket of a store.
 * @module
 */
import { asTundraError } from "../base/errors.ts";
import { uuid } from "../base/platform.ts";
import { type Context, contextOf } from "../core/context.ts";
import { isConfirmed } from "../core/identity.ts";
import { told } from "../core/told.ts";
import { removeProbeKeys, SERVER_CHECKS } from "../scripts/probe/server.ts";
import { Refuted, type ServerProbe } from "../scripts/probe/server_probe.ts";
import type { TundraStore } from "../store_interface.ts";
import { beginOperation, type Bounds, type OperationOptions, type OperationReport } from "./bounds.ts";
import { checkIndex } from "./check_index.ts";
import { ARCHIVE_CHECKS, type ArchiveProbe, newProbePrefix, removeProbeObjects } from "./probe_archive.ts";

/** Options of {@linkcode probe}. */
export type ProbeOptions = OperationOptions;

/** One assumption. */
export interface ProbeCheck {
  /** The assumption: `redis: sha1hex`, `archive: ranges`. */
  name: string;
  /** `true` if it holds, or Tundra works without. */
  ok: boolean;
  /** The observation, and if the assumption does not hold the remedy. */
  detail: string;
}

/** The result of {@linkcode probe}. */
export interface ProbeReport extends OperationReport {
  /** `true` if every check is. */
  ok: boolean;
  /** All checks, in their order. */
  checks: ProbeCheck[];
}

/** The keys of a probe go by themselves after this time. */
const TTL_MS = 10 * 60 * 1000;
/** Requests that a check takes at least. */
const REQUESTS = 1;

/**
 * Tries each assumption that Tundra makes about the database and the bucket of a store, on keys and objects of its own:
 * will it work here? One check that fails spoils no other.
 *
 * Its keys are `tundra:<tqname>:tmp:...`, with a TTL of ten minutes; its objects lie under `~probe/<tqname>/` in the
 * bucket, outside of the index's own names. Both are removed at the end, also if a check fails or it is aborted; what a
 * probe leaves that is killed goes with the next one, an hour later. It changes nothing of an index, and does not make
 * an archive count as used.
 *
 * A bound that ends it leaves the rest not tried, and `ok` is `false` then. Within 50 requests, as a Worker on the free
 * plan has them, all are tried but the pages of a listing, which takes 1,001 PUTs ($0.005).
 *
 * Cost: some 25 requests and 80 commands; 25 requests to the archive, and 1,010 more for the pages. 9 MB are sent to
 * Redis, to learn how large a request may be.
 *
 * @throws {TundraError} `BAD_ARGUMENT`; all else is a check that failed
 * @example
 * ```ts
 * import { tundraFromEnv } from "@tundra/store";
 * import { probe } from "@tundra/store/operations";
 *
 * export async function willItWork(): Promise<void> {
 *   const { ok, checks } = await probe(tundraFromEnv());
 *   for (const { name, ok, detail } of checks) console.log(ok ? "ok  " : "FAIL", name, detail);
 *   if (!ok) throw new Error("See above");
 * }
 * ```
 */
export async function probe(store: TundraStore, options: ProbeOptions = {}): Promise<ProbeReport> {
  return await told(contextOf("probe", store), "probe", 0, (context) => probeWith(context, options));
}

async function probeWith(context: Context, options: ProbeOptions): Promise<ProbeReport> {
  const what = "probe";
  const bounds = beginOperation(what, context, options, []);
  const { connection, index } = context;
  const own = uuid();
  const call = { ...bounds.call, retries: 1 };
  const server: ServerProbe = {
    connection,
    index,
    key: (name) => index.keys.temporary(`${own}:${name}`),
    ttlMs: TTL_MS,
    call,
  };
  const archive: ArchiveProbe = {
    context,
    counted: (act) => bounds.counted(act),
    prefix: newProbePrefix(context),
    put: new Set(),
    mayBegin: bounds.mayBegin,
  };
  const checks: ProbeCheck[] = [];
  const all = SERVER_CHECKS.length + ARCHIVE_CHECKS.length + 2;
  const attempt = async (name: string, act: () => Promise<string>) => {
    checks.push({ name, ...await tried(bounds, act) });
    bounds.progress(checks.length, all);
  };
  try {
    for (const check of SERVER_CHECKS) await attempt(check.name, () => check.try(server));
    for (const check of ARCHIVE_CHECKS) await attempt(check.name, () => check.try(archive));
    await attempt("index and archive belong together", async () => {
      const id = await checkIndex(context, call);
      return isConfirmed(id) ? `the index is ${id}` : "this is a new store: its first tick takes the archive";
    });
  } finally {
    const isUntried = checks.every(({ detail }) => detail === NOT_TRIED);
    const outcome = isUntried ? { ok: false, detail: NOT_TRIED } : await removed(bounds, server, archive);
    checks.push({ name: "removes what it has made", ...outcome });
  }
  const ok = checks.every((check) => check.ok);
  return { ...bounds.report(checks.every(({ detail }) => detail !== NOT_TRIED)), ok, checks };
}

const NOT_TRIED = "not tried, as a bound or an abort has ended the probe before";

/** Tries one assumption; whatever happens becomes its detail. */
async function tried(bounds: Bounds, act: () => Promise<string>): Promise<Omit<ProbeCheck, "name">> {
  if (!bounds.mayBegin(REQUESTS)) return { ok: false, detail: NOT_TRIED };
  try {
    return { ok: true, detail: await act() };
  } catch (thrown) {
    if (thrown instanceof Refuted) return { ok: false, detail: thrown.detail };
    if (bounds.signal?.aborted || bounds.requestsLeft() <= 0) return { ok: false, detail: NOT_TRIED };
    const { code, message } = asTundraError(thrown, "try it");
    return { ok: false, detail: `it could not be tried (${code}): ${message}` };
  }
}

/** Removes keys and objects, also after an abort. */
async function removed(
  bounds: Bounds,
  server: ServerProbe,
  archive: ArchiveProbe,
): Promise<Omit<ProbeCheck, "name">> {
  const left: string[] = [];
  let stays = 0;
  try {
    await removeProbeKeys({ ...server, call: bounds.closing });
  } catch (thrown) {
    left.push(`keys ${server.key("*")} go by themselves (${asTundraError(thrown, "remove them").message})`);
  }
  try {
    stays = await removeProbeObjects(archive, bounds.closing);
  } catch (thrown) {
    left.push(`objects under ${archive.prefix} stay (${asTundraError(thrown, "delete them").message})`);
  }
  if (left.length > 0) return { ok: false, detail: left.join("; ") };
  if (stays > 0) {
    return { ok: true, detail: `${stays} objects stay, as the datastore cannot delete: ${archive.prefix}*` };
  }
  return { ok: true, detail: "no key or object is left" };
}
