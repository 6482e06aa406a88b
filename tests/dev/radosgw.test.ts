/** The real gateway of the local stack: it starts, checks signatures, and comes back. */
import { after, before, describe, it } from "node:test";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { AwsClient } from "aws4fetch";
import { findRadosgw, type Radosgw, type RadosgwUser, startRadosgw } from "../../dev/servers/radosgw.ts";

describe("the real S3 gateway", () => {
  let gateway: Radosgw;
  before(async () => {
    gateway = await startRadosgw();
    await gateway.createBucket("archive");
  });
  after(async () => {
    await gateway.stop();
  });

  async function call(path: string, init: RequestInit = {}, user: RadosgwUser = gateway): Promise<[number, string]> {
    const { accessKeyId, secretAccessKey } = user;
    const client = new AwsClient({ accessKeyId, secretAccessKey, region: gateway.region, service: "s3", retries: 0 });
    const response = await client.fetch(gateway.url + path, init);
    const text = await response.text();
    return [response.status, /<Code>(.*?)<\/Code>/.exec(text)?.[1] ?? text];
  }

  it("is found once it is installed", () => {
    assertEquals(findRadosgw(), true);
  });

  it("keeps objects under any name that S3 takes, and checks signatures", async () => {
    const longest = "n".repeat(1024);
    assertEquals(await call(`/archive/${longest}`, { method: "PUT", body: "value" }), [200, ""]);
    assertEquals(await call(`/archive/${longest}`), [200, "value"]);
    assertEquals(await call("/archive/absent"), [404, "NoSuchKey"]);
    assertEquals(await call("/absent/absent"), [404, "NoSuchBucket"]);
    assertEquals(await call("/archive/a", {}, { ...gateway, secretAccessKey: "guess" }), [
      403,
      "SignatureDoesNotMatch",
    ]);
    assertEquals(await call("/archive/a", {}, { ...gateway, accessKeyId: "guess" }), [403, "InvalidAccessKeyId"]);
  });

  it("makes a bucket once more without an error", async () => {
    await call("/archive/stays", { method: "PUT", body: "here" });
    await gateway.createBucket("archive");
    assertEquals(await call("/archive/stays"), [200, "here"]);
    await assertRejects(() => gateway.createBucket("No"), Error, "Cannot make the bucket No: 400");
  });

  it("answers nothing while it is paused, and everything afterwards", async () => {
    await call("/archive/patient", { method: "PUT", body: "still" });
    gateway.pause();
    const pending = call("/archive/patient");
    const first = await Promise.race([pending, new Promise((resolve) => setTimeout(resolve, 300, "nothing yet"))]);
    gateway.resume();
    assertEquals(first, "nothing yet");
    assertEquals(await pending, [200, "still"]);
  });

  it("refuses connections when killed, and has every object after a restart", async () => {
    await call("/archive/survivor", { method: "PUT", body: "alive" });
    await gateway.kill();
    await gateway.kill();
    await assertRejects(() => fetch(gateway.url));
    assertThrows(() => gateway.pause(), Error, "it doesn't");
    await gateway.restart();
    assertEquals(await call("/archive/survivor"), [200, "alive"]);
    await gateway.restart();
    assertEquals(await call("/archive/survivor"), [200, "alive"]);
  });

  it("keeps users apart", async () => {
    const user = await gateway.createUser();
    assert(user.accessKeyId !== gateway.accessKeyId);
    await call("/archive/private", { method: "PUT", body: "mine" });
    assertEquals(await call("/archive/private", {}, user), [403, "AccessDenied"]);
    assertEquals(await call("/other-bucket", { method: "PUT" }, user), [200, ""]);
    assertEquals(await call("/other-bucket/a", { method: "PUT", body: "theirs" }, user), [200, ""]);
    assertEquals(await call("/other-bucket/a", { method: "GET" }), [403, "AccessDenied"]);
  });

  it("runs beside another one, and shares nothing with it", async () => {
    const [second, third] = await Promise.all([startRadosgw(), startRadosgw()]);
    try {
      assertEquals(new Set([gateway.url, second.url, third.url]).size, 3);
      await second.createBucket("archive");
      await call("/archive/here", { method: "PUT", body: "first" });
      const { accessKeyId, secretAccessKey, region } = second;
      const client = new AwsClient({ accessKeyId, secretAccessKey, region, service: "s3", retries: 0 });
      const response = await client.fetch(second.url + "/archive/here");
      assertEquals(response.status, 404);
      await response.arrayBuffer();
    } finally {
      await Promise.all([second.stop(), third.stop()]);
    }
    await assertRejects(() => fetch(second.url));
    assertEquals(await call("/archive/here"), [200, "first"]);
  });
});
