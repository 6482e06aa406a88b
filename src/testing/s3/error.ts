/**
 * S3's errors: an HTTP status, a code, a message, as XML.
 * @module
 */

/** The error by which a request is refused. */
export class S3Error extends Error {
  /** The HTTP status. */
  readonly status: number;
  /** S3's name for it, such as `NoSuchKey`. */
  readonly code: string;
  /** Further elements of the XML. */
  readonly details: Record<string, string>;

  /** @param details further elements of the XML, in order */
  constructor(status: number, code: string, message: string, details: Record<string, string> = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.details = details;
  }
}

/** The body of an error reply. */
export function errorXml(error: S3Error, resource: string, requestId: string): string {
  const details = Object.entries(error.details).map(([name, value]) => element(name, value)).join("");
  return xml(
    `<Error>${element("Code", error.code)}${element("Message", error.message)}${details}` +
      `${element("Resource", resource)}${element("RequestId", requestId)}</Error>`,
  );
}

/** A document. */
export function xml(root: string): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n${root}`;
}

/** One element that holds text. */
export function element(name: string, text: string | number | boolean): string {
  // deno-lint-ignore no-control-regex
  const escaped = String(text).replace(/[&<>"\x00-\x1f\x7f]/g, (c) => {
    return ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c] ?? `&#x${c.charCodeAt(0).toString(16)};`;
  });
  return `<${name}>${escaped}</${name}>`;
}

/** The text of an element as it stands in a document. */
export function unescapeXml(text: string): string {
  return text.replace(/&(?:#x([0-9a-fA-F]+)|#([0-9]+)|(amp|lt|gt|quot|apos));/g, (_, hex, decimal, name) => {
    if (name) return ({ amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" } as Record<string, string>)[name]!;
    return String.fromCodePoint(hex ? parseInt(hex, 16) : parseInt(decimal, 10));
  });
}
