/**
 * Texts of errors without the addresses of servers.
 * @module
 */

const ADDRESS = new RegExp(
  [
    String.raw`\b[a-z][a-z0-9+.-]*:\/\/[^\s"'<>)]+`, // a URL
    String.raw`\[[0-9a-f:.]{2,}\](?::\d+)?`, // IPv6
    String.raw`\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b`, // IPv4
    String.raw`\blocalhost(?::\d+)?\b`,
    String.raw`\b(?:[a-z0-9_-]+\.){2,}[a-z]{2,}(?::\d+)?\b`, // a host with two dots or more
    String.raw`\b[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}:\d+\b`, // a host and a port
  ].join("|"),
  "gi",
);

/** Messages are shorter. */
const MOST = 2_000;

/** The same text, with `(a server)` for what looks like the address of one. */
export function withoutAddresses(text: string): string {
  return text.slice(0, MOST).replace(ADDRESS, "(a server)");
}
