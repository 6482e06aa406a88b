/**
 * Diagnosis of a server that does not answer as it should: URL, DNS, port, TLS, token; endpoint, bucket, region, rights,
 * clock. It asks each step by itself, so it says the same on all runtimes.
 * @module
 */
import { TundraError } from "../base/errors.ts";
import { s3Datastore } from "../datastores/s3/datastore.ts";
import { checkS3Options } from "../datastores/s3/options.ts";
import type { Settings } from "./configuration.ts";
import { pairs } from "./output/table.ts";
import { type Finding, hostOf, reach } from "./reach.ts";
import type { Run } from "./run.ts";

const TIMEOUT_MS = 5_000;

/** Meanings of S3's codes, as they stand in its messages: what is wrong, and what to look at. */
const REFUSALS: [code: RegExp, what: string, advice: string][] = [
  [/NoSuchBucket/, "bucket", "there is no such bucket at this endpoint: TUNDRA_S3_BUCKET, TUNDRA_S3_ENDPOINT"],
  [
    /InvalidAccessKeyId|InvalidToken|UnrecognizedClient/,
    "credentials",
    "the access key is not known: TUNDRA_S3_ACCESS_KEY_ID",
  ],
  [/SignatureDoesNotMatch/, "credentials", "the secret key is another one: TUNDRA_S3_SECRET_ACCESS_KEY"],
  [/ExpiredToken|TokenRefreshRequired/, "credentials", "temporary credentials have expired: TUNDRA_S3_SESSION_TOKEN"],
  [/RequestTimeTooSkewed|RequestExpired/, "clock", "the clock of this machine is wrong"],
  [
    /AuthorizationHeaderMalformed|PermanentRedirect|IllegalLocationConstraint|in region/,
    "region",
    "another region: TUNDRA_S3_REGION",
  ],
  [
    /AccessDenied|AllAccessDisabled|Forbidden|HTTP 403/,
    "rights",
    "the credentials lack a right on this bucket and prefix: list, get, put, delete",
  ],
];

/** Lines that say what is wrong with which server; none if the settings are a module's. */
export async function diagnose(run: Run): Promise<string[]> {
  const { redis, s3 } = run.configuration.settings();
  if (redis === undefined) {
    return ["The store is a module's, so its servers are not known here. `tundra probe` tries what it needs"];
  }
  await run.say("Looking for the reason");
  const [database, archive] = await Promise.all([checkDatabase(redis), s3 ? checkArchive(s3) : []]);
  const lines = (title: string, findings: Finding[]) => [
    "",
    title,
    ...pairs(findings.map(({ name, ok, detail }) => [`  ${ok ? "ok  " : "FAIL"}  ${name}`, detail]), run.columns),
  ];
  const place = s3 && (hostOf(s3.endpoint ?? "") ?? `AWS, ${s3.region}`);
  return [
    ...lines(`Redis at ${hostOf(redis.url) ?? "?"}`, database),
    ...(s3 ? lines(`Archive in bucket ${s3.bucket} at ${place}`, archive) : []),
  ];
}

/** The database: from its URL to its token. */
export async function checkDatabase({ url, token }: Settings["redis"]): Promise<Finding[]> {
  const { findings, ok } = await reach(url, "UPSTASH_REDIS_REST_URL");
  if (!ok) return findings;
  try {
    const response = await fetch(url, {
      method: "POST",
      headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
      body: `["PING"]`,
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    const text = await response.text();
    const clock = clockOf(response);
    findings.push(answerOf(response.status, text), ...(clock ? [clock] : []));
  } catch (thrown) {
    findings.push({ name: "answer", ok: false, detail: `none within ${TIMEOUT_MS / 1_000} s (${nameOf(thrown)})` });
  }
  return findings;
}

function answerOf(status: number, text: string): Finding {
  if (status === 200 && /"PONG"/i.test(text)) return { name: "token", ok: true, detail: "the database answers PONG" };
  if (status === 401 || status === 403 || /WRONGPASS|NOAUTH|NOPERM/.test(text)) {
    const detail = `refused (HTTP ${status}): UPSTASH_REDIS_REST_TOKEN must be this database's, one that may write`;
    return { name: "token", ok: false, detail };
  }
  const isJson = /^\s*\{/.test(text);
  const detail = isJson
    ? `HTTP ${status}`
    : `HTTP ${status}, and no JSON: this is no Redis REST endpoint, or a proxy answers`;
  return { name: isJson ? "answer" : "URL", ok: false, detail };
}

/** The archive: from its endpoint to the rights on the bucket. */
export async function checkArchive(s3: Settings["s3"]): Promise<Finding[]> {
  const url = archiveUrl(s3);
  const { findings, ok } = await reach(url, s3.endpoint === undefined ? "TUNDRA_S3_REGION" : "TUNDRA_S3_ENDPOINT");
  if (!ok) return findings;
  try {
    const datastore = s3Datastore({ ...s3, retries: 0 });
    await datastore.listKeys("~tundra-diagnosis/", undefined, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    findings.push({ name: "bucket", ok: true, detail: "it may be listed; `tundra probe` tries put, get and delete" });
  } catch (thrown) {
    findings.push(refusalOf(thrown));
  }
  return findings;
}

/** The URL to which requests go: region, style and a bucket's name decide on the host. */
export function archiveUrl(s3: Settings["s3"]): string {
  try {
    return checkS3Options(s3).connection.url;
  } catch {
    return s3.endpoint ?? `https://s3.${s3.region}.amazonaws.com`; // the bucket's check says what is wrong
  }
}

/** The meaning of what the archive has refused. */
export function refusalOf(thrown: unknown): Finding {
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  const [, name = "answer", advice = ""] = REFUSALS.find(([code]) => code.test(message)) ?? [];
  return { name, ok: false, detail: advice ? `${advice}. It said: ${message}` : message };
}

/** A finding if this machine's clock and the server's are far apart: signatures are refused after 15 minutes. */
function clockOf(response: Response): Finding | undefined {
  const server = Date.parse(response.headers.get("date") ?? "");
  const offMs = Math.abs(Date.now() - server);
  if (!(offMs > 5 * 60_000)) return undefined;
  return { name: "clock", ok: false, detail: `it differs from the server's by ${Math.round(offMs / 60_000)} minutes` };
}

function nameOf(thrown: unknown): string {
  return thrown instanceof TundraError ? thrown.code : thrown instanceof Error ? thrown.name : typeof thrown;
}
