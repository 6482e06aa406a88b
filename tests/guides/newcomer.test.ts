/**
 * A newcomer with docs/start.md: from an empty folder to a key that is archived, evicted and back, on each platform. Each
 * file and each command is the page's own, but for ports, which are free ones, and `npm install` in the clone: its
 * node_modules are those that are here.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { freePort, redisBinary } from "../../dev/servers/redis_server.ts";
import { type Program, start } from "../runtimes/run.ts";
import { installTools, TOOLS } from "../runtimes/tools.ts";
import { until } from "../support/waiting.ts";
import { blocksOf, fileOf, ROOT, Terminal } from "./page.ts";

const SECRET = "a-secret-for-the-tests";
const page = blocksOf("start.md");
const of = (...sections: string[]) => page.filter(({ section }) => sections.includes(section));

/** The tracked files of this repository, with the dependencies that are installed here. */
function cloneInto(folder: string): void {
  const { stdout } = spawnSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], { cwd: ROOT });
  for (const name of String(stdout).split("\0").filter(Boolean)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    cpSync(join(ROOT, name), join(folder, name), { dereference: false });
  }
  symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
}

/** Programs that .ci/tools has at the version that the page names: `npx` runs those. */
function tools(folder: string): string {
  mkdirSync(folder);
  const own = (name: string) => JSON.parse(readFileSync(join(TOOLS, "node_modules", name, "package.json"), "utf8"));
  writeFileSync(
    join(folder, "npx"),
    `#!/bin/bash\n[ "$1" = wrangler@${own("wrangler").version} ] || exec ${which("npx")} "$@"\nshift\n` +
      `exec ${join(TOOLS, "node_modules/.bin/wrangler")} "$@"\n`,
  );
  chmodSync(join(folder, "npx"), 0o755);
  // no progress bar, as on a terminal
  writeFileSync(join(folder, ".curlrc"), "silent\nshow-error\n");
  return `${folder}:${dirname(redisBinary() ?? "/nowhere")}:${join(TOOLS, "node_modules/.bin")}:${process.env.PATH}`;
}

function which(program: string): string {
  return String(spawnSync("which", [program]).stdout).trim();
}

/** Waits until something listens. */
async function listening(port: number, program: Program): Promise<void> {
  const open = () =>
    new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1", () => resolve(true)).on("error", () => resolve(false));
      socket.on("connect", () => socket.destroy());
    });
  await Promise.race([
    until(`something listens on ${port}`, open, 60_000),
    program.ended.then((code) => Promise.reject(new Error(`ended with ${code}: ${program.output()}`))),
  ]);
}

describe("a newcomer with docs/start.md", () => {
  let folder: string;
  let shop: string;
  let env: Record<string, string>;

  before(async () => {
    installTools();
    folder = mkdtempSync(join(tmpdir(), "tundra-newcomer-"));
    const clone = join(folder, "clone");
    shop = join(folder, "shop");
    mkdirSync(shop);
    cloneInto(clone);
    env = {
      PATH: tools(join(folder, "bin")),
      CURL_HOME: join(folder, "bin"),
      WRANGLER_SEND_METRICS: "false",
      CRON_SECRET: SECRET,
    };
    const [packing, ...install] = of("1. A folder with the package");
    assertMatch(packing!.text, /^npm install && npm pack\n/);
    const packed = { ...packing!, text: packing!.text.replace("npm install && ", "") };
    assertEquals(await new Terminal({ folder: clone, env }).follow([packed]), 1);
    assertEquals(await new Terminal({ folder: shop, env }).follow(install), 1);
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  /** Follows steps 2 and 3, a platform's section and the trial, with a free port in the place of the page's. */
  async function onPlatform(section: string, port: number, serve?: (own: string, port: number) => Program) {
    const own = join(folder, section.replaceAll(" ", "-"));
    rmSync(own, { recursive: true, force: true });
    cpSync(shop, own, { recursive: true });
    const free = await freePort();
    const terminal = new Terminal({
      folder: own,
      env: { ...env },
      adapt: (text) => text.replaceAll(String(port), String(free)),
    });
    let server: Program | undefined;
    try {
      const begin = of("2. A database and a bucket", "3. The application");
      assertEquals(await terminal.follow(begin, (servers) => servers.printed(/ready/)), 1);
      const files = of(section).filter((block) => fileOf(block));
      assert(files.length > 0, section);
      await terminal.follow(files);
      server = serve?.(own, free);
      if (server) await listening(free, server);
      await terminal.follow(of(section), (program) => listening(free, program));
      assertEquals(await terminal.follow(of("Try it")), 1);
      if (section !== "Cloudflare Workers") assertEquals(await terminal.follow(of("Look at it")), 1);
    } finally {
      await server?.stop();
      await terminal.stop();
    }
  }

  it("on Cloudflare Workers", () => onPlatform("Cloudflare Workers", 8787));
  it("on Vercel Edge", () =>
    onPlatform("Vercel Edge", 3000, (own, port) => {
      const harness = join(ROOT, "tests/guides/vercel.mjs");
      return start("node", ["--env-file=.env", harness, ROOT, String(port)], own, env);
    }));
  // their ticks may hold the lease of the cart just when it is to be evicted: then once more
  for (const [section, port] of [["Deno and Deno Deploy", 8000], ["Bun", 3000], ["Node", 3000]] as const) {
    it(`on ${section}`, () => onPlatform(section, port).catch(() => onPlatform(section, port)));
  }
});
