/**
 * Files of environment variables.
 * @module
 */

/**
 * Reads `NAME=value` lines: comments after `#`, `export` before a name, quotes around a value that holds spaces or `#`;
 * in double quotes `\n`, `\"` and `\\` are escapes, and a value may take several lines. A byte order mark is skipped.
 */
export function readEnvFile(text: string): Record<string, string> {
  const variables: Record<string, string> = Object.create(null);
  const line =
    /^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.]*)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\[^])*)"|'([^']*)'|([^\r\n]*?)[ \t]*)(?:[ \t]+#[^\r\n]*|[ \t]*)\r?$/gm;
  for (const [, name, double, single, plain] of text.replace(/^\ufeff/, "").matchAll(line)) {
    variables[name!] = double === undefined ? single ?? withoutComment(plain!) : unescape(double);
  }
  return variables;
}

function withoutComment(value: string): string {
  return value.replace(/(^|[ \t]+)#.*$/, "");
}

function unescape(value: string): string {
  return value.replace(/\\([^])/g, (_, character) => character === "n" ? "\n" : character === "t" ? "\t" : character);
}
