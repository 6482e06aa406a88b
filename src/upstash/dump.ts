/**
 * The check that a payload is as Redis sent it. Its last ten bytes are its version and a checksum of all before it
 * (CRC-64 with Jones' polynomial, the lowest byte first). An endpoint that decodes replies as text sends other bytes.
 * @module
 */
import { show, TundraError } from "../base/errors.ts";

const FOOTER_BYTES = 10;
const CHECKSUM_BYTES = 8;

// The low and high halves of what each byte adds, computed when they are first needed.
let tables: [low: Int32Array, high: Int32Array] | undefined;

function makeTables(): [Int32Array, Int32Array] {
  const [lows, highs] = [new Int32Array(256), new Int32Array(256)];
  for (let byte = 0; byte < 256; byte++) {
    let [low, high] = [byte, 0];
    for (let bit = 0; bit < 8; bit++) {
      const odd = low & 1;
      low = ((low >>> 1) | (high << 31)) ^ (odd && 0xac4bc9b5);
      high = (high >>> 1) ^ (odd && 0x95ac9329);
    }
    lows[byte] = low;
    highs[byte] = high;
  }
  return [lows, highs];
}

/** True if the payload ends with the checksum of the bytes before. It takes some nanoseconds a byte. */
export function isWholeDump(payload: Uint8Array): boolean {
  if (payload.length <= FOOTER_BYTES) return false;
  const [lows, highs] = tables ??= makeTables();
  const end = payload.length - CHECKSUM_BYTES;
  let low = 0;
  let high = 0;
  for (let i = 0; i < end; i++) {
    const at = (low ^ payload[i]!) & 255;
    low = ((low >>> 8) | (high << 24)) ^ lows[at]!;
    high = (high >>> 8) ^ highs[at]!;
  }
  const checksum = new DataView(payload.buffer, payload.byteOffset + end);
  return checksum.getInt32(0, true) === low && checksum.getInt32(4, true) === high;
}

// The errors that concern the endpoint and no key.
const endpoints = new WeakSet<object>();

/** The error for a payload that could not be restored: it concerns the endpoint, or only this reply. */
export function damagedDump(key: string, payload: Uint8Array): TundraError {
  if (!looksDecoded(payload)) {
    return new TundraError(
      "UNSUPPORTED",
      `Cannot archive ${show(key)} as its DUMP payload must end with its checksum: it does not; it stays in Redis`,
      { keys: [key] },
    );
  }
  const error = new TundraError(
    "UNSUPPORTED",
    "Cannot archive keys as what DUMP replies must arrive byte by byte: this endpoint changes binary replies; use one " +
      "that heeds Upstash-Encoding: base64",
  );
  endpoints.add(error);
  return error;
}

/** True if an error concerns the endpoint, whatever the key. */
export function isAboutEndpoint(error: TundraError): boolean {
  return endpoints.has(error);
}

/** True if bytes hold U+FFFD, which decoding as text makes of bytes that are no UTF-8. */
function looksDecoded(payload: Uint8Array): boolean {
  for (let i = payload.indexOf(0xef); i >= 0; i = payload.indexOf(0xef, i + 1)) {
    if (payload[i + 1] === 0xbf && payload[i + 2] === 0xbd) return true;
  }
  return false;
}
