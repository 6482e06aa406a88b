/** What `tundra status` says, and when a person must act. */
import { describe, it } from "node:test";
import { assertEquals, assertStringIncludes } from "@std/assert";
import { type Status, TundraError } from "../../mod.ts";
import { notesOf } from "../../src/cli/notes.ts";
import { archiveUrl, refusalOf } from "../../src/cli/diagnose.ts";
import type { DailyRun } from "../../src/operations/activity.ts";

const NOW = Date.UTC(2026, 10, 26, 12);
const MINUTE = 60_000;
const ID = "0090b411-6d8f-448a-98aa-afd68c68047b@host";
const LIMITS = { ageMs: 60 * MINUTE, silenceMs: 60 * MINUTE };
const QUIET: Status = {
  ...{ dirty: 0, due: 0, idle: 0, resident: 5, evicted: 7, dead: 0, purge: 0, oldestDueMs: 0 },
  lastTickMs: NOW - MINUTE,
  totals: { frozen: 12, evicted: 7, restored: 0, rescued: 0, removed: 0, bytes: 1 },
};
const verified = (counts: Record<string, number>, done = true): DailyRun => ({
  atMs: NOW - 5 * MINUTE,
  operation: "verify",
  done,
  counts: { checked: 10, damaged: 0, missing: 0, ...counts },
});

function failing(status: Partial<Status>, runs: DailyRun[] = [], id: string | TundraError = ID): string[] {
  return notesOf({ ...QUIET, ...status }, runs, LIMITS, NOW, id).filter(({ ok }) => !ok)
    .map(({ about, message }) => `${about}: ${message}`);
}

describe("the status", () => {
  it("is good if all is archived, ticks run and nothing failed; what waits for less than an hour is no failure", () => {
    assertEquals(failing({}), []);
    assertEquals(failing({ dirty: 9, due: 9, oldestDueMs: 59 * MINUTE }), []);
    assertEquals(failing({ lastTickMs: 0 }), []);
    assertEquals(failing({}, [verified({})]), []);
    assertEquals(failing({}, [], ""), []);
  });

  it("names what a person must look at", () => {
    assertEquals(failing({ dead: 2, dirty: 2 }), ["dead: 2 keys could not be archived: see tundra dead list"]);
    assertEquals(failing({ dirty: 1, due: 1, oldestDueMs: 61 * MINUTE }), [
      "age: the oldest of 1 due key has been waiting for 1 h: ticks are too few, or fail; see tundra tick",
    ]);
    assertEquals(failing({ lastTickMs: NOW - 120 * MINUTE }), [
      "ticks: the last tick began 2026-11-26 10:00:00Z, 2 h ago: does the cron trigger run?",
    ]);
    assertEquals(failing({ lastTickMs: 0, dirty: 1 }), ["ticks: no tick has run yet: set up the cron trigger"]);
    assertEquals(failing({}, [verified({}, false), verified({ damaged: 1, missing: 2 })]), [
      "verify: verified 2026-11-26 11:55:00Z, 5 min ago: 1 damaged and 2 missing: see tundra verify",
    ]);
    assertEquals(failing({}, [verified({}), verified({ damaged: 1 })]), []); // repaired since
    assertEquals(failing({ dead: 9 }, [], new TundraError("LOST", "Cannot use the index")), [
      "index: Cannot use the index. If Redis was emptied: tundra rebuild",
    ]);
  });
});

describe("what an archive refuses", () => {
  it("is told by S3's codes: bucket, credentials, clock, region, rights", () => {
    const refusals: [said: string, name: string, advice: string][] = [
      ["404 NoSuchBucket: The specified bucket does not exist", "bucket", "TUNDRA_S3_BUCKET"],
      ["403 InvalidAccessKeyId: The key", "credentials", "TUNDRA_S3_ACCESS_KEY_ID"],
      ["403 SignatureDoesNotMatch: The request", "credentials", "TUNDRA_S3_SECRET_ACCESS_KEY"],
      ["400 ExpiredToken: The provided token", "credentials", "TUNDRA_S3_SESSION_TOKEN"],
      ["403 RequestTimeTooSkewed: The difference", "clock", "the clock of this machine"],
      ["400 AuthorizationHeaderMalformed: The region", "region", "TUNDRA_S3_REGION"],
      ["301 PermanentRedirect: (the bucket is in region eu-west-1)", "region", "TUNDRA_S3_REGION"],
      ["403 AccessDenied: Access Denied", "rights", "list, get, put, delete"],
      ["no progress in 10000 ms", "answer", "no progress"],
    ];
    for (const [said, name, advice] of refusals) {
      const finding = refusalOf(new Error(said));
      assertEquals([finding.name, finding.ok], [name, false]);
      assertStringIncludes(finding.detail, advice);
      assertStringIncludes(finding.detail, said);
    }
  });

  it("asks the host to which requests go", () => {
    const keys = { accessKeyId: "a", secretAccessKey: "b", bucket: "carts" };
    const of = (place: object) => new URL(archiveUrl({ ...keys, region: "eu-west-1", ...place })).host;
    assertEquals(of({}), "carts.s3.eu-west-1.amazonaws.com");
    assertEquals(of({ region: "cn-north-1" }), "carts.s3.cn-north-1.amazonaws.com.cn");
    assertEquals(of({ endpoint: "https://store.example" }), "store.example");
    assertEquals(of({ endpoint: "https://store.example", style: "virtual-host" }), "carts.store.example");
  });
});
