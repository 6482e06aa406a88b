/**
 * Run as a program, without permissions: freezes a record, thaws it, and prints what came back.
 * @module
 */
import { deflateFreezer } from "../../src/freezers/deflate.ts";
import { freezeRecord, thawRecord } from "./records.ts";

const record = { key: "k".repeat(100), ver: "v", at: 2 ** 40, exp: 0, dump: new Uint8Array(1000) };
const thawed = await thawRecord(await freezeRecord(record, [deflateFreezer()]), record, [deflateFreezer()]);
console.log("dump" in thawed && thawed.dump.length);
