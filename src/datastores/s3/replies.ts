/**
 * The XML that S3 answers: listings, and the outcomes of objects that were to be deleted together.
 * @module
 */
import { show, TundraError } from "../../base/errors.ts";
import { xmlElements, xmlText } from "./xml.ts";

/** Reads a page of a listing; names without `prefix`. What does not begin with `prefix + under` was not understood. */
export function readListing(
  xml: string,
  what: string,
  prefix: string,
  under: string,
): { names: string[]; cursor?: string } {
  const unreadable = (is: string) =>
    new TundraError("UNAVAILABLE", `Cannot ${what} as the S3 server must reply a ListBucketResult: ${is}`);
  if (!xml.includes("<ListBucketResult") || !xml.includes("</ListBucketResult>")) throw unreadable("it does not");
  const shown = xmlElements(xml, "Contents").map((contents) => {
    const key = xmlText(contents, "Key");
    if (key === undefined) throw unreadable("an object has no name");
    return key;
  });
  const escaped = xmlText(xml, "EncodingType") === "url" || seemsEscaped(shown);
  const names = shown.map((key) => {
    let name = key;
    try {
      if (escaped) name = decodeURIComponent(key.replace(/\+/g, " "));
    } catch {
      throw unreadable(`the name ${show(key)} is not escaped as promised`);
    }
    // A foreign name is refused, not skipped: the name that the caller looks for may be missing beside it.
    if (!name.startsWith(prefix + under)) throw unreadable(`the name ${show(key)} does not begin as asked for`);
    return name.slice(prefix.length);
  });
  const truncated = xmlText(xml, "IsTruncated");
  if (truncated === "false") return { names };
  const cursor = xmlText(xml, "NextContinuationToken");
  // Without a cursor the rest of the listing would be skipped silently.
  if (truncated !== "true" || !cursor) throw unreadable("it does not say what follows");
  return { names, cursor };
}

/**
 * Some servers escape names, as they were asked to, and do not say so. Tundra's own names never hold a percent sign.
 */
function seemsEscaped(names: string[]): boolean {
  return names.some((name) => name.includes("%")) &&
    names.every((name) => /^(?:[\w.~/*+-]|%[0-9A-Fa-f]{2})*$/.test(name));
}

/** The outcomes of objects that were to be deleted together, by path: deleted, refused by a code, or not mentioned. */
export function readDeletions(xml: string): Map<string, { code: string; message: string } | "deleted"> | undefined {
  if (!/<DeleteResult[\s/>]/.test(xml)) return undefined;
  const outcomes = new Map<string, { code: string; message: string } | "deleted">();
  for (const deleted of xmlElements(xml, "Deleted")) {
    const path = xmlText(deleted, "Key");
    if (path !== undefined) outcomes.set(path, "deleted");
  }
  for (const refused of xmlElements(xml, "Error")) {
    const path = xmlText(refused, "Key");
    if (path === undefined) continue;
    outcomes.set(path, { code: xmlText(refused, "Code") ?? "", message: xmlText(refused, "Message") ?? "" });
  }
  return outcomes;
}
