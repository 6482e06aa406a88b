/** What people see: names of any bytes, widths, numbers, tables, progress. */
import { describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { count, counted } from "../../src/base/counts.ts";
import { ago, dollars, duration, size, time } from "../../src/cli/output/format.ts";
import { type ProgressLine, progressLine } from "../../src/cli/output/progress.ts";
import { styleOf } from "../../src/cli/output/style.ts";
import { pairs, table } from "../../src/cli/output/table.ts";
import { json, safe, safeName, widthOf, wrap } from "../../src/cli/output/text.ts";
import { memoryStream } from "../support/cli.ts";

const PLAIN = styleOf(memoryStream().stream, {}, false);

describe("text for a terminal", () => {
  it("shows names as they are if nothing in them can mislead, else as JSON", () => {
    const shown: [name: string, text: string][] = [
      ["cart:7", "cart:7"],
      ["ünïcode 漢字", "ünïcode 漢字"],
      ["", `""`],
      [" lead", `" lead"`],
      ["trail ", `"trail "`],
      [`"quoted"`, `"\\"quoted\\""`],
      ["back\\slash", `"back\\\\slash"`],
      ["two\nlines", `"two\\nlines"`],
      ["red \u001b[31m", `"red \\u001b[31m"`],
      ["c1 \u009b31m", `"c1 \\u009b31m"`],
      ["delete \u007f", `"delete \\u007f"`],
      ["reversed \u202e", `"reversed \\u202e"`],
      ["zero \u200b", `"zero \\u200b"`],
      ["half \ud800", `"half \\ud800"`],
      ["whole 😀", "whole 😀"],
    ];
    for (const [name, text] of shown) {
      assertEquals(safeName(name), text);
      if (text.startsWith(`"`)) assertEquals(JSON.parse(text), name);
    }
  });

  it("escapes every control character, whatever the text", () => {
    const all = Array.from({ length: 0x300 }, (_, code) => String.fromCharCode(code)).join("");
    for (const text of [safe(all), safeName(all), json({ all })]) {
      // deno-lint-ignore no-control-regex
      assert(!/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/.test(text), text);
    }
    assertEquals(JSON.parse(json({ all })), { all });
    assertEquals(json({ a: [1] }, 2), '{\n  "a": [\n    1\n  ]\n}');
  });

  it("knows the columns that a text takes", () => {
    assertEquals(["abc", "漢字", "é", "e\u0301", "😀", "\u001b[31mred\u001b[0m"].map(widthOf), [3, 4, 1, 1, 2, 3]);
  });

  it("breaks lines at spaces, never a word", () => {
    assertEquals(wrap("one two three four", 9, "  "), "one two\n  three\n  four");
    assertEquals(wrap("averylongword and", 5), "averylongword\nand");
    assertEquals(wrap("a\nb", 80), "a\nb");
  });
});

describe("numbers for people", () => {
  it("have units", () => {
    assertEquals([0, 999, 12_345].map(count), ["0", "999", "12,345"]);
    assertEquals([counted(1, "key"), counted(2, "key"), counted(0, "key")], ["1 key", "2 keys", "0 keys"]);
    assertEquals(
      [0, 1023, 1024, 1536, 1_048_575, 1_048_576, 5 * 2 ** 40].map(size),
      ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "1.0 MiB", "5.0 TiB"],
    );
    assertEquals(
      [0, 999, 1_000, 61_000, 3_600_000, 90_000_000, -5].map(duration),
      ["0 ms", "999 ms", "1 s", "1 min", "1 h", "1 d", "0 ms"],
    );
    assertEquals([0, 0.0004, 0.5, 1234.5, -2].map(dollars), ["$0.00", "$0.0004", "$0.50", "$1,234.50", "-$2.00"]);
    assertEquals(time(0), "-");
    assertEquals(
      ago(Date.UTC(2026, 10, 26, 17, 20, 3, 9), Date.UTC(2026, 10, 26, 17, 23, 4)),
      "2026-11-26 17:20:03Z, 3 min ago",
    );
  });
});

describe("a table", () => {
  it("aligns columns, numbers to the right, and leaves no space at the ends of lines", () => {
    const columns = [{ title: "STATE" }, { title: "KEYS", right: true }, { title: "KEY" }];
    assertEquals(table(columns, [["dirty", "1", "a"], ["漢", "12,345", ""]], PLAIN), [
      "STATE    KEYS  KEY",
      "dirty       1  a",
      "漢     12,345",
    ]);
  });

  it("may have more rows than a call has arguments", () => {
    assertEquals(table([{ title: "KEY" }], new Array(200_000).fill(["k"]), PLAIN).length, 200_001);
  });

  it("of names and texts breaks texts under their beginning, on a terminal only", () => {
    assertEquals(pairs([["a", "one two three"], ["bcd", "x"]], 12), ["a    one two", "     three", "bcd  x"]);
    assertEquals(pairs([["a", "one two three"]], undefined), ["a  one two three"]);
  });
});

describe("colours", () => {
  const on = (env: Record<string, string>, flag = false, terminal: number | undefined = 80) =>
    styleOf(memoryStream(terminal).stream, env, flag).bad("x") !== "x";

  it("are there on a terminal alone, and not with NO_COLOR, --no-color or a dumb terminal", () => {
    assertEquals([on({}), on({ NO_COLOR: "" })], [true, true]);
    assertEquals([on({ NO_COLOR: "1" }), on({}, true), on({ TERM: "dumb" })], [false, false, false]);
    assertEquals(styleOf(memoryStream().stream, {}, false).bad("x"), "x");
  });
});

describe("progress", () => {
  const shown = (
    terminal: number | undefined,
    quiet: boolean,
    act: (line: ProgressLine, pass: (ms: number) => void) => void,
  ) => {
    const { stream, text } = memoryStream(terminal);
    let now = 0;
    act(progressLine(stream, quiet, () => now), (ms) => now += ms);
    return text();
  };

  it("is one line of a terminal that changes, with rate and time left, and goes before other output", () => {
    const text = shown(60, false, (line, pass) => {
      line.show("verify", { done: 1, total: 10, perSecond: 1 }); // too early
      pass(150);
      line.show("verify", { done: 4500, total: 9000, perSecond: 100 });
      line.show("verify", { done: 4501, total: 9000, perSecond: 100 }); // too early
      pass(150);
      line.show("verify", { done: 9000, total: 9000, perSecond: 100.2 });
      line.clear();
      line.clear();
    });
    assertEquals(text.split("\r\u001b[K"), [
      "",
      "verify  [##########..........]  50 %  4,500 of 9,000, 100/s",
      "verify  [####################] 100 %  9,000 of 9,000, 100/s",
      "",
    ]);
  });

  it("has no bar if the end is not known, and says how long it will take if it is", () => {
    const text = shown(120, false, (line, pass) => {
      pass(150);
      line.show("adopt", { done: 12_300, perSecond: 2.25 });
      pass(150);
      line.show("adopt", { done: 1_000, total: 7_000, perSecond: 100 });
    });
    assertEquals(text.split("\r\u001b[K").slice(1), [
      "adopt  12,300, 2.3/s",
      "adopt  [##..................]  14 %  1,000 of 7,000, 100/s, 1 min left",
    ]);
  });

  it("is a line every ten seconds elsewhere, and none if it is quiet", () => {
    const act = (line: ProgressLine, pass: (ms: number) => void) => {
      for (let done = 0; done < 25; done++) {
        pass(1_000);
        line.show("sweep", { done, perSecond: 1 });
      }
      line.clear();
    };
    assertEquals(shown(undefined, false, act), "sweep: 9, 1.0/s\nsweep: 19, 1.0/s\n");
    assertEquals(shown(undefined, true, act), "");
    assertEquals(shown(80, true, act), "");
  });
});
