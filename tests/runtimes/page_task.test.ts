/** `deno task page`: servers, data and page in one command, which ends with all of them. */
import { spawn } from "node:child_process";
import process from "node:process";
import { describe, it } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { ask, formBody, readable } from "../page/page.ts";
import { until } from "../support/waiting.ts";
import { bin, installTools, ROOT } from "./tools.ts";

describe("deno task page", () => {
  it("serves a page with data, says what of it is made up, and ends with its servers when it is interrupted", async () => {
    installTools();
    // a group of its own, to which a terminal would send Ctrl-C
    const child = spawn(bin("deno"), ["task", "page", "--keys=300"], { cwd: ROOT, detached: true });
    let printed = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => printed += chunk);
    const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
    try {
      await until("the page is there", () => /Ctrl-C/.test(printed) || child.exitCode !== null, 120_000);
      const [, address] = /Page +(http:\/\/127\.0\.0\.1:\d+\/tundra)\n/.exec(printed) ?? [];
      const [, secret] = /Secret +(\S+)\n/.exec(printed) ?? [];
      assert(address && secret, printed);
      assertMatch(printed, /14 days of hourly counts for the charts: these are made up, all else is real/);
      const handle = (request: Request) => fetch(request);
      assertEquals((await ask(handle, address)).status, 401);
      const headers = { authorization: `Bearer ${secret}` };
      const overview = await ask(handle, address, { headers });
      assertMatch(readable(overview.text), /Needs you 1 thing to do.* Dead letters: 3 .*Sweep/);
      assertEquals(overview.text.match(/data-chart/g)!.length, 2);
      const key = formBody([["name", "report:2026-11"]]);
      const dead = await ask(handle, `${address}?view=key`, {
        ...key,
        headers: { ...key.headers as object, ...headers },
      });
      assertMatch(readable(dead.text), /TOO_LARGE/);
      process.kill(-child.pid!, "SIGINT");
      assertEquals(await ended, 130, printed);
      assertEquals(await fetch(address).catch(() => "gone"), "gone");
    } finally {
      if (child.exitCode === null) process.kill(-child.pid!, "SIGKILL");
    }
  });
});
