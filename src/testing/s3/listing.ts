/**
 * The listing of a bucket: ListObjectsV2.
 * @module
 */
import { Buffer } from "node:buffer";
import { type Buckets, compareKeys } from "./buckets.ts";
import { element, S3Error } from "./error.ts";
import { valueOf } from "./signature.ts";

/** The most names of one request, listed or deleted. */
export const MAX_KEYS = 1000;

/** The parameters of a ListObjectsV2. */
interface ListQuery {
  maxKeys: number;
  prefix: string;
  delimiter: string;
  startAfter: string;
  token: string | undefined;
  encoding: string | undefined;
}

/** One page of a listing. */
interface ListPage {
  /** Names of objects. */
  contents: string[];
  /** Common prefixes. */
  groups: string[];
  /** The last name that the page stands for. */
  last: string;
  truncated: boolean;
}

/**
 * The XML of a page of objects, as ListObjectsV2 gives it.
 *
 * @throws {S3Error} if a parameter is wrong
 */
export function listing(
  bucket: string,
  parameters: [string, string][],
  objects: Map<string, Uint8Array>,
  buckets: Buckets,
): string {
  const query = listQuery(parameters);
  const page = listPage(query, objects);
  const { contents, groups, truncated } = page;
  const { token, startAfter, delimiter, encoding } = query;
  const shown = (text: string) => encoding === "url" ? urlEncode(text) : text;
  const objectXml = contents.map((key) => {
    const bytes = objects.get(key)!;
    const info = buckets.info(bytes);
    return `<Contents>${element("Key", shown(key))}${
      element("LastModified", new Date(info.modifiedMs).toISOString())
    }` +
      `${element("ETag", info.etag)}${element("Size", bytes.length)}${element("StorageClass", "STANDARD")}</Contents>`;
  });
  const groupXml = groups.map((group) => `<CommonPrefixes>${element("Prefix", shown(group))}</CommonPrefixes>`);
  const body = [
    element("Name", bucket),
    element("Prefix", shown(query.prefix)),
    token === undefined ? "" : element("ContinuationToken", token),
    truncated ? element("NextContinuationToken", "1-" + Buffer.from(page.last).toString("base64url")) : "",
    startAfter === "" ? "" : element("StartAfter", shown(startAfter)),
    delimiter === "" ? "" : element("Delimiter", shown(delimiter)),
    encoding === undefined ? "" : element("EncodingType", encoding),
    element("KeyCount", contents.length + groups.length),
    element("MaxKeys", query.maxKeys),
    element("IsTruncated", truncated),
    ...objectXml,
    ...groupXml,
  ];
  return `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${body.join("")}</ListBucketResult>`;
}

function listQuery(parameters: [string, string][]): ListQuery {
  const parameter = (name: string) => valueOf(parameters, name);
  const invalid = (message: string, name: string) =>
    new S3Error(400, "InvalidArgument", message, { ArgumentName: name, ArgumentValue: parameter(name) ?? "" });
  const maxKeysText = parameter("max-keys") || String(MAX_KEYS);
  if (parameter("list-type") !== "2") throw invalid("Invalid List Type specified in Request", "list-type");
  if (!/^\d{1,10}$/.test(maxKeysText)) {
    throw invalid("Provided max-keys not an integer or within integer range", "max-keys");
  }
  const encoding = parameter("encoding-type");
  if (encoding !== undefined && encoding !== "url") {
    throw invalid("Invalid Encoding Method specified in Request", "encoding-type");
  }
  const token = parameter("continuation-token");
  if (token !== undefined && !token.startsWith("1-")) {
    throw invalid("The continuation token provided is incorrect", "continuation-token");
  }
  return {
    maxKeys: Math.min(MAX_KEYS, Number(maxKeysText)),
    prefix: parameter("prefix") ?? "",
    delimiter: parameter("delimiter") ?? "",
    startAfter: parameter("start-after") ?? "",
    token,
    encoding,
  };
}

function listPage(
  { maxKeys, prefix, delimiter, startAfter, token }: ListQuery,
  objects: Map<string, unknown>,
): ListPage {
  const after = token === undefined ? startAfter : Buffer.from(token.slice(2), "base64url").toString();
  const candidates = [...objects.keys()].filter((key) => key.startsWith(prefix) && compareKeys(key, after) > 0);
  const page: ListPage = { contents: [], groups: [], last: "", truncated: false };
  const { contents, groups } = page;
  for (const key of candidates.sort(compareKeys)) {
    const end = delimiter === "" ? -1 : key.indexOf(delimiter, prefix.length);
    const group = end < 0 ? undefined : key.slice(0, end + delimiter.length);
    if (group !== undefined && (group === groups.at(-1) || after.startsWith(group))) {
      page.last = key;
      continue;
    }
    if (contents.length + groups.length >= maxKeys) {
      page.truncated = maxKeys > 0;
      break;
    }
    if (group === undefined) contents.push(key);
    else groups.push(group);
    page.last = key;
  }
  return page;
}

/** The encoding of S3's `encoding-type=url`: that of a form, but slashes stay. */
function urlEncode(text: string): string {
  const encoded = encodeURIComponent(text).replace(/[!'()~]/g, (c) => "%" + c.charCodeAt(0).toString(16).toUpperCase());
  return encoded.replaceAll("%20", "+").replaceAll("%2F", "/");
}
