/**
 * Is a DUMP payload what Redis sent? Its last ten bytes are its version and a checksum of all before it (CRC-64 with
 * Jones' polynomial, the lowest byte first). An endpoint that decodes replies as text sends other bytes.
 * @module
 */
import { show, TundraError } from "../errors.ts";

const FOOTER_BYTES = 10;
const SLICES = 8;

// the halves of the tables, made when they are first needed: [slice * 256 + byte]
let low: Int32Array | undefined;
let high: Int32Array | undefined;

function makeTables(): void {
  low = new Int32Array(SLICES * 256);
  high = new Int32Array(SLICES * 256);
  for (let byte = 0; byte < 256; byte++) {
    let [l, h] = [byte, 0];
    for (let bit = 0; bit < 8; bit++) {
      const odd = l & 1;
      l = (l >>> 1) | (h << 31);
      h = h >>> 1;
      if (odd) {
        l ^= 0xac4bc9b5;
        h ^= 0x95ac9329;
      }
    }
    low[byte] = l;
    high[byte] = h;
  }
  for (let i = 256; i < SLICES * 256; i++) {
    const [l, h] = [low[i - 256]!, high[i - 256]!];
    low[i] = ((l >>> 8) | (h << 24)) ^ low[l & 255]!;
    high[i] = (h >>> 8) ^ high[l & 255]!;
  }
}

/** Does the payload end with the checksum of what is before it? Some nanoseconds a byte. */
export function isWholeDump(payload: Uint8Array): boolean {
  const end = payload.length - 8;
  if (payload.length <= FOOTER_BYTES) return false;
  if (!low) makeTables();
  const [L, H] = [low!, high!];
  let l = 0;
  let h = 0;
  let i = 0;
  for (; i + 8 <= end; i += 8) { // eight bytes at once
    l ^= payload[i]! | (payload[i + 1]! << 8) | (payload[i + 2]! << 16) | (payload[i + 3]! << 24);
    h ^= payload[i + 4]! | (payload[i + 5]! << 8) | (payload[i + 6]! << 16) | (payload[i + 7]! << 24);
    const a = 1792 + (l & 255), b = 1536 + ((l >>> 8) & 255), c = 1280 + ((l >>> 16) & 255), d = 1024 + (l >>> 24);
    const e = 768 + (h & 255), f = 512 + ((h >>> 8) & 255), g = 256 + ((h >>> 16) & 255), k = h >>> 24;
    l = L[a]! ^ L[b]! ^ L[c]! ^ L[d]! ^ L[e]! ^ L[f]! ^ L[g]! ^ L[k]!;
    h = H[a]! ^ H[b]! ^ H[c]! ^ H[d]! ^ H[e]! ^ H[f]! ^ H[g]! ^ H[k]!;
  }
  for (; i < end; i++) {
    const at = (l ^ payload[i]!) & 255;
    l = ((l >>> 8) | (h << 24)) ^ L[at]!;
    h = (h >>> 8) ^ H[at]!;
  }
  for (let n = 0; n < 4; n++) {
    if (payload[end + n] !== ((l >>> (8 * n)) & 255) || payload[end + 4 + n] !== ((h >>> (8 * n)) & 255)) return false;
  }
  return true;
}

// errors that say so of every reply, and of no key
const endpoints = new WeakSet<object>();

/** Why a payload is none that could be restored: the endpoint's fault, or only this reply's. */
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
    "Cannot archive keys as what DUMP replies must arrive byte by byte: this endpoint changes binary replies (it decodes " +
      "them as text); use one that heeds Upstash-Encoding: base64",
  );
  endpoints.add(error);
  return error;
}

/** Is this about the endpoint, whatever the key? */
export function isAboutEndpoint(error: TundraError): boolean {
  return endpoints.has(error);
}

/** Does it hold what decoding as text makes of bytes that are no UTF-8, U+FFFD? */
function looksDecoded(payload: Uint8Array): boolean {
  for (let i = payload.indexOf(0xef); i >= 0; i = payload.indexOf(0xef, i + 1)) {
    if (payload[i + 1] === 0xbf && payload[i + 2] === 0xbd) return true;
  }
  return false;
}
