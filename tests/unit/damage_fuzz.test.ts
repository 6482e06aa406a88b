/**
 * Properties of all that is read from the archive and from records: whatever bytes or text come, the answer is the
 * right value or an error, never a wrong value. TUNDRA_SEED replays.
 */
import { describe, it } from "node:test";
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { Encoder } from "cbor-x/encode";
import fc from "fast-check";
import { sealContainer } from "../../src/archive/container.ts";
import type { Freezer } from "../../src/archive/freezer.ts";
import type { ArchiveRecord, Tombstone } from "../../src/archive/record.ts";
import { TundraError } from "../../src/base/errors.ts";
import { fromUrlsafe, toUrlsafe } from "../../src/base/keys.ts";
import { deflateFreezer } from "../../src/freezers/deflate.ts";
import { parseRecord, PRELUDE } from "../../src/scripts/prelude.ts";
import { seededRandom } from "../support/random.ts";
import { freezeRecord, NAME, thawRecord } from "../support/records.ts";
import { withStack } from "../support/stack.ts";

const { seed } = seededRandom("the properties of damage_fuzz");
const params = (numRuns: number) => ({ seed, numRuns });

const time = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const text = (maxLength: number) => fc.string({ unit: "binary", maxLength });
const bytes = (maxLength: number) => fc.uint8Array({ maxLength });
const value: fc.Arbitrary<ArchiveRecord> = fc.record(
  { key: text(40), ver: text(30), at: time, exp: time, dump: bytes(300) },
  { noNullPrototype: true },
);
const tombstone: fc.Arbitrary<Tombstone> = fc.record(
  { key: text(40), ver: text(30), at: time, gone: fc.constant(true as const) },
  { noNullPrototype: true },
);
const record = fc.oneof(value, tombstone);

/** One place where bytes are changed, dropped or put in. */
const edit = fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true }), drop: fc.nat(4), put: bytes(4) });

function edited(original: Uint8Array, edits: { at: number; drop: number; put: Uint8Array }[]): Uint8Array<ArrayBuffer> {
  let all = [...original];
  for (const { at, drop, put } of edits) {
    const place = Math.floor(at * all.length);
    all = [...all.slice(0, place), ...put, ...all.slice(place + drop)];
  }
  return Uint8Array.from(all);
}

/**
 * The result of thawing: the record, or the code of its TundraError. Anything else that is thrown fails the property.
 */
async function outcome(
  object: Uint8Array,
  expected: { key: string; ver: string },
  freezers: Freezer[],
): Promise<ArchiveRecord | Tombstone | string> {
  try {
    return await thawRecord(object, expected, freezers);
  } catch (error) {
    assert(error instanceof TundraError, `threw ${error}`);
    assertEquals(error.retryable, false);
    return error.code;
  }
}

const encoder = new Encoder({ tagUint8Array: false, variableMapSize: true, useRecords: false });

describe("any record", () => {
  it("comes back as it was, whatever the freezers", async () => {
    await fc.assert(
      fc.asyncProperty(record, fc.boolean(), async (original, deflate) => {
        const freezers = deflate ? [deflateFreezer()] : [];
        assertEquals(await outcome(await freezeRecord(original, freezers), original, freezers), original);
      }),
      params(300),
    );
  });

  it("is CORRUPT for any other key or version", async () => {
    await fc.assert(
      fc.asyncProperty(record, text(40), text(30), async (original, key, ver) => {
        fc.pre(key !== original.key || ver !== original.ver);
        assertEquals(await outcome(await freezeRecord(original, []), { key, ver }, []), "CORRUPT");
      }),
      params(300),
    );
  });

  it("is CORRUPT after any edits of its object", async () => {
    await fc.assert(
      fc.asyncProperty(record, fc.array(edit, { minLength: 1, maxLength: 3 }), async (original, edits) => {
        const object = await freezeRecord(original, [deflateFreezer()]);
        const damaged = edited(object, edits);
        fc.pre(!same(damaged, object));
        assertEquals(await outcome(damaged, original, [deflateFreezer()]), "CORRUPT");
      }),
      params(400),
    );
  });
});

describe("bytes that hold a right checksum", () => {
  it("are CORRUPT, or UNSUPPORTED, if they are random", async () => {
    await fc.assert(
      fc.asyncProperty(bytes(200), fc.boolean(), async (frozen, deflate) => {
        const expected = { key: "k", ver: "v" };
        const object = await sealContainer(deflate ? ["deflate"] : [], frozen);
        const answer = await outcome(object, expected, [deflateFreezer({ maxBytes: 1 << 16 })]);
        assert(answer === "CORRUPT" || answer === "UNSUPPORTED", String(answer));
      }),
      params(400),
    );
  });

  it("have a list of freezers that is read in any case", async () => {
    await fc.assert(
      fc.asyncProperty(bytes(80), async (rest) => {
        const object = await resealed(Uint8Array.from([...new Array(36).fill(0), 1, ...rest]));
        const answer = await outcome(object, { key: "k", ver: "v" }, [deflateFreezer({ maxBytes: 1 << 16 })]);
        assert(answer === "CORRUPT" || answer === "UNSUPPORTED", String(answer));
      }),
      params(400),
    );
  });

  it("are CORRUPT if they name more freezers than may be, or one twice, before any of them runs", async () => {
    let runs = 0;
    const counting = Array.from({ length: 16 }, (_, i): Freezer => ({
      id: `f${i}`,
      freeze: (input) => input,
      thaw: (input) => (runs++, input),
    }));
    const original: Tombstone = { key: "k", ver: "v", at: 1, gone: true };
    assertEquals(await outcome(await freezeRecord(original, counting), original, counting), original);
    assertEquals(runs, 16);
    for (
      const ids of [["f0", "f0"], ["f0", "f1", "f0"], new Array(255).fill("f0"), [
        ...counting.map(({ id }) => id),
        "f16",
      ]]
    ) {
      assertEquals(await outcome(await sealContainer(ids, new Uint8Array(9)), original, counting), "CORRUPT");
    }
    assertEquals(runs, 16);
  });

  it("are the record only if they are exactly what it is written as", async () => {
    await fc.assert(
      fc.asyncProperty(record, fc.array(edit, { minLength: 1, maxLength: 2 }), async (original, edits) => {
        const object = await freezeRecord(original, []);
        const changed = await resealed(edited(object.subarray(0), edits));
        const answer = await outcome(changed, original, []);
        if (typeof answer === "string") assert(answer === "CORRUPT" || answer === "UNSUPPORTED", answer);
        else assertEquals(await freezeRecord({ ...answer, key: original.key, ver: original.ver }, []), changed);
      }),
      params(500),
    );
  });

  it("are CORRUPT if they hold any other CBOR, and leave nothing behind", async () => {
    const names = fc.constantFrom("v", "key", "ver", "at", "exp", "dump", "gone", "__proto__", "constructor", "length");
    const anything = fc.anything({
      withBigInt: true,
      withDate: true,
      withMap: true,
      withSet: true,
      withTypedArray: true,
    });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(names, anything), { maxLength: 8 }), fc.boolean(), async (fields, good) => {
        const base = good ? { v: 1, key: "k", ver: "v", at: 1, exp: 0, dump: new Uint8Array(3) } : {};
        const map = new Map<string, unknown>(Object.entries(base));
        for (const [name, field] of fields) map.set(name, field);
        let encoded: Uint8Array<ArrayBuffer>;
        try {
          encoded = new Uint8Array(encoder.encode(map));
        } catch {
          return; // not everything has a CBOR form
        }
        const object = await sealContainer([], encoded);
        const answer = await outcome(object, { key: "k", ver: "v" }, []);
        if (typeof answer === "string") assert(answer === "CORRUPT" || answer === "UNSUPPORTED", answer);
        else assertEquals(await freezeRecord(answer, []), object);
        assertEquals(Object.keys(Object.prototype), []);
      }),
      params(500),
    );
  });
});

describe("the deflate freezer", () => {
  const maxBytes = 50_000;
  const freezer = deflateFreezer({ maxBytes });

  it("thaws random bytes to at most its bound, or not at all", async () => {
    const head = fc.constantFrom([], [0], [1], [1, 0, 0, 0, 9], [1, 0, 0, 195, 80], [1, 255, 255, 255, 255]);
    await fc.assert(
      fc.asyncProperty(head, bytes(400), async (first, rest) => {
        const input = Uint8Array.from([...first, ...rest]);
        try {
          const thawed = await freezer.thaw(input, { name: NAME });
          assert(thawed.length <= maxBytes, String(thawed.length));
        } catch (error) {
          assert(error instanceof TundraError && error.code === "CORRUPT", String(error));
        }
      }),
      params(1000),
    );
  });

  it("thaws edited bytes to at most its bound, or not at all, and the intact ones as ever afterwards", async () => {
    await fc.assert(
      fc.asyncProperty(bytes(600), fc.array(edit, { minLength: 1, maxLength: 2 }), async (original, edits) => {
        const frozen = await freezer.freeze(original, { name: NAME });
        let thawed: Uint8Array | undefined;
        try {
          thawed = await freezer.thaw(edited(frozen, edits), { name: NAME });
        } catch (error) {
          assert(error instanceof TundraError && error.code === "CORRUPT", String(error));
        }
        assert(thawed === undefined || thawed.length <= maxBytes);
        assertEquals(await freezer.thaw(frozen, { name: NAME }), original);
      }),
      params(300),
    );
  });
});

describe("toUrlsafe", () => {
  it("makes names of RFC 3986 unreserved characters that no URL parser changes, and fromUrlsafe undoes it", () => {
    fc.assert(
      fc.property(text(60), (name) => {
        const safe = toUrlsafe(name);
        assert(/^[A-Za-z0-9_.-]*$/.test(safe), safe);
        assertEquals(fromUrlsafe(safe), name);
        assertEquals(new URL(`http://host/x/${safe}/y`).pathname, `/x/${safe}/y`);
      }),
      params(1000),
    );
  });

  it("makes different names of different names", () => {
    fc.assert(
      fc.property(text(8), text(8), (a, b) => {
        fc.pre(a !== b);
        assertNotEquals(toUrlsafe(a), toUrlsafe(b));
      }),
      params(1000),
    );
  });

  it("has no second spelling: fromUrlsafe takes what it made, all else is BAD_ARGUMENT", () => {
    const escapes = fc.array(
      fc.constantFrom("a", ".", ".4", ".41", ".2e", ".2E", ".C3", ".A9", ".FF", "%41", "/", "_"),
    );
    fc.assert(
      fc.property(fc.oneof(text(20), escapes.map((parts) => parts.join(""))), (safe) => {
        let name: string | undefined;
        try {
          name = fromUrlsafe(safe);
        } catch (error) {
          assert(error instanceof TundraError && error.code === "BAD_ARGUMENT", String(error));
        }
        if (name !== undefined) assertEquals(toUrlsafe(name), safe);
      }),
      params(2000),
    );
  });
});

describe("the text of a record", () => {
  const stack = withStack();
  // Both parsers' answers as text, or "-".
  const lua = `${PRELUDE}
    local out = {}
    for i = 1, #ARGV do
      local r = parse(ARGV[i])
      if r then
        out[i] = table.concat({ int(r.rev), r.ver == '-' and '' or r.ver, r.flag, r.fp == '-' and '' or r.fp,
          int(r.exp), int(r.touch), int(r.attempts), r.old == '-' and '' or r.old, int(r.rescues), int(r.kb), r.error }, '|')
      else
        out[i] = '-'
      end
    end
    return out`;

  /** Milliseconds, far ahead of all clocks. */
  const MOST_TOUCH = 1e14;

  function parsed(line: string): string {
    const read = parseRecord(line);
    if (!read) return "-";
    const { rev, ver, flag, fp, exp, touch, attempts, old, rescues, kb, error } = read;
    return [
      BigInt(rev),
      ver,
      flag,
      fp,
      BigInt(exp),
      BigInt(touch < MOST_TOUCH ? touch : 0), // of a clock that ran ahead: none, to a script
      BigInt(attempts),
      old,
      BigInt(rescues),
      BigInt(kb),
      error,
    ].join("|");
  }

  const digits = fc.oneof(
    fc.nat().map(String),
    fc.constantFrom("0", "007", "1764000000000001", "", "-1", "1e3", "0x10", "1.5"),
  );
  const word = fc.oneof(
    fc.constantFrom("-", "1764000000000001-0a1b2c3d", "", " ", "\t", "\u00a0", "\u2003", "\ufeff", "\u2028"),
    text(6),
  );
  const tail = fc.oneof(
    fc.constantFrom("", "UNAVAILABLE Cannot", "a\nb", "\n", "\r", "\u2028", "\u0085", "x "),
    text(12),
  );
  const flags = fc.constantFrom("r", "e", "g", "m", "r", "e", "g", "x", "", "rr");
  const version = fc.constantFrom("1", "1", "1", "1", "2", "", " 1", "1 ");
  const line = fc.tuple(
    version,
    digits,
    word,
    flags,
    word,
    digits,
    digits,
    digits,
    word,
    word,
    word,
    digits,
    digits,
    tail,
  )
    .map((fields) => fields.join(" "));
  const good = fc.tuple(fc.nat(), fc.nat(), fc.nat(), tail).map(([rev, exp, touch, error]) =>
    `1 ${rev} 1764000000000001-0a1b2c3d e 0a1b ${exp} ${touch} 2 - 17.5 - 0 0 ${error}`
  );

  it("means the same to the scripts and to the package, whatever it is", async () => {
    let read = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof(line, good, text(40)), { minLength: 50, maxLength: 150 }), async (lines) => {
        const replies = await stack.raw("EVAL", lua, 0, ...lines) as Uint8Array[];
        const theirs = replies.map((reply) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(reply));
        const ours = lines.map(parsed);
        lines.forEach((one, i) => assertEquals([one, ours[i]], [one, theirs[i]]));
        read += ours.filter((answer) => answer !== "-").length;
      }),
      params(40),
    );
    assert(read > 500, `only ${read} of the texts are records: the test would show nothing`);
  });
});

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** An object with its checksum made right again; too short ones stay as they are. */
async function resealed(object: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const copy = new Uint8Array(object);
  if (copy.length < 36) return copy;
  copy.set([0x54, 0x4e, 0x44, 0x52]);
  copy.set(new Uint8Array(await crypto.subtle.digest("SHA-256", copy.slice(36))), 4);
  return copy;
}
