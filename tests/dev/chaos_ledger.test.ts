/** The checker of the chaos run: it must accept what may be, and nothing else. */
import { describe, it } from "node:test";
import { assertEquals, assertMatch } from "@std/assert";
import { type Event, ledger, type Limbo, parseEvents, type Value, worth, type Write } from "../../dev/chaos/ledger.ts";
import { HOUR_MS } from "../support/times.ts";

function tried(write: Write, at: number, limbo: Limbo = "none"): Event {
  return { is: "try", key: "k", at, write, limbo };
}

function acked(at: number): Event {
  return { is: "ack", key: "k", at };
}

function saw(value: Value, at = 1_000_000): Event {
  return { is: "saw", key: "k", from: at, to: at + 10, value };
}

/** The violations of these events, one after the other. */
function violations(...events: Event[]): readonly string[] {
  const book = ledger();
  for (const event of events) book.add(event);
  return book.violations;
}

const string = (data: string, exp = 0): Value => ({ data, exp });

describe("the ledger of a chaos run", () => {
  it("finds an acknowledged write that is lost", () => {
    const writes = [tried({ do: "set", value: "old" }, 1), acked(2), tried({ do: "set", value: "new" }, 3), acked(4)];
    assertEquals(violations(...writes, saw(string("new"))), []);
    assertEquals(violations(...writes, saw(string("old"))), ['k: is "old", must be "new"']);
    assertEquals(violations(...writes, saw("absent")), ['k: is absent, must be "new"']);
  });

  it("finds an acknowledgement that was forged: nothing was ever written", () => {
    assertMatch(violations(tried({ do: "rpush", value: "a" }, 1), acked(2), saw("absent"))[0]!, /must be \["a"\]/);
    assertMatch(violations(acked(2))[0]!, /acknowledgement of nothing/);
  });

  it("takes a write without an acknowledgement for either, until it is seen", () => {
    const events = [tried({ do: "set", value: "old" }, 1), acked(2), tried({ do: "set", value: "new" }, 3)];
    for (const value of ["old", "new"]) assertEquals(violations(...events, saw(string(value))), []);
    assertEquals(violations(...events, saw("absent")).length, 1);
    assertEquals(violations(...events, saw(string("new")), saw(string("old"))), ['k: is "old", must be "new"']);
    assertEquals(violations(...events, saw(string("old")), saw(string("new"))), ['k: is "new", must be "old"']);
  });

  it("finds a partial value in place of a whole one, and a removal that was undone", () => {
    const hash: Event[] = ["a", "b"].flatMap((field, i): Event[] => [
      tried({ do: "hset", field, value: "1" }, 2 * i),
      acked(2 * i + 1),
    ]);
    assertEquals(violations(...hash, saw({ data: { b: "1", a: "1" }, exp: 0 })), []);
    assertEquals(violations(...hash, saw({ data: { b: "1" }, exp: 0 })).length, 1);
    const removed = [...hash, tried({ do: "remove" }, 8), acked(9)];
    assertEquals(violations(...removed, saw("absent")), []);
    assertEquals(violations(...removed, saw({ data: { a: "1", b: "1" }, exp: 0 })).length, 1);
  });

  it("finds an own expiry that is lost, moved by a millisecond, or outlived", () => {
    const exp = 1_000_000 + HOUR_MS;
    const events = [
      tried({ do: "set", value: "v" }, 1_000_000),
      acked(1_000_001),
      tried({ do: "expire", at: exp }, 1_000_002),
      acked(1_000_003),
    ];
    assertEquals(violations(...events, saw(string("v", exp))), []);
    assertEquals(violations(...events, saw(string("v"))).length, 1);
    assertEquals(violations(...events, saw(string("v", exp - 1))).length, 1);
    assertEquals(violations(...events, saw("absent")).length, 1, "too early");
    assertEquals(violations(...events, saw("absent", exp + 2000)), []);
    assertEquals(violations(...events, saw(string("v", exp), exp + 2000)).length, 1, "too late");
    for (const value of [string("v", exp), "absent"] as const) {
      assertEquals(violations(...events, saw(value, exp - 5)), [], "as the key expires it may be either");
    }
  });

  it("takes for restored only a value that the key may have had, and that has not expired", () => {
    const exp = 1_000_000 + HOUR_MS;
    const events = [
      ...[tried({ do: "set", value: "first" }, 1), acked(2), tried({ do: "set", value: "second" }, 3), acked(4)],
      ...[tried({ do: "set", value: "third" }, 5), saw(string("second"), 6)],
      ...[tried({ do: "expire", at: exp }, 1_000_000), acked(1_000_001)],
      ...[tried({ do: "set", value: "last" }, 1_000_002), acked(1_000_003), tried({ do: "restore" }, 1_000_004)],
    ];
    for (const value of ["first", "second", "third", "last"]) {
      assertEquals(violations(...events, acked(1_000_005), saw(string(value))), [], value);
    }
    assertEquals(violations(...events, acked(1_000_005), saw(string("second", exp))), []);
    assertEquals(violations(...events, saw(string("last"))), [], "it was not acknowledged");
    for (const wrong of [string("fourth"), string("first", exp), "absent"] as const) {
      assertEquals(violations(...events, acked(1_000_005), saw(wrong)).length, 1);
    }
    const late = [tried({ do: "restore" }, exp + 5_000), acked(exp + 5_001)];
    const after = [...events, saw(string("last")), ...late];
    assertEquals(violations(...after, saw(string("second", exp), exp + 5_002)).length, 1, "what has expired");
  });

  it("knows that a write on a key that has expired meanwhile begins anew, without an expiry", () => {
    const exp = 1_000_000 + HOUR_MS;
    const book = ledger();
    const push = (value: string, from: number, to: number) => {
      book.add(tried({ do: "rpush", value }, from));
      book.add(acked(to));
    };
    push("a", 1_000_000, 1_000_001);
    book.add(tried({ do: "expire", at: exp }, 1_000_002));
    book.add(acked(1_000_003));
    push("b", exp - 3000, exp + 3000); // it ran before or after
    assertEquals(worth(book.state("k"), exp + 5000, exp + 5001), ["absent", { data: ["b"], exp: 0 }]);
    push("c", exp + 6000, exp + 6001);
    const both = [{ data: ["c"], exp: 0 }, { data: ["b", "c"], exp: 0 }];
    assertEquals(worth(book.state("k"), exp + 7000, exp + 7001), both);
  });

  it("reports one loss once, and what an application found by itself", () => {
    const lost = [tried({ do: "set", value: "v" }, 1), acked(2), saw("absent"), saw("absent")];
    assertEquals(violations(...lost).length, 1);
    assertEquals(violations({ is: "bad", key: "k", at: 1, what: "ensureKs: LOST" }), ["k: ensureKs: LOST"]);
  });

  it("refuses a second write before the first one is decided: the truth would not be known", () => {
    assertMatch(violations(tried({ do: "remove" }, 1), tried({ do: "remove" }, 2))[0]!, /the ledger is wrong/);
  });

  it("reads a file whose last line was cut short by a SIGKILL", () => {
    const text = `${JSON.stringify(acked(2))}\n${JSON.stringify(saw("absent")).slice(0, 20)}`;
    assertEquals(parseEvents(text), [acked(2)]);
    assertEquals(parseEvents(`${text}\n${JSON.stringify(acked(3))}\n`), [acked(2), acked(3)]);
  });

  it("counts what was acknowledged, left unknown and compared", () => {
    const book = ledger();
    const events = [
      tried({ do: "set", value: "a" }, 1),
      acked(2),
      tried({ do: "set", value: "b" }, 3),
      saw(string("b")),
    ];
    for (const event of [...events, { is: "did", what: "evict", at: 5, good: true } as const]) book.add(event);
    assertEquals({ ...book.counts }, { acknowledged: 1, unknown: 1, compared: 1, evict: 1 });
  });
});
