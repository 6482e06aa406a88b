/**
 * Names of objects as names of unstorage's items, so that neither unstorage nor a disk can change, merge or hide them.
 *
 * unstorage takes `:`, `/` and `\` for one separator, drops empty parts, cuts at `?`, refuses `.` and `..`, and hides
 * what ends in `$`. A disk has 255 bytes for a part, may ignore case, cannot have `a` and `a/b`, and unstorage's driver
 * for it refuses parts that end in `..` and ignores `.git` and `node_modules`. So each segment of a name becomes one or
 * more parts of lower-case letters, digits and `_ - .`:
 *
 * | in a name | in a part |
 * | --- | --- |
 * | `a-z 0-9 -` | the same |
 * | `A-Z` | `_a` to `_z` |
 * | `_`, `~` | `__`, `_-` |
 * | `.` | the same; at the beginning of a part, or after another, `_.` |
 * | a segment longer than a part | parts that end in `_0`, but for the last |
 * | the end of a segment, `/` | `_1` |
 * | the end of the name | `_2` |
 *
 * `default/user.3A1/1764000000000001-0a1b2c3d` is `default_1:user.3_a1_1:1764000000000001-0a1b2c3d_2`.
 * @module
 */

/** The most characters of a part before its ending. */
const MAX_PART = 200;
const [CONTINUED, FOLDER, OBJECT] = ["_0", "_1", "_2"];

/** The item of an object. */
export function itemOf(name: string): string {
  const segments = name.split("/");
  return segments.flatMap((segment, i) => partsOf(segment, i === segments.length - 1 ? OBJECT : FOLDER)).join(":");
}

/** The item's parts that all names with this prefix have in common: the whole segments of it. */
export function folderOf(prefix: string): string {
  return prefix.split("/").slice(0, -1).flatMap((segment) => partsOf(segment, FOLDER)).join(":");
}

/** The object of an item; `undefined` if no object has it. */
export function objectOf(item: string): string | undefined {
  let name = "";
  for (const part of item.split(":")) {
    const ending = part.slice(-2);
    name += part.slice(0, -2).replace(/_(.)/g, (_, mark: string) => mark === "-" ? "~" : mark.toUpperCase());
    if (ending === FOLDER) name += "/";
  }
  return name !== "" && itemOf(name) === item ? name : undefined;
}

function partsOf(segment: string, ending: string): string[] {
  const parts: string[] = [];
  let part = "";
  for (const character of segment) {
    const escaped = /[a-z0-9-]/.test(character)
      ? character
      : character === "."
      ? (part === "" || part.endsWith(".") ? "_." : ".")
      : character === "~"
      ? "_-"
      : "_" + character.toLowerCase();
    if (part.length + escaped.length > MAX_PART) {
      parts.push(part + CONTINUED);
      part = character === "." ? "_." : escaped;
    } else part += escaped;
  }
  parts.push(part + ending);
  return parts;
}
