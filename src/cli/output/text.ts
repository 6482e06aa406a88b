/**
 * Text that is safe on a terminal, and its width there. Names of keys are any bytes: they must not move the cursor,
 * change colours, or look like others.
 * @module
 */

/** Control characters, marks of direction, and other characters that cannot be seen. */
const UNSAFE =
  // deno-lint-ignore no-control-regex
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** Text on one line or several, each unsafe character but line ends as `\u001b`. */
export function safe(text: string): string {
  return text.replace(UNSAFE, (character) => character === "\n" ? "\n" : escape(character));
}

/** A name on one line: as it is if nothing in it could mislead, else in quotes, as JSON writes it. */
export function safeName(name: string): string {
  const plain = name.search(UNSAFE) < 0 && name !== "" && !/^\s|\s$|^"|\\/.test(name);
  return plain ? name : json(name);
}

/** JSON in which unsafe characters are escaped, which is the same value. */
export function json(value: unknown, indent?: number): string {
  return JSON.stringify(value, null, indent).replace(
    UNSAFE,
    (character) => character === "\n" ? "\n" : escape(character),
  );
}

function escape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** Characters that take two columns: those of East Asia, and pictures. */
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|[\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u;
const MARK = /\p{M}/u;

/** The columns that a text takes on a terminal; colours count as nothing. */
export function widthOf(text: string): number {
  let width = 0;
  // deno-lint-ignore no-control-regex
  for (const character of text.replace(/\u001b\[[0-9;]*m/g, "")) {
    width += MARK.test(character) ? 0 : WIDE.test(character) ? 2 : 1;
  }
  return width;
}

/** Lines of at most `columns`, broken at spaces; those after the first begin with `indent`. A word is never broken. */
export function wrap(text: string, columns: number, indent = ""): string {
  const lines: string[] = [];
  for (const paragraph of text.split("\n")) {
    let line = lines.length === 0 ? "" : indent;
    let empty = true;
    for (const word of paragraph.split(" ")) {
      if (!empty && widthOf(line) + 1 + widthOf(word) > columns) {
        lines.push(line);
        line = indent;
        empty = true;
      }
      line += empty ? word : ` ${word}`;
      empty = false;
    }
    lines.push(line);
  }
  return lines.join("\n");
}
