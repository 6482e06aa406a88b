import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { type Fault, faultyFetch } from "../../dev/servers/faults.ts";
import { TundraError } from "../../src/base/errors.ts";
import { redisClient } from "../../src/upstash/client.ts";
import { binary, bytes, connect } from "../../src/upstash/connection.ts";
import { seededRandom } from "../support/random.ts";
import { withStack } from "../support/stack.ts";

const NEVER_SERVED: Fault[] = [
  { type: "reset" },
  { type: "hang" },
  { type: "status", status: 429, headers: { "retry-after": "0" } },
  { type: "status", status: 503 },
];
const SERVED: Fault[] = [
  { type: "reset", served: true },
  { type: "hang", served: true },
  { type: "status", status: 500, served: true, body: '{"error":"ERR internal"}' },
  { type: "delay", ms: 1_500, served: true },
  { type: "late" },
  { type: "truncate" },
  { type: "truncate", clean: true },
];
const show = (fault: Fault): string => JSON.stringify(fault).replace(/[{}"]/g, "");

describe("between faults, a command on the connection", () => {
  const stack = withStack();
  beforeEach(() => stack.flush());

  const reach = (plan: Parameters<typeof faultyFetch>[1], timeoutMs = 1_000) => {
    const faulty = faultyFetch(fetch, plan);
    const options = { ...stack.connection, fetch: faulty, timeoutMs, retry: { retries: 3, backoff: () => 1 } };
    const connection = connect(options);
    return { connection, redis: redisClient(connection, options), faulty };
  };

  for (const fault of NEVER_SERVED) {
    it(`takes effect once after ${show(fault)}`, async () => {
      const { connection, redis, faulty } = reach([{ fault }]);
      assertEquals(await connection.command(["INCR", "n"]), { result: 1 });
      assertEquals(await redis.incr("n"), 2);
      await faulty.settled();
      assertEquals([Number(await stack.raw("GET", "n")), faulty.log.length], [2, 3]);
    });
  }

  for (const fault of SERVED) {
    it(`is answered after ${show(fault)}, and may take effect twice`, async () => {
      const { connection, faulty } = reach([{ fault }]);
      const { result } = await connection.command(["INCR", "n"]);
      await faulty.settled();
      assertEquals([Number(await stack.raw("GET", "n")), faulty.log.length], [2, 2]);
      assert(result === 1 || result === 2);
    });
  }

  it("is answered with the right bytes or UNAVAILABLE, never with others", async () => {
    const random = seededRandom("right bytes or UNAVAILABLE");
    const faults = [...NEVER_SERVED, ...SERVED];
    const { connection, faulty } = reach(() => random.int(2) === 0 ? random.pick(faults) : undefined, 300);
    const value = random.bytes(5_000);
    await stack.raw("SET", "v", value);
    let [answered, unavailable] = [0, 0];
    for (let round = 0; round < 5; round++) {
      await Promise.all(Array.from({ length: 12 }, async (_, i) => {
        try {
          if (i % 2 === 0) {
            assertEquals(await connection.command(["GET", "v"]), { result: binary(value) });
          } else {
            const [first, second] = await connection.multi([["STRLEN", "v"], ["GET", "v"]]);
            assertEquals(first, { result: 5_000 });
            assertEquals(bytes(second!.result as string), value);
          }
          answered++;
        } catch (error) {
          if (!(error instanceof TundraError)) throw error;
          assertEquals(error.code, "UNAVAILABLE");
          unavailable++;
        }
      }));
    }
    await faulty.settled();
    assertEquals(answered + unavailable, 60);
    assert(answered > 30, `${answered} answered, ${unavailable} unavailable`);
  });
});
