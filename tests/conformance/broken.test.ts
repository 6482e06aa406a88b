/**
 * The conformance suite can fail: datastores with one fault each, and the case that finds it. No case is without one.
 */
// deno-lint-ignore-file require-await
import { Buffer } from "node:buffer";
import { describe, it } from "node:test";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { type Datastore, memoryDatastore, notFound, TundraError } from "../../mod.ts";
import { checkReads } from "../../src/datastores/ranges.ts";
import { type DatastoreCapabilities, type DatastoreUnderTest, describeDatastore } from "../../src/testing/mod.ts";
import { ALL } from "./datastore.ts";

/** All cases of one suite, by title, not run yet. */
function collect(
  make: () => DatastoreUnderTest | Promise<DatastoreUnderTest>,
  capabilities: DatastoreCapabilities = {},
): Map<string, () => Promise<void>> {
  const cases = new Map<string, () => Promise<void>>();
  describeDatastore("under test", make, {
    describe: (_title, act) => act(),
    it: (title, act) => {
      assert(!cases.has(title), `two cases have one title: ${title}`);
      cases.set(title, act);
    },
    ...ALL,
    ...capabilities,
  });
  return cases;
}

/** The titles of the cases that fail, with what each says. */
async function failuresOf(cases: Map<string, () => Promise<void>>): Promise<Record<string, string>> {
  const failures: Record<string, string> = {};
  for (const [title, act] of cases) await act().catch((error: Error) => failures[title] = error.message);
  return failures;
}

const later = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const unavailable = () => Promise.reject(new TundraError("UNAVAILABLE", "Cannot connect"));
/** A datastore in memory, whole, and one that is nowhere. */
const unreachable = (): Datastore => ({
  putKey: unavailable,
  fetchKeys: (names) => Promise.resolve(names.map(() => new TundraError("UNAVAILABLE", "Cannot connect"))),
  fetchRanges: (reads) => Promise.resolve(reads.map(() => new TundraError("UNAVAILABLE", "Cannot connect"))),
  hasKeys: (names) => Promise.resolve(names.map(() => new TundraError("UNAVAILABLE", "Cannot connect"))),
  listKeys: unavailable,
  deleteKeys: unavailable,
});
/** In memory, but counted as if each name or range were a request. */
function overHttp(store = memoryDatastore()): Required<Datastore> {
  const send = (options?: { onRequest?: () => void }) => options?.onRequest?.();
  return {
    ...store,
    putKey: async (name, value, options) => (send(options), await store.putKey(name, value, options)),
    fetchKeys: async (names, options) => (names.forEach(() => send(options)), await store.fetchKeys(names, options)),
    fetchRanges: async (reads, options) => {
      checkReads(reads);
      reads.forEach(() => send(options));
      return await store.fetchRanges(reads, options);
    },
    hasKeys: async (names, options) => (names.forEach(() => send(options)), await store.hasKeys(names, options)),
    deleteKeys: async (names, options) => (send(options), await store.deleteKeys(names, options)),
    listKeys: async (prefix, cursor, options) => (send(options), await store.listKeys(prefix, cursor, options)),
  };
}

type Memory = ReturnType<typeof memoryDatastore>;

interface Broken {
  fault: string;
  /** The case that finds it, and what that says. */
  found: string;
  says: string;
  make(memory: Memory): Datastore;
  capabilities?: DatastoreCapabilities;
}

const PUT = "gives back exactly the bytes that were put";
const NAMES = "takes every name that a datastore must take";
const ALIKE = "keeps apart names that look alike";
const VIEWS = "puts the bytes that a view shows, and holds a copy";
const AGAIN = "replaces an object that is put again";
const KEEPS = "refuses other bytes under a name that is taken, and keeps what is there";
const AGAIN_OR_KEEPS = "replaces an object that is put again, or refuses other bytes and keeps what is there";
const NOW = "shows at once what was put, replaced and deleted, also if it was absent a moment before";
const ABSENT = "says NOT_FOUND in the slot of an absent object, and gives back the others";
const NEW = "refuses an object that must be new if its name is taken, and keeps what is there";
const NOT_NEW = "stores an object that must be new although its name is taken, as it cannot tell";
const EITHER = "refuses an object that must be new if its name is taken, or stores it";
const PARTS = "makes one object of parts, which nobody sees before it is complete";
const FAILED_PARTS = "stores nothing of parts that end in a failure, and passes it on";
const RANGES = "gives back exactly the ranges that were asked for, in the order of the reads";
const FIRST = "gives back the first byte alone";
const COPIES = "gives back ranges that are copies";
const END = "says NOT_FOUND of a range only if the object is absent; a range behind its end is CORRUPT";
const BAD_RANGE = "refuses a range that cannot be, before it asks for any";
const DELETE = "deletes what it is told to, and nothing else; absent objects are no error";
const PREFIX = "lists only the names that begin with the prefix, wherever it ends";
const LIST = "lists more than 1,000 names in ascending order, a page at a time";
const ORDER = "answers in the order of the names, the same name as often as asked";
const WHOLE = "shows an object whole or not at all while it is put";
const MANY = "serves many calls at once";
const NONE = "resolves without names";
const ABORT = "does nothing once its signal is aborted, and rejects with the signal's reason";
const REQUESTS = "announces each request, and makes none that was not allowed";
const UNREACHABLE = "says that it does not know, never that objects are absent, if its place is not there";

const broken: Broken[] = [
  {
    fault: "answers in an order of its own",
    found: ORDER,
    says: "the objects, which hold their names",
    make: (m) => ({ ...m, fetchKeys: (names, options) => m.fetchKeys([...names].sort(), options) }),
  },
  {
    fault: "asks for a name once, however often it is named",
    found: ORDER,
    says: "must be",
    make: (m) => ({ ...m, fetchKeys: (names, options) => m.fetchKeys([...new Set(names)], options) }),
  },
  {
    fault: "lets one failure spoil all",
    found: ABSENT,
    says: "partial/b",
    make: (m) => ({
      ...m,
      async fetchKeys(names, options) {
        const slots = await m.fetchKeys(names, options);
        for (const slot of slots) if (slot instanceof Error) throw slot;
        return slots;
      },
    }),
  },
  {
    fault: "answers nothing for what is absent",
    found: ABSENT,
    says: "NOT_FOUND",
    make: (m) => ({ ...m, fetchKeys: async (names) => names.map((name) => m.objects.get(name)!) }),
  },
  {
    fault: "overwrites although the object must be new",
    found: NEW,
    says: "putKey of a taken name must reject",
    make: (m) => ({ ...m, putKey: (name, value, options) => m.putKey(name, value, { ...options, ifAbsent: false }) }),
  },
  {
    fault: "looks before it puts, in two steps",
    found: NEW,
    says: "the number of puts that succeed if 8 begin at once must be 1",
    make: (m) => ({
      ...m,
      async putKey(name, value, options) {
        if (options?.ifAbsent && m.objects.has(name)) throw new TundraError("CONFLICT", `${name} is taken`);
        await later(1);
        return await m.putKey(name, value, { ...options, ifAbsent: false });
      },
    }),
  },
  {
    fault: "refuses a taken name although it says that it cannot",
    found: NOT_NEW,
    says: "no object may have that name",
    capabilities: { ifAbsent: false },
    make: (m) => m,
  },
  {
    fault: "says that it has stored an object under a taken name, and has not",
    found: EITHER,
    says: "the object must be",
    capabilities: { ifAbsent: undefined },
    make: (m) => ({
      ...m,
      putKey: async (name, value, o) => o?.ifAbsent && m.objects.has(name) ? true : await m.putKey(name, value, o),
    }),
  },
  {
    fault: "keeps the first object of a name",
    found: AGAIN,
    says: "04",
    make: (m) => ({ ...m, putKey: async (name, value, o) => m.objects.has(name) || await m.putKey(name, value, o) }),
  },
  {
    fault: "replaces an object although it says that it never does",
    found: KEEPS,
    says: "must be CONFLICT",
    capabilities: { replaces: false },
    make: (m) => m,
  },
  {
    fault: "refuses other bytes, and has replaced the object",
    found: AGAIN_OR_KEEPS,
    says: "the object must be",
    capabilities: { replaces: undefined },
    make: (m) => ({
      ...m,
      async putKey(name, value, options) {
        const taken = m.objects.has(name);
        await m.putKey(name, value, options);
        if (taken) throw new TundraError("CONFLICT", `${name} is taken`);
        return true;
      },
    }),
  },
  {
    fault: "takes the absence of its bucket for that of objects",
    found: UNREACHABLE,
    says: "must not answer that an object is absent",
    capabilities: {
      unreachable: () => ({ ...unreachable(), fetchKeys: (names) => Promise.resolve(names.map(notFound)) }),
    },
    make: (m) => m,
  },
  {
    fault: "has no objects while it cannot connect",
    found: UNREACHABLE,
    says: "hasKeys must answer an error: current value is false",
    capabilities: { unreachable: () => ({ ...unreachable(), hasKeys: async (names) => names.map(() => false) }) },
    make: (m) => m,
  },
  {
    fault: "lists nothing while it cannot connect",
    found: UNREACHABLE,
    says: "listKeys must reject",
    capabilities: { unreachable: () => ({ ...unreachable(), listKeys: async () => ({ names: [] }) }) },
    make: (m) => m,
  },
  {
    fault: "shows the half of an object that is put in two parts",
    found: WHOLE,
    says: "a fetch during a put must find a whole object",
    make: (m) => ({
      ...m,
      async putKey(name, value, options) {
        await m.putKey(name, value.subarray(0, value.length / 2), options);
        await later(5);
        return await m.putKey(name, value, { ...options, ifAbsent: false });
      },
    }),
  },
  {
    fault: "mixes parts of two objects",
    found: WHOLE,
    says: "an object that is fetched during a put must",
    make: (m) => ({
      ...m,
      async putKey(name, value, options) {
        const old = m.objects.get(name);
        const mixed = new Uint8Array(value);
        if (old) mixed.set(old.subarray(0, value.length / 2));
        await m.putKey(name, mixed, options);
        await later(5);
        return await m.putKey(name, value, { ...options, ifAbsent: false });
      },
    }),
  },
  {
    fault: "removes an object before it puts another",
    found: WHOLE,
    says: "must not be absent meanwhile",
    make: (m) => ({
      ...m,
      async putKey(name, value, options) {
        if (!options?.ifAbsent) m.objects.delete(name);
        await later(5);
        return await m.putKey(name, value, options);
      },
    }),
  },
  {
    fault: "shows an object of parts as they come",
    found: PARTS,
    says: "the object before it is complete",
    make: (m) => ({
      ...m,
      async putParts(name, parts) {
        let object = new Uint8Array(0);
        for await (const part of parts) {
          object = Uint8Array.from([...object.subarray(0, 10), ...part.subarray(0, 10)]);
          m.objects.set(name, object);
        }
        return true;
      },
    }),
  },
  {
    fault: "drops the last part, which is smaller",
    found: PARTS,
    says: "the object must have",
    make: (m) => ({
      ...m,
      putParts: async (name, parts) =>
        await m.putParts(
          name,
          async function* () {
            for await (const part of parts) if (part.length >= 5 * 1024 * 1024) yield part;
          }(),
        ),
    }),
  },
  {
    fault: "stores what there is if the parts fail",
    found: FAILED_PARTS,
    says: "the object must be",
    make: (m) => ({
      ...m,
      async putParts(name, parts) {
        for await (const part of parts) m.objects.set(name, part);
        return true;
      },
    }),
  },
  {
    fault: "answers the failure of parts with an error of its own",
    found: FAILED_PARTS,
    says: "must reject with the failure of the parts",
    make: (m) => ({ ...m, putParts: (...call) => m.putParts(...call).catch(unavailable) }),
  },
  {
    fault: "lists the first page only",
    found: LIST,
    says: "the number of listed names must be 1050: current value is 1000",
    make: (m) => ({ ...m, listKeys: async (prefix) => ({ names: (await m.listKeys(prefix)).names }) }),
  },
  {
    fault: "lists the first page for ever",
    found: LIST,
    says: "the listing must end",
    make: (m) => ({ ...m, listKeys: (prefix) => m.listKeys(prefix) }),
  },
  {
    fault: "lists the last name of a page again",
    found: LIST,
    says: "the number of listed names must be 1050: current value is 1051",
    make: (m) => ({
      ...m,
      async listKeys(prefix, cursor) {
        const page = await m.listKeys(prefix, cursor);
        return cursor === undefined ? page : { ...page, names: [cursor, ...page.names] };
      },
    }),
  },
  {
    fault: "lists all in one page",
    found: LIST,
    says: "one page must hold 1,000 names at most",
    make: (m) => ({
      ...m,
      listKeys: async (prefix) => ({ names: [...m.objects.keys()].filter((name) => name.startsWith(prefix)).sort() }),
    }),
  },
  {
    fault: "lists in the order in which objects were put",
    found: LIST,
    says: "the name at 0 must be",
    make: (m) => ({
      ...m,
      async listKeys(prefix, cursor) {
        const page = await m.listKeys(prefix, cursor);
        return { ...page, names: page.names.reverse() };
      },
    }),
  },
  {
    fault: "lists all, whatever the prefix",
    found: PREFIX,
    says: "prefix and listing",
    make: (m) => ({ ...m, listKeys: (_prefix, cursor, options) => m.listKeys("", cursor, options) }),
  },
  {
    fault: "takes a prefix for a folder",
    found: PREFIX,
    says: "prefix and listing",
    make: (m) => ({ ...m, listKeys: (prefix, ...rest) => m.listKeys(prefix.replace(/[^/]*$/, ""), ...rest) }),
  },
  {
    fault: "shows a put only after a while",
    found: NOW,
    says: "the object that was just put",
    make: (m) => ({
      ...m,
      putKey(name, value) {
        const bytes = value.slice();
        void later(3).then(() => m.objects.set(name, bytes));
        return Promise.resolve(true);
      },
    }),
  },
  {
    fault: "remembers that an object was absent",
    found: NOW,
    says: "the object that was just put",
    make(m) {
      const absent = new Set<string>();
      return {
        ...m,
        async fetchKeys(names) {
          const slots = await m.fetchKeys(names);
          slots.forEach((slot, i) => slot instanceof Error && absent.add(names[i]!));
          return slots.map((slot, i) => absent.has(names[i]!) ? notFound(names[i]!) : slot);
        },
      };
    },
  },
  {
    fault: "lists what is deleted",
    found: NOW,
    says: "the listing must be { names: []",
    make(m) {
      const seen = memoryDatastore();
      return {
        ...m,
        putKey: async (name, value, options) => (await seen.putKey(name, value), await m.putKey(name, value, options)),
        listKeys: (...call) => seen.listKeys(...call),
      };
    },
  },
  {
    fault: "answers fewer bytes than a range has",
    found: END,
    says: "CORRUPT",
    make: (m) => ({
      ...m,
      async fetchRanges(reads) {
        checkReads(reads);
        return reads.map(({ name, offset, length }) =>
          m.objects.get(name)?.slice(offset, offset + length) ?? notFound(name)
        );
      },
    }),
  },
  {
    fault: "calls a range behind the end absent",
    found: END,
    says: "CORRUPT",
    make: (m) => ({
      ...m,
      fetchRanges: async (reads) =>
        (await m.fetchRanges(reads)).map((slot, i) => slot instanceof Error ? notFound(reads[i]!.name) : slot),
    }),
  },
  {
    fault: "reads one byte further on",
    found: RANGES,
    says: "range 0 must",
    make: (m) => ({
      ...m,
      fetchRanges: (reads) =>
        m.fetchRanges(reads.map((read) => ({ ...read, offset: read.offset + Number(read.offset > 0) }))),
    }),
  },
  {
    fault: "sorts the reads",
    found: RANGES,
    says: "range 0 must",
    make: (m) => ({ ...m, fetchRanges: (reads) => m.fetchRanges([...reads].sort((a, b) => a.offset - b.offset)) }),
  },
  {
    fault: "answers the whole object if the first byte is asked for",
    found: FIRST,
    says: "of 3 bytes",
    make: (m) => ({
      ...m,
      fetchRanges: async (reads) =>
        await Promise.all(reads.map(async (read) => {
          const whole = read.offset === 0 && read.length === 1;
          return (await (whole ? m.fetchKeys([read.name]) : m.fetchRanges([read])))[0]!;
        })),
    }),
  },
  {
    fault: "answers one range that is asked for twice with the same bytes",
    found: COPIES,
    says: "after the first has changed",
    make: (m) => ({
      ...m,
      async fetchRanges(reads) {
        const [first] = await m.fetchRanges(reads.slice(0, 1));
        const more = await m.fetchRanges(reads.slice(1));
        return reads.length === 0 ? [] : [first!, ...more.map((slot) => slot instanceof Error ? slot : first!)];
      },
    }),
  },
  {
    fault: "fetches nothing for a range that cannot be",
    found: BAD_RANGE,
    says: "BAD_ARGUMENT",
    make: (m) => ({
      ...m,
      fetchRanges: async (reads) =>
        reads.map(({ name, offset, length }) => m.objects.get(name)?.slice(offset, offset + length) ?? notFound(name)),
    }),
  },
  {
    fault: "keeps a view of what was put",
    found: VIEWS,
    says: "after the buffer that was put has changed",
    make: (m) => ({ ...m, putKey: async (name, value) => !!m.objects.set(name, value) as true }),
  },
  {
    fault: "gives away its own bytes",
    found: VIEWS,
    says: "after what was fetched has changed",
    make: (m) => ({ ...m, fetchKeys: async (names) => names.map((name) => m.objects.get(name) ?? notFound(name)) }),
  },
  {
    fault: "stores the whole buffer behind a view",
    found: VIEWS,
    says: "of 6 bytes",
    make: (m) => ({ ...m, putKey: (name, value, options) => m.putKey(name, new Uint8Array(value.buffer), options) }),
  },
  {
    fault: "answers Buffers",
    found: PUT,
    says: "Buffer of",
    make: (m) => ({
      ...m,
      fetchKeys: async (names) => (await m.fetchKeys(names)).map((s) => s instanceof Error ? s : Buffer.from(s)),
    }),
  },
  {
    fault: "takes bytes for text",
    found: PUT,
    says: "bytes/every must have 256 bytes",
    make: (m) => ({
      ...m,
      putKey: (name, value, options) =>
        m.putKey(name, new TextEncoder().encode(new TextDecoder().decode(value)), options),
    }),
  },
  {
    fault: "says nothing of what it has put",
    found: PUT,
    says: "what putKey says must be true: current value is undefined",
    make: (m) => ({ ...m, putKey: async (name, value) => void await m.putKey(name, value) as unknown as true }),
  },
  {
    fault: "ignores a signal that is aborted",
    found: ABORT,
    says: "must reject",
    make: (m) => ({ ...m, fetchKeys: (names) => m.fetchKeys(names) }),
  },
  {
    fault: "answers an abort with an error of its own",
    found: ABORT,
    says: "must reject with the reason",
    make: (m) => ({
      ...m,
      putKey: (name, value, options) => options?.signal?.aborted ? unavailable() : m.putKey(name, value, options),
    }),
  },
  {
    fault: "deletes although its signal is aborted",
    found: ABORT,
    says: "the objects must be",
    make: (m) => ({
      ...m,
      async deleteKeys(names, options) {
        await m.deleteKeys(names);
        options?.signal?.throwIfAborted();
      },
    }),
  },
  {
    fault: "deletes nothing",
    found: DELETE,
    says: "the objects",
    make: (m) => ({ ...m, deleteKeys: () => Promise.resolve() }),
  },
  {
    fault: "deletes what begins with the name",
    found: DELETE,
    says: "the objects",
    make: (m) => ({
      ...m,
      async deleteKeys(names) {
        const all = [...m.objects.keys()].filter((name) => names.some((each) => name.startsWith(each)));
        await m.deleteKeys(all);
      },
    }),
  },
  {
    fault: "cannot delete what is absent",
    found: DELETE,
    says: "delete/none",
    make: (m) => ({
      ...m,
      async deleteKeys(names) {
        for (const name of names) if (!m.objects.delete(name)) throw notFound(name);
      },
    }),
  },
  {
    fault: "ignores case",
    found: ALIKE,
    says: "the objects",
    make: (m) => ({
      ...m,
      putKey: (name, ...rest) => m.putKey(name.toLowerCase(), ...rest),
      fetchKeys: (names, options) => m.fetchKeys(names.map((name) => name.toLowerCase()), options),
    }),
  },
  {
    fault: "has one separator for dots and slashes",
    found: ALIKE,
    says: "the objects",
    make: (m) => ({
      ...m,
      putKey: (name, ...rest) => m.putKey(name.replaceAll("/", "."), ...rest),
      fetchKeys: (names, options) => m.fetchKeys(names.map((name) => name.replaceAll("/", ".")), options),
    }),
  },
  {
    fault: "cuts a name after 255 characters",
    found: NAMES,
    says: "the names that are not listed",
    make: (m) => ({
      ...m,
      putKey: (name, ...rest) => m.putKey(name.slice(0, 255), ...rest),
      fetchKeys: (names, options) => m.fetchKeys(names.map((name) => name.slice(0, 255)), options),
      hasKeys: (names, options) => m.hasKeys(names.map((name) => name.slice(0, 255)), options),
    }),
  },
  {
    fault: "does one call at a time",
    found: MANY,
    says: "it is busy",
    make(m) {
      let busy = false;
      return {
        ...m,
        async putKey(name, value, options) {
          if (busy) throw new TundraError("UNAVAILABLE", "it is busy");
          busy = true;
          await later(0);
          busy = false;
          return await m.putKey(name, value, options);
        },
      };
    },
  },
  {
    fault: "answers several calls from one buffer",
    found: MANY,
    says: "the number of slots must be [120, 120]",
    make(m) {
      let last: string[] = [];
      return {
        ...m,
        async fetchKeys(names, options) {
          last = names;
          await later(0);
          return await m.fetchKeys(last, options);
        },
      };
    },
  },
  {
    fault: "refuses to be asked for nothing",
    found: NONE,
    says: "a name is missing",
    make: (m) => ({
      ...m,
      hasKeys: async (names, o) => {
        if (names.length === 0) throw new TundraError("BAD_ARGUMENT", "a name is missing");
        return await m.hasKeys(names, o);
      },
    }),
  },
  {
    fault: "announces no request although it says so",
    found: REQUESTS,
    says: "putKey must call onRequest before its request",
    capabilities: { onRequest: true },
    make: (m) => m,
  },
  {
    fault: "announces a request after it",
    found: REQUESTS,
    says: "objects that were not to be deleted",
    make(m) {
      const good = overHttp(m);
      return { ...good, deleteKeys: async (names, options) => (await m.deleteKeys(names), options?.onRequest?.()) };
    },
  },
  {
    fault: "makes a request that was refused",
    found: REQUESTS,
    says: "putKey without a request left must reject",
    make(m) {
      const good = overHttp(m);
      return {
        ...good,
        putKey: async (name, value, options) => {
          await Promise.resolve().then(() => options?.onRequest?.()).catch(() => {});
          return await m.putKey(name, value, options);
        },
      };
    },
  },
  {
    fault: "makes an answer of the refusal of a request",
    found: REQUESTS,
    says: "fetchKeys without a request left must reject",
    make(m) {
      const good = overHttp(m);
      return {
        ...good,
        fetchKeys: async (names, o) => await good.fetchKeys(names, o).catch((error: Error) => names.map(() => error)),
      };
    },
  },
  {
    fault: "lacks a function that it claims",
    found: LIST,
    says: "the datastore must have listKeys",
    make: ({ putKey, fetchKeys }) => ({ putKey, fetchKeys }),
  },
];

describe("the conformance suite of datastores", () => {
  const whole = { unreachable, onRequest: true };

  it("passes a datastore in memory, with requests and without, and whatever it claims of new objects", async () => {
    assertEquals(await failuresOf(collect(() => memoryDatastore(), { unreachable })), {});
    const { putKey, ...others } = overHttp();
    const cannotTell: Datastore = {
      ...others,
      putKey: (name, value, options) => putKey(name, value, { ...options, ifAbsent: false }),
    };
    assertEquals(await failuresOf(collect(() => overHttp(), { ...whole, ifAbsent: undefined })), {});
    assertEquals(await failuresOf(collect(() => Promise.resolve(cannotTell), { ...whole, ifAbsent: false })), {});
  });

  it("has a broken datastore here for each of its cases", () => {
    const titles = [true, false, undefined].flatMap((claim) => [
      ...collect(() => memoryDatastore(), { ...whole, ifAbsent: claim, replaces: claim }).keys(),
    ]);
    assertEquals([...new Set(broken.map(({ found }) => found))].sort(), [...new Set(titles)].sort());
  });

  for (const { fault, found, says, make, capabilities } of broken) {
    it(`finds a datastore that ${fault}`, async () => {
      const act = collect(() => make(memoryDatastore()), capabilities).get(found);
      assert(act, `there is no case ${found}`);
      let message = "it passed";
      await act().catch((error: Error) => message = error.message);
      assertStringIncludes(message, says);
    });
  }

  it("tries what a datastore has, leaves out what it is told to, and fails for what is missing", async () => {
    const two = (): Datastore => {
      const { putKey, fetchKeys } = memoryDatastore();
      return { putKey, fetchKeys };
    };
    const unnamed = {
      putParts: undefined,
      fetchRanges: undefined,
      deleteKeys: undefined,
      hasKeys: undefined,
      listKeys: undefined,
    };
    assertEquals(await failuresOf(collect(two, unnamed)), {});
    const none = { putParts: false, fetchRanges: false, deleteKeys: false, hasKeys: false, listKeys: false };
    const cases = collect(two, { ...none, wholePuts: false, onRequest: false });
    assertEquals([...cases.keys()], [PUT, NAMES, ALIKE, VIEWS, NOW, ABSENT, AGAIN, NEW, ORDER, MANY, NONE, ABORT]);
    assertEquals(await failuresOf(cases), {});
    const claimed = await failuresOf(collect(two));
    assertEquals([claimed[DELETE], claimed[FIRST]], [
      "the datastore must have deleteKeys",
      "the datastore must have fetchRanges",
    ]);
  });

  it("holds a deviation to what it says: the case must fail so, and no other way", async () => {
    const [found, says] = [PREFIX, "prefix and listing"];
    const all = (memory: Memory): Datastore => ({ ...memory, listKeys: (_, ...rest) => memory.listKeys("", ...rest) });
    const play = async (make: () => Datastore, deviations: Record<string, string>) => {
      const [title, act] = [...collect(make, { deviations })].find(([each]) => each.startsWith(found))!;
      return [title, await act().then(() => "passed", (error: Error) => error.message)];
    };
    const title = `${found}: this datastore does not (${says})`;
    assertEquals(await play(() => all(memoryDatastore()), { [found]: says }), [title, "passed"]);
    const [, learnt] = await play(() => memoryDatastore(), { [found]: says });
    assertStringIncludes(learnt!, "it passes now");
    const [, other] = await play(() => all(memoryDatastore()), { [found]: "another reason" });
    assertStringIncludes(other!, `the failure must say "another reason": it says prefix and listing`);
  });

  it("makes the datastore once, and stops it after the last case", async () => {
    const calls: string[] = [];
    const ends: (() => Promise<void>)[] = [];
    const make = () => {
      calls.push("make");
      return { store: memoryDatastore(), stop: () => Promise.resolve(void calls.push("stop")) };
    };
    const cases = collect(make, { after: (act) => void ends.push(act) });
    assertEquals(calls, []);
    await cases.get(PUT)!();
    await cases.get(AGAIN)!();
    for (const end of ends) await end();
    assertEquals(calls, ["make", "stop"]);
  });

  it("refuses to start without describe and it", () => {
    const describe = (_title: string, act: () => void) => act();
    const start = (capabilities: DatastoreCapabilities) => () => {
      const globals = globalThis as unknown as Record<string, unknown>;
      const [saved, savedIt] = [globals.describe, globals.it];
      globals.describe = globals.it = undefined; // another framework may have set them
      try {
        describeDatastore("x", () => memoryDatastore(), capabilities);
      } finally {
        [globals.describe, globals.it] = [saved, savedIt];
      }
    };
    const must = (name: string) => `Cannot describe a datastore as ${name} must be a function: current value is`;
    assertThrows(start({}), TundraError, must("describe"));
    assertThrows(start({ describe }), TundraError, must("it"));
  });
});
