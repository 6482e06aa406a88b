/** A Redis that forgets its scripts, or a replica that never knew them, costs requests and nothing else. */
import process from "node:process";
import { describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { CALLS } from "./calls.ts";
import { KINDS, live, prepare } from "./life.ts";
import { withFaultWorld } from "./world.ts";

const LOST = KINDS.find(({ name }) => name === "lost after it took effect")!;

const SEED = Number(process.env.TUNDRA_SEED ?? Date.now() % 2 ** 31);

describe("if Redis forgets its scripts before each request", () => {
  const world = withFaultWorld();

  // what differs between runtimes is no rule of the protocol
  const share = process.versions.deno === undefined ? 4 : process.env.CI === undefined ? 1 : 2;
  for (const call of CALLS.filter((_, i) => i % share === SEED % share)) {
    it(`${call.name} works, and a fault at any request loses nothing`, async () => {
      const prepared = await prepare(world, call);
      assertEquals(await live(world, prepared, new Map(), "no retries", true), true);
      // each script is asked for, and then sent
      let met = true;
      let nth = 0;
      while (met) {
        nth++;
        met = await live(world, prepared, new Map([[nth, LOST]]), "no retries", true);
      }
      const scripts = prepared.requests.filter(({ body }) => body.startsWith('["EVALSHA')).length;
      assert(nth > prepared.requests.length + scripts, `${nth} requests for ${scripts} scripts`);
    });
  }
});
