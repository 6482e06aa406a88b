/**
 * `s3Datastore` on a server that others wrote, with its objects on a disk: s3rver 3.7.1. It deviates from S3: it takes
 * wrong signatures and damaged bodies, lists "a" behind "a/b" (on a disk one is a folder), knows no
 * conditional uploads, answers the whole object if it is asked for the first byte alone, shows an object while it is
 * half replaced, and dies of a name that has a part of more than 255 bytes.
 */
import { describe, it } from "node:test";
import { assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { startS3rver } from "../../dev/servers/s3rver.ts";
import { s3Datastore, TundraError } from "../../mod.ts";
import { installTools } from "../runtimes/tools.ts";
import { ODD_NAMES } from "./datastore.ts";
import { s3Conformance } from "./s3.ts";

const PART = 240; // it puts endings of its own behind a name
const fits = (name: string) => name.split("/").every((part) => part.length <= PART);

const start = () => {
  installTools();
  return startS3rver();
};

s3Conformance("s3rver", start, {
  odd: ODD_NAMES.filter(fits),
  wholePuts: false,
  fails: {
    "keeps apart names that look alike": "the listed names must be",
    "lists only the names that begin with the prefix, wherever it ends": "prefix and listing must be",
    "lists more than 1,000 names in ascending order, a page at a time": "the name at 1 must be list/in",
    "gives back the first byte alone": "the range must be",
    "refuses an object that must be new if its name is taken, and keeps what is there": "a taken name must reject",
    "says whose fault wrong credentials are, and keeps them to itself": "Expected function to reject",
    "has the server refuse an upload that was damaged on its way, and repeats it": "Expected function to reject",
  },
});

describe("s3rver", () => {
  it("listens on 127.0.0.1 only, and dies of a long part of a name: none that Tundra makes", async () => {
    const server = await start();
    try {
      assertEquals(server.address, "127.0.0.1");
      await server.createBucket("archive");
      const { url: endpoint, accessKeyId, secretAccessKey } = server;
      const options = { endpoint, region: "us-east-1", bucket: "archive", accessKeyId, secretAccessKey, retries: 0 };
      const store = s3Datastore(options);
      const value = Uint8Array.from([1, 2, 3]);
      await store.putKey("b", value);
      assertEquals(await store.fetchKeys(["b"]), [value]);
      assertEquals(ODD_NAMES.filter((name) => !fits(name)).map((name) => name.length), [900]);
      assertInstanceOf(await assertRejects(() => store.putKey("x".repeat(900), value)), TundraError);
      assertInstanceOf((await store.fetchKeys(["b"]))[0], TundraError);
    } finally {
      await server.stop();
    }
  });
});
