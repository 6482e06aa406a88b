/**
 * The portable bundle: answers `POST` requests with JSON. Each host under test does no more than serve it.
 *
 * | path | body | reply |
 * | --- | --- | --- |
 * | /list | | suites and their tests |
 * | /run | `{ world, suite, test }` | `{ error? }`, the error's text |
 * | /archive | | archives of fixed records, as hexadecimal digits by name |
 * | /open | what /archive of any host replied | the records in them, as text by name |
 * | /write | `{ world }` | writes, archives and evicts a value of each type |
 * | /read | `{ world, from }` | brings back what another host's /write archived, compares, evicts again |
 *
 * @module
 */
import { deflateFreezer, type Freezer, tundraStore } from "../../../mod.ts";
import { freezeRecord, thawRecord } from "../../support/records.ts";
import "./quiet.ts";
import { callsAtImport } from "./quiet.ts";
import { SUITES } from "./suites.ts";
import { assertValues, TYPES, writeValues } from "./values.ts";
import { freezeAll, hex, noise, type PortableWorldOptions, unhex, world } from "./fixture.ts";

// The package has been imported by now.
const atImport = callsAtImport();

const flip: Freezer = {
  id: "flip",
  freeze: (bytes) => bytes.map((byte) => byte ^ 0x5a),
  thaw: (bytes) => bytes.map((byte) => byte ^ 0x5a),
};
const CHAINS: Record<string, Freezer[]> = {
  none: [],
  deflate: [deflateFreezer()],
  "deflate, level 1": [deflateFreezer({ level: 1 })],
  "deflate, level 9": [deflateFreezer({ level: 9 })],
  "two freezers": [deflateFreezer(), flip],
};
const DUMPS: Record<string, Uint8Array> = {
  "an empty value": new Uint8Array(0),
  "a few bytes": Uint8Array.from([0, 1, 127, 128, 255]),
  "200 bytes": noise(200, 7),
  "70,000 bytes of text": new TextEncoder().encode("Zürich and Łódź. ".repeat(4000)),
  "70,000 bytes of noise": noise(70_000, 9),
};
const KEYS = ["user:1", "", "ü \u{feff}\u{1f9ca}\n", "k".repeat(5000)];
const TIMES: [at: number, exp: number][] = [[0, 0], [1_700_000_000_000, 0], [1_700_000_000_001, 4_102_444_800_123]];

/** Every chain with every value, each with one of the keys and times; and a tombstone of each chain. */
function records(): [name: string, freezers: Freezer[], record: Parameters<typeof freezeRecord>[0]][] {
  const all: ReturnType<typeof records> = [];
  for (const [chain, freezers] of Object.entries(CHAINS)) {
    for (const [name, dump] of Object.entries(DUMPS)) {
      const key = KEYS[all.length % KEYS.length]!;
      const [at, exp] = TIMES[all.length % TIMES.length]!;
      all.push([`${name}, ${chain}`, freezers, { key, ver: `${1e15 + all.length}-0a1b2c3d`, at, exp, dump }]);
    }
    all.push([`a tombstone, ${chain}`, freezers, { key: "gone", ver: "1700000000000000-00000001", at: 5, gone: true }]);
  }
  return all;
}

const SHARED = "matrix";

interface Body {
  world: PortableWorldOptions;
  suite: string;
  test: string;
  from: string;
  archives: Record<string, string>;
}

const ROUTES: Record<string, (body: Body) => Promise<unknown>> = {
  "/list": () =>
    Promise.resolve({
      suites: Object.fromEntries(Object.entries(SUITES).map(([name, tests]) => [name, Object.keys(tests)])),
      atImport,
      userAgent: globalThis.navigator?.userAgent ?? "",
    }),

  async "/run"({ world: options, suite, test }) {
    try {
      await SUITES[suite]![test]!(world(options, `${suite}-${Object.keys(SUITES[suite]!).indexOf(test)}`));
      return {};
    } catch (error) {
      return { error: error instanceof Error ? error.stack ?? error.message : String(error) };
    }
  },

  async "/archive"() {
    const archives = await Promise.all(
      records().map(async ([name, freezers, record]) => [name, hex(await freezeRecord(record, freezers))]),
    );
    return Object.fromEntries(archives);
  },

  async "/open"({ archives }) {
    const opened = await Promise.all(
      records().map(async ([name, freezers, record]) => {
        const thawed = await thawRecord(unhex(archives[name]!), record, freezers);
        return [
          name,
          JSON.stringify({ ...thawed, dump: "dump" in thawed ? hex(thawed.dump) : "" }) === expected(record),
        ];
      }),
    );
    return Object.fromEntries(opened);
  },

  async "/write"({ world: options }) {
    const { store } = shared(options);
    const prefix = `${SHARED}:${options.runtime}:`;
    await freezeAll(store, await writeValues(store, prefix));
    return {};
  },

  async "/read"({ world: options, from }) {
    const { store } = shared(options);
    const prefix = `${SHARED}:${from}:`;
    const keys = TYPES.map((type) => prefix + type);
    const before = await store.redis.exists(...keys);
    await store.ensureKs(keys);
    await assertValues(store, prefix);
    // PFCOUNT, part of the comparison, changes its key's bytes: marked, so that it can be archived and leave again
    await freezeAll(store, keys);
    return { before };
  },
};

function expected(record: Parameters<typeof freezeRecord>[0]): string {
  return JSON.stringify({ ...pick(record), dump: "dump" in record ? hex(record.dump) : "" });
}

/** The fields in the order in which a thawed record has them. */
function pick(record: Parameters<typeof freezeRecord>[0]): object {
  const { key, ver, at } = record;
  return "gone" in record ? { key, ver, at, gone: true } : { key, ver, at, exp: record.exp };
}

function shared(options: PortableWorldOptions) {
  const own = world(options, SHARED);
  return { store: tundraStore(own.datastore(), { redis: options.redis, tqname: SHARED }) };
}

/** Answers one request. */
export async function answer(request: Request): Promise<Response> {
  const route = ROUTES[new URL(request.url).pathname];
  if (!route || request.method !== "POST") return new Response("no such route", { status: 404 });
  try {
    return Response.json(await route(await request.json()));
  } catch (error) {
    return new Response(error instanceof Error ? error.stack ?? error.message : String(error), { status: 500 });
  }
}
