/**
 * The promises of `putParts` of `s3Datastore`, on any S3 server.
 * @module
 */
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { TundraError } from "../../src/base/errors.ts";
import type { Datastore } from "../../src/datastores/datastore.ts";
import type { S3DatastoreOptions } from "../../src/datastores/s3/datastore.ts";

const PART = 5 * 1024 * 1024;

type Make = (more?: Partial<S3DatastoreOptions>) => Required<Datastore>;

async function* each(parts: Uint8Array[], fail?: unknown): AsyncGenerator<Uint8Array> {
  yield* parts;
  if (fail !== undefined) throw await Promise.resolve(fail);
}

/** A `fetch` that may answer otherwise: what it sends is known by method and query. */
function answering(act: (what: string, send: () => Promise<Response>) => Promise<Response>): typeof fetch {
  return (input, init) => {
    const { search, searchParams } = new URL(String(input));
    const what = searchParams.has("uploads")
      ? "begin"
      : searchParams.has("partNumber")
      ? `part ${searchParams.get("partNumber")}`
      : search.includes("uploadId")
      ? init!.method === "DELETE" ? "abort" : "complete"
      : `${init!.method}`;
    return act(what, () => fetch(input as string, init));
  };
}

/** Registers the tests. */
export function partsConformance(it: (name: string, act: () => Promise<void>) => void, make: Make): void {
  const parts = [randomBytes(PART), randomBytes(PART), randomBytes(99)].map((part) => new Uint8Array(part));
  const whole = Buffer.concat(parts);

  const assertThere = async (name: string) => {
    const [object] = await make().fetchKeys([name]);
    assert(object instanceof Uint8Array && whole.equals(object), `${name} differs`);
    const [range] = await make().fetchRanges([{ name, offset: PART - 3, length: 9 }]);
    assert(range instanceof Uint8Array && whole.subarray(PART - 3, PART + 6).equals(range));
  };

  it("makes one object of parts, which nobody sees before it is complete, with checksums and without", async () => {
    for (const checksum of ["none", "sha256", "md5"] as const) {
      const name = `parts/${checksum}`;
      const store = make({ checksum });
      const watched = async function* () {
        for (const part of parts) {
          assertEquals(await store.hasKeys([name]), [false]);
          yield part;
        }
      };
      assertEquals(await store.putParts(name, watched()), true);
      await assertThere(name);
    }
  });

  it("repeats a part, and asks again if an upload was completed whose reply was lost", async () => {
    const seen = new Map<string, number>();
    const fetch = answering(async (what, send) => {
      const times = (seen.get(what) ?? 0) + 1;
      seen.set(what, times);
      if (times > 1) return await send();
      if (what === "part 2") return new Response("", { status: 503 });
      const response = await send();
      if (what !== "part 1" && what !== "complete") return response;
      await response.body?.cancel();
      throw new TypeError("the connection was lost");
    });
    await make({ fetch, retries: 2 }).putParts("parts/repeated", each(parts));
    await assertThere("parts/repeated");
    assertEquals([seen.get("part 1"), seen.get("part 2"), seen.get("complete")! >= 2], [2, 2, true]);
  });

  it("believes no 200 that holds an error", async () => {
    let completions = 0;
    const error = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>InternalError</Code></Error>`;
    const fetch = answering(async (what, send) => {
      if (what !== "complete" || ++completions > 1) return await send();
      return new Response(error, { status: 200, headers: { "content-type": "application/xml" } });
    });
    await make({ fetch }).putParts("parts/200", each(parts));
    await assertThere("parts/200");
    assertEquals(completions, 2);
    const never = answering(async (what, send) => what === "complete" ? new Response(error) : await send());
    const { code } = await assertRejects(
      () => make({ fetch: never }).putParts("parts/never", each(parts)),
      TundraError,
    );
    assertEquals([code, await make().hasKeys(["parts/never"])], ["UNAVAILABLE", [false]]);
  });

  it("aborts an upload whose source or part fails, and passes the error on", async () => {
    const aborted: string[] = [];
    const fetch = answering(async (what, send) => {
      if (what === "abort") aborted.push(what);
      return await send();
    });
    const failure = new Error("the source failed");
    const thrown = await assertRejects(() =>
      make({ fetch }).putParts("parts/failed", each(parts.slice(0, 1), failure))
    );
    assertEquals([thrown === failure, aborted.length], [true, 1]);
    const refusing = answering(async (what, send) => {
      if (what === "abort") aborted.push(what);
      return what === "part 2" ? new Response("", { status: 500 }) : await send();
    });
    await assertRejects(() => make({ fetch: refusing, retries: 0 }).putParts("parts/failed", each(parts)), TundraError);
    assertEquals([aborted.length, await make().hasKeys(["parts/failed"])], [2, [false]]);
  });

  it("aborts an upload though its caller allows no further request, and passes that on", async () => {
    for (const allowed of [1, 2, 3, 4]) {
      const sent: string[] = [];
      const fetch = answering((what, send) => {
        sent.push(what);
        return send();
      });
      let announced = 0;
      const usedUp = new Error("used up");
      const onRequest = () => {
        if (++announced > allowed) throw usedUp;
      };
      const thrown = await assertRejects(() => make({ fetch }).putParts("parts/bounded", each(parts), { onRequest }));
      assertEquals([thrown === usedUp, sent.length, sent.at(-1)], [true, allowed + 1, "abort"]);
      assertEquals(await make().hasKeys(["parts/bounded"]), [false]);
    }
  });

  it("ends with its signal, and aborts the upload all the same", async () => {
    const abort = new AbortController();
    let aborted = 0;
    const fetch = answering(async (what, send) => {
      if (what === "abort") aborted++;
      if (what === "part 2") abort.abort(new Error("enough"));
      return await send();
    });
    await assertRejects(() => make({ fetch }).putParts("parts/aborted", each(parts), { signal: abort.signal }));
    assertEquals([aborted, await make().hasKeys(["parts/aborted"])], [1, [false]]);
  });
}
