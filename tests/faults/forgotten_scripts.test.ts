/** A Redis that forgets its scripts, or a replica that never knew them, costs requests and nothing else. */
import { describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { CALLS } from "./calls.ts";
import { KINDS, live, prepare } from "./life.ts";
import { withFaultWorld } from "./world.ts";

const LOST = KINDS.find(({ name }) => name === "lost after it took effect")!;

describe("if Redis forgets its scripts before each request", () => {
  const world = withFaultWorld();

  for (const call of CALLS) {
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
