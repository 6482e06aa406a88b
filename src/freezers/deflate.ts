/**
 * The default freezer: DEFLATE, with fflate, which runs everywhere (CompressionStream does not).
 *
 * Frozen bytes are 0 and the bytes as they are, or 1, the length (4 bytes, big-endian) and a raw DEFLATE stream.
 * @module
 */
import { deflateSync, Inflate, inflateSync } from "fflate";
import type { Freezer } from "../archive/freezer.ts";
import { checkNumber } from "../base/arguments.ts";
import { TundraError } from "../base/errors.ts";

const STORED = 0;
const DEFLATED = 1;
const DEFLATED_HEAD = 5;
/**
 * DEFLATE's best: 258 bytes for 2 bits.
 *
 * @see https://www.rfc-editor.org/rfc/rfc1951
 */
const MAX_RATIO = 1032;
/** Bytes to inflate at a time: at most 8 MiB come out at once. */
const PIECE = 8 * 1024;

/**
 * Compresses with DEFLATE; bytes that do not shrink are kept as they are. Frozen bytes are the same on every runtime.
 * It works synchronously: some 40 ms a MB to freeze and 10 ms a MB to thaw.
 *
 * @param options.level 0 (none) to 9 (smallest), default 6; what was frozen with one level thaws with any
 * @param options.maxBytes the largest record, in bytes, 1 to 2^32 - 1, default 256 MiB: larger ones are neither frozen
 * nor thawed, and never is much more memory than this taken to inflate one
 * @throws {TundraError} `BAD_ARGUMENT`; its `freeze` throws `TOO_LARGE`, its `thaw` `CORRUPT`
 * @example
 * ```ts
 * import { deflateFreezer } from "@tundra/store";
 *
 * const freezer = deflateFreezer({ level: 9 });
 * const object = { name: "default/user.3A1/1764000000000001-0a1b2c3d" };
 * const frozen = await freezer.freeze(new Uint8Array(1000), object);
 * console.log(frozen.length < 20, (await freezer.thaw(frozen, object)).length); // true 1000
 * ```
 */
export function deflateFreezer(options: { level?: number; maxBytes?: number } = {}): Freezer {
  const { level = 6, maxBytes = 256 * 1024 * 1024 } = options;
  checkNumber("make a deflate freezer", "level", level, 0, 9);
  checkNumber("make a deflate freezer", "maxBytes", maxBytes, 1, 0xffff_ffff);
  return {
    id: "deflate",
    freeze: (bytes) => freeze(bytes, level as Level, maxBytes),
    thaw: (bytes) => thaw(bytes, maxBytes),
  };
}

type Level = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9;

function freeze(bytes: Uint8Array, level: Level, maxBytes: number): Uint8Array {
  if (bytes.length > maxBytes) {
    throw new TundraError(
      "TOO_LARGE",
      `Cannot deflate as it must be at most ${maxBytes} bytes: it has ${bytes.length}`,
    );
  }
  const deflated = level === 0 || isRandom(bytes) ? bytes : deflateSync(bytes, { level });
  if (DEFLATED_HEAD + deflated.length > bytes.length) {
    const frozen = new Uint8Array(1 + bytes.length);
    frozen[0] = STORED;
    frozen.set(bytes, 1);
    return frozen;
  }
  const frozen = new Uint8Array(DEFLATED_HEAD + deflated.length);
  frozen[0] = DEFLATED;
  new DataView(frozen.buffer).setUint32(1, bytes.length);
  frozen.set(deflated, DEFLATED_HEAD);
  return frozen;
}

/**
 * Tells if samples of a large value do not get smaller: it is encrypted or compressed already, and to try all of it would
 * take a fifth of a second for each MB.
 */
function isRandom(bytes: Uint8Array): boolean {
  return bytes.length > 1_048_576 && [0, 1, 2].every((third) => {
    const from = Math.floor(third * bytes.length / 3);
    return deflateSync(bytes.subarray(from, from + PIECE), { level: 1 }).length >= PIECE;
  });
}

function thaw(frozen: Uint8Array, maxBytes: number): Uint8Array {
  if (frozen[0] === STORED) return frozen.subarray(1);
  if (frozen[0] !== DEFLATED || frozen.length <= DEFLATED_HEAD) throw corrupt("be made by this freezer: it is not");
  const length = new DataView(frozen.buffer, frozen.byteOffset).getUint32(1);
  const deflated = frozen.subarray(DEFLATED_HEAD);
  // Before any memory is taken: a few bytes can claim, but never inflate to, gigabytes.
  if (length > maxBytes || length > deflated.length * MAX_RATIO) {
    throw corrupt(`be at most ${Math.min(maxBytes, deflated.length * MAX_RATIO)} bytes: it claims ${length}`);
  }
  const thawed = new Uint8Array(length + 1); // a stream that is longer than it claims fills the last byte, too
  let end: number;
  try {
    // a stream takes five times as long for a small value, as it has buffers of its own
    end = deflated.length > PIECE ? inflateInto(thawed, deflated) : inflateSync(deflated, { out: thawed }).length;
  } catch (error) {
    throw corrupt(`be a DEFLATE stream: ${error instanceof Error ? error.message : error}`, error);
  }
  if (end !== length) throw corrupt(`inflate to the ${length} bytes that it claims: it does not`);
  return thawed.subarray(0, length);
}

/** Piece by piece: a stream that is longer than it claims is given up soon after, not at its own end. */
function inflateInto(thawed: Uint8Array, deflated: Uint8Array): number {
  let end = 0;
  const inflate = new Inflate((piece) => {
    if (end + piece.length > thawed.length) throw new Error("it is longer than it claims");
    thawed.set(piece, end);
    end += piece.length;
  });
  for (let at = 0; at < deflated.length; at += PIECE) {
    inflate.push(deflated.subarray(at, at + PIECE), at + PIECE >= deflated.length);
  }
  return end;
}

function corrupt(must: string, cause?: unknown): TundraError {
  return new TundraError("CORRUPT", `Cannot inflate as it must ${must}`, { cause });
}
