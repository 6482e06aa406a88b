/**
 * Buckets: a Map of bytes each, on request mirrored in a folder, one readable file an object.
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** The facts that S3 gives about an object besides its bytes. */
export interface ObjectInfo {
  etag: string;
  modifiedMs: number;
  contentType: string;
}

/** All buckets of a server. */
export interface Buckets {
  /** The objects of a bucket; tests may look into them and damage them. */
  get(bucket: string): Map<string, Uint8Array> | undefined;
  create(bucket: string): void;
  put(bucket: string, key: string, bytes: Uint8Array, contentType: string, nowMs: number): ObjectInfo;
  delete(bucket: string, key: string): void;
  info(bytes: Uint8Array): ObjectInfo;
  /** Uploads of several parts that are neither completed nor aborted, by id. */
  readonly uploads: Map<string, Upload>;
}

/** An upload of several parts. */
export interface Upload {
  bucket: string;
  key: string;
  contentType: string;
  /** `SHA256` if the parts have checksums. */
  algorithm: string | undefined;
  parts: Map<number, { bytes: Uint8Array; etag: string; sha256: string | undefined }>;
}

/** Buckets in memory; with a folder, what is there is loaded now, and each change is written there at once. */
export function openBuckets(folder?: string): Buckets {
  const buckets = new Map<string, Map<string, Uint8Array>>();
  // By the bytes' identity: what a test put into the Map itself has an ETag too, bytes it changed in place keep theirs.
  const infos = new WeakMap<Uint8Array, ObjectInfo>();

  function info(bytes: Uint8Array): ObjectInfo {
    let known = infos.get(bytes);
    if (!known) infos.set(bytes, known = describe(bytes, "binary/octet-stream", Date.now()));
    return known;
  }

  function create(bucket: string): void {
    if (buckets.has(bucket)) return;
    buckets.set(bucket, new Map());
    if (folder !== undefined) mkdirSync(join(folder, bucket), { recursive: true });
  }

  function put(bucket: string, key: string, bytes: Uint8Array, contentType: string, nowMs: number): ObjectInfo {
    const described = describe(bytes, contentType, nowMs);
    infos.set(bytes, described);
    if (folder !== undefined) {
      const file = join(folder, bucket, pathOf(key));
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(`${file}.new`, bytes);
      renameSync(`${file}.new`, file); // a crash leaves the old object or the new one, never a part
    }
    buckets.get(bucket)!.set(key, bytes);
    return described;
  }

  function remove(bucket: string, key: string): void {
    if (buckets.get(bucket)!.delete(key) && folder !== undefined) {
      rmSync(join(folder, bucket, pathOf(key)), { force: true });
    }
  }

  if (folder !== undefined) {
    mkdirSync(folder, { recursive: true });
    for (const bucket of readdirSync(folder, { withFileTypes: true })) {
      if (!bucket.isDirectory()) continue;
      const objects = new Map<string, Uint8Array>();
      buckets.set(bucket.name, objects);
      for (const path of filesIn(join(folder, bucket.name))) {
        const file = join(folder, bucket.name, path);
        const bytes = new Uint8Array(readFileSync(file));
        infos.set(bytes, describe(bytes, "binary/octet-stream", statSync(file).mtimeMs));
        objects.set(keyOf(path), bytes);
      }
    }
  }
  return { get: (bucket) => buckets.get(bucket), create, put, delete: remove, info, uploads: new Map() };
}

function describe(bytes: Uint8Array, contentType: string, modifiedMs: number): ObjectInfo {
  return { etag: `"${createHash("md5").update(bytes).digest("hex")}"`, modifiedMs, contentType };
}

// A key's file: its segments as folders, percent-encoded, the last ending in "@", so that "a" and "a/b" can both be; an
// empty segment is "+"; a long one goes on in the next folder after "=". encodeURIComponent makes none of "@", "+",
// "=".
const MAX_NAME = 200;

function pathOf(key: string): string {
  const names = key.split("/").map((segment) => {
    const name = encodeURIComponent(segment).replace(/^\.{1,2}$/, (dots) => dots.replaceAll(".", "%2E")) || "+";
    return name.match(new RegExp(`.{1,${MAX_NAME}}`, "g"))!.join("=/");
  });
  return names.join("/") + "@";
}

function keyOf(path: string): string {
  const names = path.slice(0, -1).replaceAll("=/", "").split("/");
  return names.map((name) => name === "+" ? "" : decodeURIComponent(name)).join("/");
}

function filesIn(folder: string, prefix = ""): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = prefix + entry.name;
    if (entry.isDirectory()) return filesIn(join(folder, entry.name), `${path}/`);
    return entry.name.endsWith("@") ? [path] : [];
  });
}

/** S3's order of keys: by their UTF-8 bytes, not by UTF-16 code units. */
export function compareKeys(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
