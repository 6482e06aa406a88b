/**
 * Payloads in the JSON of a request: their encoding, its size, and the Lua that decodes it.
 * @module
 */

/** The Lua table by which scripts decode a payload: two bytes of UTF-8, and the byte that they carry. */
export const BYTES = `local BYTES = {}
for b = 128, 255 do BYTES[string.char(192 + math.floor(b / 64), 128 + b % 64)] = string.char(b) end
for b = 0, 127 do BYTES[string.char(196 + math.floor(b / 64), 128 + b % 64)] = string.char(b) end
`;

/** The number of code units that are encoded at a time: every engine takes so many arguments in one call. */
const CHUNK = 8192;
/** The bytes that JSON would escape at length, or that a proxy might change. */
const MOVED = Uint8Array.from(
  { length: 256 },
  (_, byte) => byte < 32 || byte === 34 || byte === 92 || byte === 127 ? 1 : 0,
);

/**
 * A payload as JSON carries it: one character for each byte. A byte that JSON would escape at length becomes a
 * character of U+0100 and up. The script maps them back by {@linkcode BYTES}.
 */
export function encodePayload(dump: Uint8Array): string {
  const units = new Uint16Array(Math.min(CHUNK, dump.length));
  let encoded = "";
  for (let start = 0; start < dump.length; start += CHUNK) {
    const length = Math.min(CHUNK, dump.length - start);
    for (let i = 0; i < length; i++) {
      const byte = dump[start + i]!;
      units[i] = MOVED[byte] === 1 ? 256 + byte : byte;
    }
    encoded += String.fromCharCode.apply(null, units.subarray(0, length) as unknown as number[]);
  }
  return encoded;
}

/** The bytes that an encoded payload takes in a request. */
export function payloadBytes(dump: Uint8Array): number {
  let bytes = dump.length;
  for (let i = 0; i < dump.length; i++) if (dump[i]! > 127 || MOVED[dump[i]!] === 1) bytes++;
  return bytes;
}
