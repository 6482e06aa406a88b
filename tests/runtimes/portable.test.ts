/**
 * One portable suite on five runtimes, against one stack: the same bundle, the same tests, the same archives.
 *
 * Runs on Node, which starts the others. tests/run.ts reads the host and the suite from a test's name:
 * `portable > HOST > SUITE > TEST`.
 */
import { after, before, describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { BUCKET, withArchive } from "../support/fixtures.ts";
import { type Bundle, bundlePortable, type Host, HOSTS } from "./hosts.ts";
import { SUITES } from "./portable/suites.ts";
import type { PortableWorldOptions } from "./portable/fixture.ts";
import { installTools } from "./tools.ts";

const NAMES = Object.keys(HOSTS);

const TESTS = Object.fromEntries(Object.entries(SUITES).map(([suite, tests]) => [suite, Object.keys(tests)]));

interface Listing {
  suites: Record<string, string[]>;
  atImport: { calls: string[]; watched: number };
  userAgent: string;
}

describe("portable", () => {
  const stack = withArchive();
  const hosts: Record<string, Host> = {};
  let bundle: Bundle;
  const written = new Set<string>();
  const archives: Record<string, Promise<Record<string, string>>> = {};

  before(async () => {
    installTools();
    bundle = await bundlePortable();
    const started = await Promise.allSettled(NAMES.map(async (name) => hosts[name] = await HOSTS[name]!(bundle)));
    for (const one of started) if (one.status === "rejected") throw one.reason;
  });
  after(async () => {
    await Promise.all(Object.values(hosts).map((host) => host.stop()));
    bundle?.remove();
  });

  function world(runtime: string): PortableWorldOptions {
    const { url: endpoint, region, accessKeyId, secretAccessKey } = stack.s3;
    return { runtime, redis: stack.connection, s3: { endpoint, region, bucket: BUCKET, accessKeyId, secretAccessKey } };
  }

  for (const name of NAMES) {
    describe(name, () => {
      describe("import", () => {
        it("is what it says it is, and holds every test of the suite", async () => {
          const { suites, userAgent } = await hosts[name]!.ask<Listing>("/list");
          assertEquals(suites, TESTS);
          const agents: Record<string, RegExp> = { deno: /^Deno\//, bun: /^Bun\//, workerd: /^Cloudflare-Workers$/ };
          const agent = agents[name.split(",")[0]!];
          if (agent) assert(agent.test(userAgent), userAgent);
        });

        it("does no I/O, sets no timer, draws no random value", async () => {
          const { atImport } = await hosts[name]!.ask<Listing>("/list");
          assertEquals(atImport.calls, []);
          // workerd itself refuses all of that at the top of a module; elsewhere functions were watched
          assert(
            name.startsWith("workerd") ? atImport.watched === -1 : atImport.watched >= 8,
            String(atImport.watched),
          );
        });
      });

      for (const [suite, tests] of Object.entries(TESTS)) {
        describe(suite, () => {
          for (const test of tests) {
            it(test, async () => {
              const { error } = await hosts[name]!.ask<{ error?: string }>("/run", { world: world(name), suite, test });
              assertEquals(error, undefined, error);
            });
          }
        });
      }
    });
  }

  for (const name of NAMES) {
    describe(name, () => {
      describe("archives", () => {
        it("are, byte for byte, those of Node", async () => {
          const [own, nodes] = await Promise.all([name, "node"].map((one) => archivesOf(one)));
          assertEquals(Object.keys(own!).length, 30);
          for (const what of Object.keys(nodes!)) assertEquals(own![what] === nodes![what], true, what);
        });

        for (const from of NAMES) {
          it(`frozen on ${from} are thawed here`, async () => {
            const opened = await hosts[name]!.ask<Record<string, boolean>>("/open", {
              archives: await archivesOf(from),
            });
            assertEquals(Object.keys(opened).length, 30);
            assertEquals(Object.entries(opened).filter(([, same]) => !same), []);
          });
        }
      });

      describe("keys", () => {
        for (const from of NAMES) {
          it(`of all types, archived by ${from}, come back here`, async () => {
            if (!written.has(from)) {
              written.add(from);
              await hosts[from]!.ask("/write", { world: world(from) });
            }
            assertEquals(await hosts[name]!.ask("/read", { world: world(name), from }), { before: 0 });
          });
        }
      });
    });
  }

  function archivesOf(name: string): Promise<Record<string, string>> {
    return archives[name] ??= hosts[name]!.ask<Record<string, string>>("/archive");
  }
});
