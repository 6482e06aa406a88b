import { describe, it } from "node:test";
import { assert, assertEquals, assertLessOrEqual, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { TundraError } from "../../src/base/errors.ts";
import {
  checkKeys,
  checkTqname,
  fromUrlsafe,
  goneOf,
  keyOfObject,
  newestOf,
  objectName,
  objectPrefix,
  ownerObject,
  redisKeys,
  showKeys,
  tombstoneVersion,
  toUrlsafe,
  versionAfter,
  versionMicros,
} from "../../src/base/keys.ts";
import { seededRandom } from "../support/random.ts";

async function sha256Hex(text: string): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
  return [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function refused(act: () => unknown): string {
  const error = assertThrows(act, TundraError);
  assertEquals(error.code, "BAD_ARGUMENT");
  return error.message;
}

describe("toUrlsafe and fromUrlsafe", () => {
  const names: [plain: string, safe: string][] = [
    ["", ""],
    ["AZaz09_-", "AZaz09_-"],
    ["user:1/é", "user.3A1.2F.C3.A9"],
    ["..", ".2E.2E"],
    ["a.b~c", "a.2Eb.7Ec"],
    ["%2e%2E+ ", ".252e.252E.2B.20"],
    ["\0\x7f", ".00.7F"],
    ["😀", ".F0.9F.98.80"],
    ["\ufeffa\uffff", ".EF.BB.BFa.EF.BF.BF"],
    ["e\u0301", "e.CC.81"],
  ];
  for (const [plain, safe] of names) {
    it(`map ${JSON.stringify(plain)} to ${JSON.stringify(safe)} and back`, () => {
      assertEquals(toUrlsafe(plain), safe);
      assertEquals(fromUrlsafe(safe), plain);
    });
  }

  it("are inverse, and what comes out survives a URL unchanged: 2,000 random names", () => {
    const random = seededRandom("toUrlsafe round trip");
    const seen = new Map<string, string>();
    for (let i = 0; i < 2000; i++) {
      const plain = random.text(60);
      const safe = toUrlsafe(plain);
      assertMatch(safe, /^(?:[A-Za-z0-9_-]|\.[0-9A-F]{2})*$/);
      assertEquals(fromUrlsafe(safe), plain);
      assertEquals(encodeURIComponent(safe), safe);
      assertEquals(new URL(`http://h/b/${safe}/1`).pathname, `/b/${safe}/1`);
      assertEquals(seen.get(safe) ?? plain, plain, "two names became one");
      seen.set(safe, plain);
    }
    assert(seen.size > 1000, `only ${seen.size} different names`);
  });

  it("map every byte value that text can hold, one character at a time", () => {
    for (let code = 0; code < 0x10000; code++) {
      if (code >= 0xd800 && code < 0xe000) continue;
      const character = String.fromCharCode(code);
      assertEquals(fromUrlsafe(toUrlsafe(character)), character);
    }
  });

  it("refuse a lone surrogate, which is no UTF-8", () => {
    for (const text of ["\ud800", "a\udc00b", "\udc00\ud800", "\ud83d"]) {
      assertStringIncludes(refused(() => toUrlsafe(text)), "must be well-formed text");
    }
  });

  it("refuse what is no text", () => {
    for (const value of [undefined, null, 1, {}, ["a"]]) {
      refused(() => toUrlsafe(value as string));
      refused(() => fromUrlsafe(value as string));
    }
  });

  it("refuse to read what toUrlsafe cannot have made: each name has one spelling", () => {
    const wrong = [".", "..", ".2", "a/b", "a b", "%41", "a%2Fb", ".41", ".2e", ".c3.a9", ".C3", ".FF", ".ED.A0.80"];
    for (const safe of [...wrong, ".C0.80", "é", "~", ".2E.", ".-1"]) {
      assertStringIncludes(refused(() => fromUrlsafe(safe)), "must be made by toUrlsafe()");
    }
  });
});

describe("checkKeys", () => {
  it("takes keys or one array of keys, each once, in order", () => {
    assertEquals(checkKeys("mark keys", ["b", "a", "b", ""]), ["b", "a", ""]);
    assertEquals(checkKeys("mark keys", [["b", "a", "b"]]), ["b", "a"]);
    assertEquals(checkKeys("mark keys", []), []);
    assertEquals(checkKeys("mark keys", [[]]), []);
  });

  it("refuses what is no key, naming the call and the value", () => {
    for (const [value, shown] of [[undefined, "undefined"], [null, "null"], [1, "1"], [{}, "{}"]] as const) {
      const message = refused(() => checkKeys("mark keys", ["a", value]));
      assertEquals(message, `Cannot mark keys as a key must be a string: current value is ${shown}`);
    }
    refused(() => checkKeys("mark keys", ["a", ["b"]]));
    refused(() => checkKeys("mark keys", [[["a"]]]));
  });

  it("refuses lone surrogates, which would reach Redis as another key", () => {
    assertStringIncludes(refused(() => checkKeys("mark keys", ["a\ud800"])), "lone surrogate");
  });

  it("allows 32,768 bytes of UTF-8, not one more", () => {
    for (const [unit, bytes] of [["a", 1], ["é", 2], ["€", 3], ["😀", 4]] as const) {
      const longest = unit.repeat(Math.floor(32768 / bytes)) + "a".repeat(32768 % bytes);
      assertEquals(checkKeys("mark keys", [longest]), [longest]);
      const message = refused(() => checkKeys("mark keys", [longest + "a"]));
      assertStringIncludes(message, "at most 32768 bytes of UTF-8");
      assertLessOrEqual(message.length, 300, "a message holds no whole key");
    }
  });

  it("refuses Tundra's own keys of any queue, and only those", () => {
    for (const key of ["tundra:default:rec:a", "tundra:other:dirty", "tundra:", "tundra:x"]) {
      assertStringIncludes(refused(() => checkKeys("mark keys", ["a", key])), "tundra:... is Tundra's own");
    }
    const fine = ["tundra", "Tundra:default:dirty", " tundra:a", "my:tundra:a"];
    assertEquals(checkKeys("mark keys", fine), fine);
  });
});

describe("checkTqname", () => {
  it("takes 1 to 64 characters A-Z a-z 0-9 _ -", () => {
    for (const name of ["default", "a", "A_z-9", "x".repeat(64)]) assertEquals(checkTqname(name), name);
  });

  it("refuses anything else", () => {
    for (const name of ["", "x".repeat(65), "a:b", "a/b", "a.b", "a b", "é", "a\n", undefined, null, 1, ["a"]]) {
      assertStringIncludes(refused(() => checkTqname(name)), "tqname must be 1 to 64 characters");
    }
  });
});

describe("the keys and objects of a store", () => {
  it("are spelled as the protocol says", async () => {
    const { record, temporary, cursor, ...keys } = redisKeys("default");
    assertEquals(keys, {
      dirty: "tundra:default:dirty",
      idle: "tundra:default:idle",
      dead: "tundra:default:dead",
      purge: "tundra:default:purge",
      id: "tundra:default:id",
      tick: "tundra:default:tick",
      lostRecordsCursor: "tundra:default:lost_records_cursor",
      hours: "tundra:default:hours",
      runs: "tundra:default:runs",
      stats: "tundra:default:stats",
      erased: "tundra:default:erased",
    });
    assertEquals(record("user:1"), "tundra:default:rec:user:1");
    assertEquals(record(""), "tundra:default:rec:");
    assertEquals(temporary("x"), "tundra:default:tmp:x");
    assertEquals(cursor("sweep"), "tundra:default:cursor:sweep");
    assertEquals(ownerObject("default", "first"), "default/~owner/first");
    assertEquals(await objectPrefix({ tqname: "default" }, "user:1"), "default/user.3A1/");
    assertEquals(await objectName({ tqname: "default" }, "user:1", "17-ab"), "default/user.3A1/17-ab");
    assertEquals(await objectPrefix({ tqname: "default" }, ""), "default/~/");
  });

  it("give stores of other names nothing in common", () => {
    const all = ["a", "b", "a-b"].flatMap((tqname) => {
      const { record, temporary: _, cursor, ...keys } = redisKeys(tqname);
      return [...Object.values(keys), record("dirty"), record("x"), cursor("x"), ownerObject(tqname, "first")];
    });
    assertEquals(new Set(all).size, all.length);
  });

  it("shorten a long key to a prefix and digits of its SHA-256, so that no part of a name passes what a disk takes", async () => {
    assertEquals(await objectPrefix({ tqname: "q" }, "a".repeat(200)), `q/${"a".repeat(200)}/`);
    const digits = (await sha256Hex("a".repeat(201))).slice(0, 32);
    assertEquals(await objectPrefix({ tqname: "q" }, "a".repeat(201)), `q/${"a".repeat(167)}~${digits}/`);
    const ugly = "日".repeat(100); // 900 characters escaped
    const cut = toUrlsafe(ugly).slice(0, 165); // the 167th would be in the middle of an escape
    assertEquals(await objectPrefix({ tqname: "q" }, ugly), `q/${cut}~${(await sha256Hex(ugly)).slice(0, 32)}/`);
    for (const key of ["a", "A", "日", "%", "."].map((one) => one.repeat(8000))) {
      for (const part of (await objectName({ tqname: "t".repeat(64) }, key, "9".repeat(40))).split("/")) {
        assertLessOrEqual(part.length, 200);
      }
    }
  });

  it("differ also without case: a key with A-Z has digits of its SHA-256, and the others stay readable alone", async () => {
    assertEquals(await objectPrefix({ tqname: "q" }, "sess:abc"), "q/sess.3Aabc/");
    assertEquals(
      await objectPrefix({ tqname: "q" }, "sess:aBc"),
      `q/sess.3AaBc~${(await sha256Hex("sess:aBc")).slice(0, 32)}/`,
    );
    const keys = ["a", "b", "ab", ":", ".3a", ".3A", "é", "~", "a~b"].flatMap((key) => {
      const cases = [key, key.toUpperCase(), key + key.toUpperCase(), key.toUpperCase() + key, toUrlsafe(key)];
      return [...cases, toUrlsafe(key).toLowerCase(), ...cases.map((each) => each.repeat(100))];
    });
    const names = await Promise.all([...new Set(keys)].map((key) => objectPrefix({ tqname: "q" }, key)));
    assertEquals(new Set(names.map((name) => name.toLowerCase())).size, new Set(keys).size);
  });

  it("never collide with Tundra's own objects, which begin with ~ and go on", async () => {
    for (const key of ["", "~", "~owner", "~packs", "owner", "~Owner", "~".repeat(300)]) {
      const prefix = await objectPrefix({ tqname: "q" }, key);
      assert(prefix === "q/~/" || !prefix.startsWith("q/~"), prefix);
    }
  });

  it("tell the key, unless it was shortened", async () => {
    const random = seededRandom("keys of objects");
    for (const key of ["", "~", "a", "A", "aB:é", "user:1", "x".repeat(200), "X".repeat(167), random.text(30)]) {
      assertEquals(await keyOfObject(await objectName({ tqname: "q" }, key, "1")), key);
    }
    for (const key of ["x".repeat(201), "X".repeat(201), "日".repeat(100)]) {
      assertEquals(await keyOfObject(await objectName({ tqname: "q" }, key, "1")), undefined);
    }
    for (const name of ["q/~owner", "q/~packs/1", "q", "", "q/a~b/1", "q/A/1", "q/a~0123/1", "q/.zz/1"]) {
      assertEquals([name, await keyOfObject(name)], [name, undefined]);
    }
  });

  it("give different keys different objects, also if long keys begin alike: 500 random pairs", async () => {
    const random = seededRandom("object names");
    const names = new Map<string, string>();
    for (let i = 0; i < 500; i++) {
      const stem = random.text(40) + ".".repeat(random.pick([0, 50, 66, 67, 256, 700]));
      for (const key of [stem + random.text(8), stem + random.text(8)]) {
        const name = await objectName({ tqname: "q" }, key, "1");
        assertMatch(name, /^q\/[A-Za-z0-9_.~-]+\/1$/);
        assertLessOrEqual(name.length, 210);
        assertEquals(names.get(name.toLowerCase()) ?? key, key);
        names.set(name.toLowerCase(), key);
        assertEquals(new URL(`http://h/b/${name}`).pathname, `/b/${name}`, "fetch leaves the name as it is");
      }
    }
  });
});

describe("showKeys", () => {
  it("names three keys and counts the rest", () => {
    assertEquals(showKeys([]), "");
    assertEquals(showKeys(["a"]), `"a"`);
    assertEquals(showKeys(["a", "b\n", "c"]), `"a", "b\\n", "c"`);
    assertEquals(showKeys(["a", "b", "c", "d", "e"]), `"a", "b", "c" and 2 more`);
  });
});

describe("versions", () => {
  const [early, late, rival] = ["1763000000000001-0a1b2c3d", "1763000000000002-0a1b2c3d", "1763000000000002-ffffffff"];

  it("are the newest if none has a later time, and several if they have the same: a nonce tells no order", () => {
    assertEquals(newestOf([]), []);
    assertEquals(newestOf([early, late, early]), [late]);
    assertEquals(newestOf([rival, early, late, rival]), [rival, late]);
    assertEquals(newestOf(["~owner", "no version", "9999999999999999"]), []);
    assertEquals(newestOf(["no version", early]), [early]);
  });

  it("come after the version before, also if the clock went back, and never twice", () => {
    const us = versionMicros(late);
    assertEquals([us + 5, us, us - 5].map((nowUs) => versionMicros(versionAfter(nowUs, late))), [
      us + 5,
      us + 1,
      us + 1,
    ]);
    assertEquals(versionMicros(versionAfter(7, "")), 7);
    assert(versionAfter(us, early) !== versionAfter(us, early));
  });

  it("of tombstones in objects of their own say so, and if the key was removed on purpose", () => {
    const [removed, inferred] = [true, false].map((onPurpose) => tombstoneVersion(late, onPurpose));
    assertEquals([late, removed!, inferred!].map(goneOf), [undefined, true, "inferred"]);
    assertEquals([late, removed!, inferred!].map(versionMicros), new Array(3).fill(versionMicros(late)));
    assertEquals(["", "x", `${late}0`, `${late}dd`].map(goneOf), new Array(4).fill(undefined));
  });
});
