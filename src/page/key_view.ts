/**
 * One key: its state, its versions, and if that is allowed the return of a version and a look at the value.
 * @module
 */
import { count } from "../base/counts.ts";
import { TundraError } from "../base/errors.ts";
import { checkKeys } from "../base/keys.ts";
import { contextOf } from "../core/context.ts";
import { readClock } from "../operations/known_keys.ts";
import { entryOf, type ListedKey } from "../operations/list.ts";
import { restoreVersion } from "../operations/restore_version.ts";
import { type Version, type Versions, versions } from "../operations/versions.ts";
import { parseRecord } from "../scripts/prelude.ts";
import { readState } from "../scripts/read_state.ts";
import { ofHandle } from "./handles.ts";
import { withoutAddresses } from "./hide.ts";
import { type Content, type Html, html } from "./html.ts";
import { keyForm } from "./key_forms.ts";
import { stateTag } from "./keys_view.ts";
import { notice, type Page, table } from "./layout.ts";
import { code } from "./verdict.ts";
import type { Visit } from "./visit.ts";
import { name, size, time, visible } from "./words.ts";

/** Versions that are listed, and packs that are looked into: a Worker may send 50 requests. */
const LIMITS = { maxVersions: 10, maxPacks: 8 };
const WHOLE_NAME = 40_000;

/** The key that a form names: as it was typed, or by its handle. */
export function keyOf(form: URLSearchParams): string {
  const handle = form.get("key");
  const key = handle === null ? form.get("name") ?? "" : ofHandle(handle);
  checkKeys("show a key", [[key]]);
  return key;
}

/** Cost: 4 requests, 11 commands; in the archive what `versions()` of 10 versions and 8 packs costs. */
export async function keyView(visit: Visit, said?: Content): Promise<Page> {
  const key = keyOf(visit.form);
  const [now, all] = await Promise.all([stateOf(visit, key), versions(visit.store, key, LIMITS).catch(asFailure)]);
  const { session, settings } = visit;
  const body = html`
    <div>
      <h1>Key</h1>
      <div class="title">${name(key, WHOLE_NAME)}</div>
    </div>
    ${said}
    <section class="sheet">${facts(now)}
    ${settings.allow.peek && (now.exists || (typeof now.entry === "object" && now.entry.state === "evicted")) &&
      keyForm(session, "peek", key, {}, "Show its value")}</section>
    <section>${all instanceof TundraError ? failure(all) : versionsTable(visit, key, all)}</section>
  `;
  return { title: "Key", view: "keys", body };
}

/** The question before a version is restored: everything is checked, and nothing written. */
export async function askRestore(visit: Visit): Promise<Page> {
  const { store, form, session } = visit;
  const key = keyOf(form);
  const version = form.get("version") ?? "";
  const { atMs, bytes, expMs } = await restoreVersion(store, key, version, { ...bounds(), dryRun: true });
  const body = html`
    <div>
      <h1>Restore this version?</h1>
      <div class="title">${name(key, WHOLE_NAME)}</div>
    </div>
    <section class="sheet">
      <dl class="facts">
        <dt>Archived</dt>
        <dd>${time(atMs)}</dd>
        <dt>Size</dt>
        <dd>${size(bytes)}</dd>
        <dt>Its own expiry</dt>
        <dd>${expMs > 0 ? time(expMs) : "none"}</dd>
      </dl>
      <p
        class="lead">It becomes the key’s value at once, as a change like any other. The present value stays among the versions.</p>
      <div class="row">${keyForm(session, "restore", key, { version, sure: "yes" }, "Restore it", false)}${keyForm(
        session,
        "key",
        key,
        {},
        "Leave it as it is",
      )}</div>
    </section>
  `;
  return { title: "Restore a version", view: "keys", body };
}

/** The return of a version, and then the key. */
export async function restore(visit: Visit): Promise<Page> {
  const key = keyOf(visit.form);
  const { atMs } = await restoreVersion(visit.store, key, visit.form.get("version") ?? "", bounds());
  return await keyView(
    visit,
    notice(
      "good",
      html`The version of ${time(atMs)} is the key’s value again. The next tick archives it as a newer one.`,
    ),
  );
}

function bounds(): { maxPacks: number } {
  return { maxPacks: LIMITS.maxPacks };
}

interface Now {
  exists: boolean;
  /** `undefined`: Tundra has no record of it; `"unsupported"`: one of another version. */
  entry: ListedKey | "unsupported" | undefined;
}

async function stateOf({ store }: Visit, key: string): Promise<Now> {
  const what = "show a key";
  const context = contextOf(what, store);
  const { states: [state] } = await readState(context.index, [key]);
  const record = state!.record === "" ? undefined : parseRecord(state!.record);
  const { dead, nowMs } = await readClock(context, what, new Map([[key, record]]));
  const unknown = state!.record === "" ? undefined : "unsupported";
  return { exists: state!.exists, entry: record ? entryOf(key, record, dead.has(key), nowMs) : unknown };
}

function facts({ exists, entry }: Now): Html {
  const here = exists ? "in Redis" : "not in Redis";
  if (typeof entry !== "object") {
    const why = entry === undefined
      ? "Tundra has no record of it: it was never marked"
      : "Its record is of another version of Tundra, so it is not known whether it is evicted";
    return html`
      <dl class="facts">
        <dt>State</dt>
        <dd>${here}. ${why}.</dd>
      </dl>
    `;
  }
  const { state, atMs, bytes, expMs, usedMs, error } = entry;
  const [, word = "", message = ""] = /^(\S+) (.*)$/s.exec(error) ?? [];
  return html`<dl class="facts">
<dt>State</dt><dd>${stateTag(state)} ${MEANING[state]}; ${here}.</dd>
<dt>Archived</dt><dd>${atMs > 0 ? time(atMs) : "never"}${bytes > 0 && html`, ${size(bytes)}`}</dd>
<dt>Its own expiry</dt><dd>${expMs > 0 ? time(expMs) : "none that is archived"}</dd>
<dt>Last use</dt><dd>${usedMs > 0 ? html`${time(usedMs)}, to a few hours` : "not known"}</dd>
${
    error !== "" && html`
      <dt>Last failure</dt>
      <dd>${code(word)} ${visible(withoutAddresses(message))}</dd>
    `
  }
</dl>`;
}

const MEANING: Readonly<Record<ListedKey["state"], string>> = {
  dirty: "it has a change that is not archived yet",
  resident: "all of it is archived",
  evicted: "its value is in the archive",
  dead: "it has used up its attempts to be archived",
  gone: "it was removed, or it has expired",
};

function versionsTable({ session, settings }: Visit, key: string, all: Versions): Html {
  if (all.length === 0) {
    return html`
      <h2>Versions</h2>
      <p class="muted">The archive holds none${unread(all)}.</p>
    `;
  }
  const canRestore = settings.allow.restore;
  const rows = all.map((each) => [
    html`${time(each.atMs)} ${each.current && html`<span class="tag resident">current</span>`} ${
      each.orphan && html`<span class="tag dirty">not committed</span>`
    }`,
    contentOf(each),
    each.expMs > 0 ? time(each.expMs) : "none",
    html`<span class="place">${visible(shortened(each.place))}</span>`,
    ...canRestore
      ? [!each.gone && !each.error && keyForm(session, "restore", key, { version: each.version }, "Restore")]
      : [],
  ]);
  const head = [
    "Archived",
    "Content",
    "Its own expiry",
    "Object",
    ...canRestore ? [html`<span class="hidden">Restore</span>`] : [],
  ];
  return html`${table("Versions", head, rows)}
${
    all.unreadPacks > 0 &&
    html`<p class="small muted">Older packs were not looked into${
      unread(all)
    }; <code>versions()</code> looks further.</p>`
  }`;
}

function unread({ unreadPacks }: Versions): string {
  if (unreadPacks === 0) return "";
  return Number.isFinite(unreadPacks) ? ` (${count(unreadPacks)} packs unread)` : " (the datastore cannot list)";
}

function contentOf({ gone, bytes, error }: Version): Content {
  if (error) return code(error);
  return gone === false ? size(bytes) : gone === "removed" ? "removed on purpose" : "a tick did not find it";
}

function shortened(place: string): string {
  return place.length > 90 ? `${place.slice(0, 60)} … ${place.slice(-26)}` : place;
}

function asFailure(thrown: unknown): TundraError {
  if (thrown instanceof TundraError) return thrown;
  throw thrown;
}

function failure(error: TundraError): Html {
  return html`<h2>Versions</h2>${notice("bad", html`${code(error.code)} ${visible(withoutAddresses(error.message))}`)}`;
}
