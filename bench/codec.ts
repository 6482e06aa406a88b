/**
 * The speed of freezing and thawing, without any server.
 * @module
 */
import { deflateFreezer, type Freezer } from "../mod.ts";
import { freezeRecord, thawRecord } from "../tests/support/records.ts";
import type { Row } from "./row.ts";
import { json } from "./fixture.ts";

/** Measures values of several sizes for `forMs` each. */
export async function codec(forMs: number): Promise<Row[]> {
  const rows: Row[] = [];
  const freezers: [string, Freezer[]][] = [["deflate", [deflateFreezer()]], ["no freezer", []]];
  for (const [name, chain] of freezers) {
    for (const bytes of [1_000, 100_000]) {
      const dump = new TextEncoder().encode(json(bytes, 1));
      const record = { key: "cart:7", ver: "1763800000000000-00000001", at: 1, exp: 0, dump };
      const object = await freezeRecord(record, chain);
      const freeze = await perSecond(forMs, () => freezeRecord(record, chain));
      const thaw = await perSecond(forMs, () => thawRecord(object, record, chain));
      const speed = (n: number) => `${Math.round(n).toLocaleString("en")}/s ${(n * bytes / 1e6).toFixed(0)} MB/s`;
      rows.push({
        what: `freeze / thaw, JSON of ${bytes / 1000} KB, ${name}`,
        budget: "",
        measured: `${speed(freeze)} / ${speed(thaw)}, object ${(object.length / bytes * 100).toFixed(0)}%`,
      });
    }
  }
  return rows;
}

async function perSecond(forMs: number, act: () => Promise<unknown>): Promise<number> {
  for (let i = 0; i < 50; i++) await act();
  const from = performance.now();
  let n = 0;
  while (performance.now() - from < forMs) {
    await act();
    n++;
  }
  return n / (performance.now() - from) * 1000;
}
