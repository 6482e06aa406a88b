/** Arguments, files of variables, and the help. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { readArguments, UsageError } from "../../src/cli/arguments.ts";
import { COMMANDS } from "../../src/cli/commands.ts";
import { readEnvFile } from "../../src/cli/env_file.ts";
import { cliInMemory, emptyFolder } from "../support/cli.ts";

const SPECS = { match: { value: "PATTERN", help: "" }, yes: { help: "" }, "max-keys": { value: "NUMBER", help: "" } };

describe("arguments", () => {
  it("are options in both forms, words, and after -- words alone", () => {
    const args = readArguments(["a", "--match", "cart:*", "--yes", "--max-keys=10", "--", "--yes", "-x"], SPECS);
    assertEquals(args.words, ["a", "--yes", "-x"]);
    assertEquals([args.text("match"), args.has("yes"), args.count("max-keys")], ["cart:*", true, 10]);
    assertEquals(readArguments(["--match", "-x*"], SPECS).text("match"), "-x*");
    const help = { ...SPECS, help: { help: "" } };
    assertEquals(readArguments(["-h"], help).has("help"), true);
    const literal = readArguments(["--match", "-h", "--", "-h"], help);
    assertEquals([literal.text("match"), literal.words, literal.has("help")], ["-h", ["-h"], false]);
  });

  it("are refused if they are not known, or lack a value, or have one", () => {
    const refused: [args: string[], sentence: string][] = [
      [["--nope"], `There is no option "--nope"`],
      [["-x"], `There is no option "-x"`],
      [["--constructor"], `There is no option "--constructor"`],
      [["--match"], "--match needs a value: --match PATTERN"],
      [["--match="], "--match needs a value: --match PATTERN"],
      [["--yes=1"], "--yes takes no value"],
    ];
    for (const [args, sentence] of refused) assertThrows(() => readArguments(args, SPECS), UsageError, sentence);
  });

  const value = (text: string) => readArguments([`--match=${text}`], SPECS);

  it("may be durations, sizes, shares, times and numbers", () => {
    assertEquals(["500ms", "30s", "1.5m", "2min", "10h", "7d"].map((text) => value(text).durationMs("match")), [
      ...[500, 30_000, 90_000, 120_000, 36_000_000, 604_800_000],
    ]);
    assertEquals(["2048", "16KiB", "1mb", "2G", "5 KB", "7b"].map((text) => value(text).bytes("match")), [
      ...[2_048, 16_384, 1_048_576, 2_147_483_648, 5_120, 7],
    ]);
    assertEquals(["0.1", "10%", "1"].map((text) => value(text).share("match")), [0.1, 0.1, 1]);
    assertEquals(value("10_000").count("match"), 10_000);
    assertEquals(value("2026-11-25T12:00:00Z").date("match")!.getTime(), Date.UTC(2026, 10, 25, 12));
    assertEquals(value("2026-11-25").date("match")!.getTime(), Date.UTC(2026, 10, 25));
    assert(Math.abs(value("3h").date("match")!.getTime() - (Date.now() - 10_800_000)) < 5_000);
    assertEquals(value("a").choice("match", ["a", "b"]), "a");
  });

  it("are refused if they are none of these", () => {
    const reads: [text: string, read: (args: ReturnType<typeof value>) => unknown, must: string][] = [
      ["30", (args) => args.durationMs("match"), "a duration such as 30s, 10m, 12h or 7d"],
      ["1x", (args) => args.bytes("match"), "a size such as 2048, 16KiB or 1MiB"],
      ["0", (args) => args.share("match"), "a share such as 0.1 or 10%"],
      ["101%", (args) => args.share("match"), "a share such as 0.1 or 10%"],
      ["0", (args) => args.count("match"), "a whole number, at least 1"],
      ["-1", (args) => args.count("match", 0), "a whole number, at least 0"],
      ["yesterday", (args) => args.date("match"), "a time such as"],
      ["c", (args) => args.choice("match", ["a", "b"]), "one of a, b"],
    ];
    for (const [text, read, must] of reads) {
      assertThrows(() => read(value(text)), UsageError, `--match must be ${must}`);
    }
  });
});

describe("a file of variables", () => {
  it("may begin with a byte order mark", () => {
    assertEquals({ ...readEnvFile("\ufeffTUNDRA_S3_PREFIX=a/\nB=b") }, { TUNDRA_S3_PREFIX: "a/", B: "b" });
  });

  it("has names and values, comments, quotes, escapes and values of several lines", () => {
    const text = [
      "# a comment",
      "A=plain",
      "  export B = spaces around  # and a comment",
      `C="in quotes # no comment" # a comment`,
      "D='single $x \\n'",
      `E="line 1\\nline 2 \\"x\\""`,
      `F="over`,
      `two lines"`,
      "G=",
      "H=a#b=c",
      "not a variable",
      "I=last\r",
    ].join("\n");
    assertEquals({ ...readEnvFile(text) }, {
      A: "plain",
      B: "spaces around",
      C: "in quotes # no comment",
      D: "single $x \\n",
      E: 'line 1\nline 2 "x"',
      F: "over\ntwo lines",
      G: "",
      H: "a#b=c",
      I: "last",
    });
  });
});

describe("the help", () => {
  it("of all commands names each, fits 80 columns, and shows no value of a variable", async () => {
    const env = { UPSTASH_REDIS_REST_TOKEN: "hush-hush", TUNDRA_S3_SECRET_ACCESS_KEY: "hush-hush" };
    for (const args of [["--help"], ["-h"], ["help"], ...Object.keys(COMMANDS).map((name) => [name, "--help"])]) {
      const { exitCode, stdout, stderr } = await cliInMemory(args, { env });
      assertEquals([exitCode, stderr], [0, ""]);
      for (const line of stdout.split("\n")) assert(line.length <= 80, line);
      assert(!stdout.includes("hush"));
      assertStringIncludes(stdout, "Example: tundra ");
    }
    const { stdout } = await cliInMemory(["--help"]);
    for (const name of Object.keys(COMMANDS)) assertStringIncludes(stdout, `\n  ${name} `);
  });

  it("has examples that the commands take", async () => {
    for (const name of Object.keys(COMMANDS)) {
      const { stdout } = await cliInMemory([name, "--help"]);
      const words = /^Example: tundra (.*)$/m.exec(stdout)![1]!.split(" ").map((word) =>
        word.replace(/^'(.*)'$/, "$1")
      );
      const { exitCode, stderr } = await cliInMemory(words, { folder: emptyFolder() });
      assertEquals(words[0], name);
      assertEquals([exitCode, stderr.includes("variables are missing")], [2, true], stderr);
    }
  });

  it("is offered for what is wrong, with exit code 2", async () => {
    const wrong: [args: string[], stderr: string][] = [
      [["nope"], `tundra: There is no command "nope"\nCommands: ${Object.keys(COMMANDS).join(", ")}\n`],
      [["--json", "status"], `tundra: The command comes first, before "--json"\n`],
      [["status", "x"], `tundra status: It takes options only: "x" is one too many\nSee: tundra status --help\n`],
      [["list", "--stat", "x"], `tundra list: There is no option "--stat"\nSee: tundra list --help\n`],
      [["status", "--env-file", "nope.env"], "tundra status: Cannot read the variables in "],
    ];
    for (const [args, text] of wrong) {
      const { exitCode, stdout, stderr } = await cliInMemory(args);
      assertEquals([exitCode, stdout], [2, ""]);
      assertStringIncludes(stderr, text);
    }
    assertEquals((await cliInMemory([])).exitCode, 2);
  });
});

describe("the configuration", () => {
  it("names all variables that are missing, and none of their values", async () => {
    const { exitCode, stderr } = await cliInMemory(["status"], {
      env: { UPSTASH_REDIS_REST_TOKEN: "hush-hush" },
      folder: emptyFolder(),
    });
    assertEquals(exitCode, 2);
    assertStringIncludes(stderr, "These variables are missing:\n  UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN");
    assertStringIncludes(stderr, "\n  TUNDRA_S3_BUCKET\n");
    assert(!stderr.includes("hush"));
  });

  it("refuses a module that is none, and flags beside it", async () => {
    const folder = emptyFolder();
    writeFileSync(join(folder, "none.mjs"), "export const store = 1;");
    writeFileSync(join(folder, "other.mjs"), "export default { ensureKs() {}, tick() {} };");
    writeFileSync(join(folder, "broken.mjs"), "throw new Error('broken inside');");
    const wrong: [args: string[], stderr: string][] = [
      [["--store", "absent.mjs"], "--store must name a file: there is no"],
      [["--store", "none.mjs"], "--store none.mjs must have a default export: it has none"],
      [["--store", "other.mjs"], "it is that of another copy of @tundra/store"],
      [["--store", "broken.mjs"], "--store broken.mjs cannot be loaded: broken inside"],
      [["--store", "none.mjs", "--bucket", "b"], "--bucket cannot stand beside --store"],
    ];
    for (const [args, text] of wrong) {
      const { exitCode, stderr } = await cliInMemory(["status", ...args], { folder });
      assertStringIncludes(stderr, text);
      assertEquals(exitCode, 2);
    }
    const { exitCode, stderr } = await cliInMemory(["status", "--tqname", "other"], {
      folder,
      env: { TUNDRA_STORE: "none.mjs" },
    });
    assertStringIncludes(stderr, "--tqname cannot stand beside TUNDRA_STORE (none.mjs)");
    assertEquals(exitCode, 2);
  });
});
