/**
 * `deno run -A bench/steps.ts`: the CPU time of each step that a tick and `ensureKs` take for a small key, without any
 * server. The table of docs/decisions/cpu.md. Bun and Node run it too.
 * @module
 */
import process from "node:process";
import { freezeBlock, join, recordOf, thawBlock } from "../src/archive/block.ts";
import { sealContainer } from "../src/archive/container.ts";
import { encodeMap } from "../src/archive/encoding.ts";
import { checkedBytes } from "../src/archive/record.ts";
import { freezePack } from "../src/archive/pack.ts";
import { placeWord } from "../src/archive/place.ts";
import { redisKeys } from "../src/base/keys.ts";
import { deflateFreezer } from "../src/freezers/deflate.ts";
import { bytes } from "../src/base/binary.ts";
import { isWholeDump } from "../src/upstash/dump.ts";
import { encodePayload, payloadBytes } from "../src/upstash/payload.ts";
import { parseJson } from "../src/upstash/reply.ts";
import { sha1Hex } from "../src/upstash/script.ts";
import { json } from "./fixture.ts";

const KEYS = 1000;
const PAYLOAD_BYTES = 500; // of DUMP, of JSON of 700 bytes: Redis compresses it
const KEYS_IN_BLOCK = 50;
const ROUNDS = 40;

const keys = Array.from({ length: KEYS }, (_, i) => `small:key:${i}`);
const dumps = keys.map((_, i) => new TextEncoder().encode(json(PAYLOAD_BYTES, i)));
const ver = "1763800000000000-00000001";
const prev = placeWord({ ver, pack: ver, offset: 123_456, length: 15_000 });
const name = `default/~packs/${ver}`;
const freezers = [deflateFreezer()];
const head = { ver, at: 1_763_800_000_000, index: "b2b3b4b5-1111-2222-3333-444455556666", prev, exp: 0 };
const records = dumps.map((dump, i) => ({ ...head, key: keys[i]!, dump }));
const encoded = records.map(checkedBytes);
const blocks: Uint8Array[] = [];
for (let i = 0; i < KEYS; i += KEYS_IN_BLOCK) blocks.push(join(encoded.slice(i, i + KEYS_IN_BLOCK)));
const frozen = await Promise.all(blocks.map((block) => freezeBlock([block], name, freezers, [])));
const replies = dumps.map((dump) => btoa(String.fromCharCode(...dump)));
const reply = JSON.stringify(replies.flatMap((result) => [{ result: -1 }, { result }]));
const binary = replies.map(atob);
const names = redisKeys("default");
const fingerprint = "0123456789abcdef0123456789abcdef01234567";
const committed = keys.flatMap(() => ["1", prev, fingerprint, "0", 255, 1]);

const STEPS: Record<string, () => unknown> = {
  "tick: JSON of the reply": () => parseJson(reply),
  "tick: base64": () => replies.map(atob),
  "tick: bytes": () => binary.map(bytes),
  "tick: CRC-64": () => dumps.map(isWholeDump),
  "tick: SHA-1": () => Promise.all(dumps.map(sha1Hex)),
  "tick: CBOR of the record": () => records.map(checkedBytes),
  "tick: CBOR of the directory": () => keys.map((key) => encodeMap({ key, ver, exp: 0, gone: 0, block: 3 })),
  "tick: DEFLATE of blocks": () => blocks.map((block) => freezers[0]!.freeze(block, { name })),
  "tick: SHA-256 of blocks": () => Promise.all(frozen.map((block) => sealContainer(["deflate"], block))),
  "tick: whole pack": () => freezePack(records, name, freezers, 1 << 20, ""),
  "tick: JSON of the commit": () => JSON.stringify([...keys.map(names.record), ...keys, ...committed]),
  "ensureKs: blocks": () => Promise.all(frozen.map((block) => thawBlock(block, name, freezers, []))),
  "ensureKs: records": () =>
    encoded.map((bytes, i) => recordOf([{ key: keys[i]!, ver, bytes }], { key: keys[i]!, ver })),
  "ensureKs: payload": () => dumps.map((dump) => payloadBytes(dump) + encodePayload(dump).length),
};

for (const [step, act] of Object.entries(STEPS)) {
  const each: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const cpu = process.cpuUsage();
    await act();
    const { user, system } = process.cpuUsage(cpu);
    each.push((user + system) / KEYS);
  }
  each.sort((a, b) => a - b);
  console.log(`${step.padEnd(28)} ${each[Math.floor(ROUNDS / 4)]!.toFixed(1).padStart(5)} us a key`);
}
