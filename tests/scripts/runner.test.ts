import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertIsError, assertMatch, assertRejects } from "@std/assert";
import { TundraError } from "../../src/base/errors.ts";
import { connect } from "../../src/upstash/connection.ts";
import { defineScript, scriptRunner } from "../../src/upstash/script.ts";
import { type FakeCall, fakeFetch } from "../support/fake_fetch.ts";
import { type Stack, withStack } from "../support/stack.ts";

const ECHO = defineScript("echo", ["allow-oom"], "return { KEYS[1], ARGV[1], ARGV[2] }");
const READ = defineScript("read", ["no-writes"], "return redis.call('GET', KEYS[1])");
const ECHOED = ["k", "a", "1.5"];
const BARE = "\n-- echo\n";
const PLAIN = "#!lua flags=allow-oom\n-- echo\n";
const LOCKING = "#!lua flags=allow-key-locking,allow-oom\n-- echo\n";

/** The names of the commands sent since the counters were reset. */
const sent = (stack: Stack) => stack.server.log.map(({ commands }) => commands[0]![0]);
const runner = (stack: Stack) => scriptRunner(connect({ ...stack.connection, retry: false }));
const echo = (scripts: ReturnType<typeof runner>) => scripts.run(ECHO, ["k"], ["a", 1.5]);

async function rejects(act: () => Promise<unknown>): Promise<TundraError> {
  const error = await assertRejects(act);
  assertIsError(error, TundraError);
  return error as TundraError;
}

describe("the script runner", () => {
  const stack = withStack({ upstash: { record: true } });
  beforeEach(async () => {
    await stack.raw("SCRIPT", "FLUSH");
    await stack.flush();
  });

  it("sends a script by its SHA-1, and its text only if the server does not know it", async () => {
    const scripts = runner(stack);
    assertEquals(await echo(scripts), ECHOED);
    assertEquals(sent(stack), ["EVALSHA", "EVAL"]);
    assertEquals(stack.server.log[1]!.commands[0]!.slice(2), ["1", ...ECHOED]);
    assertMatch(stack.server.log[0]!.commands[0]![1]!, /^[0-9a-f]{40}$/);
    await stack.server.resetCounters();
    assertEquals([await echo(scripts), await echo(runner(stack))], [ECHOED, ECHOED]);
    assertEquals(sent(stack), ["EVALSHA", "EVALSHA"]);
  });

  it("costs one request more, and no error, if the server has forgotten the script", async () => {
    const scripts = runner(stack);
    await echo(scripts);
    await stack.raw("SCRIPT", "FLUSH");
    await stack.server.resetCounters();
    assertEquals(await echo(scripts), ECHOED);
    assertEquals([stack.server.requests, sent(stack)], [2, ["EVALSHA", "EVAL"]]);
  });

  it("sends a script that writes nothing by the commands that a replica serves", async () => {
    await stack.raw("SET", "k", "v");
    const scripts = runner(stack);
    assertEquals([await scripts.run(READ, ["k"], []), await scripts.run(READ, ["none"], [])], ["v", null]);
    assertEquals(sent(stack), ["EVALSHA_RO", "EVAL_RO", "EVALSHA_RO"]);
  });

  it("asks for locks on the declared keys, and for what the script needs besides", async () => {
    await echo(runner(stack));
    assertEquals(stack.server.log[1]!.commands[0]![1], LOCKING + ECHO.counting);
  });

  it("calls a script that fails UNAVAILABLE, one that the server cannot run UNSUPPORTED, and sends neither again", async () => {
    const scripts = runner(stack);
    await stack.raw("SET", "k", "v");
    const wrong = defineScript("wrong", [], "return redis.call('LPOP', KEYS[1])");
    const error = await rejects(() => scripts.run(wrong, ["k"], ["secret value"]));
    assertEquals([error.code, error.retryable], ["UNAVAILABLE", true]);
    assertMatch(error.message, /^Cannot run the script wrong as Redis refused it: WRONGTYPE /);
    assertEquals(sent(stack), ["EVALSHA", "EVAL"]);
    await stack.server.resetCounters();
    const broken = await rejects(() => scripts.run(defineScript("broken", [], "return ("), [], []));
    assertEquals([broken.code, sent(stack)], ["UNSUPPORTED", ["EVALSHA", "EVAL"]]);
    assertMatch(broken.message, /^Cannot run the script broken as Redis refused it: ERR Error compiling script/);
  });

  it("says how many commands were run, with those inside the script, and as many as Redis counts", async () => {
    const scripts = runner(stack);
    const three = defineScript(
      "three",
      [],
      `
if redis.call('SET', KEYS[1], ARGV[1]) and redis.pcall('LPOP', KEYS[1]).err then return redis.call('GET', KEYS[1]) end`,
    );
    for (const expected of [5, 4]) { // the first time EVAL follows upon EVALSHA
      await stack.server.resetCounters();
      let commands = 0;
      const reply = await scripts.run(three, ["k"], ["v"], { onCommands: (count) => void (commands += count) });
      assertEquals([reply, commands, await stack.server.billable()], ["v", expected, expected]);
    }
  });

  it("gives a pipeline a flag only once it is known to work, and that of key locking never inside MULTI", async () => {
    const scripts = runner(stack);
    assertEquals(scripts.inlineSource(ECHO, false), BARE + ECHO.lua);
    assertEquals(scripts.inlineSource(ECHO, true), BARE + ECHO.lua);
    await scripts.run(READ, ["k"], []);
    assertEquals(scripts.inlineSource(ECHO, false), "#!lua flags=allow-key-locking" + BARE + ECHO.lua);
    assertEquals(scripts.inlineSource(ECHO, true), BARE + ECHO.lua);
    await echo(scripts);
    assertEquals(scripts.inlineSource(ECHO, false), LOCKING + ECHO.lua);
    assertEquals(scripts.inlineSource(ECHO, true), PLAIN + ECHO.lua);
    assertEquals(runner(stack).inlineSource(ECHO, false), BARE + ECHO.lua);
  });
});

describe("the script runner on a server that refuses key locking", () => {
  const stack = withStack({ upstash: { record: true, keyLocking: false } });
  beforeEach(async () => {
    await stack.raw("SCRIPT", "FLUSH");
    await stack.flush();
  });

  it("falls back once, for all scripts", async () => {
    const scripts = runner(stack);
    assertEquals(await echo(scripts), ECHOED);
    assertEquals(sent(stack), ["EVALSHA", "EVAL", "EVALSHA", "EVAL"]);
    const texts = [1, 3].map((i) => stack.server.log[i]!.commands[0]![1]);
    assertEquals(texts, [LOCKING + ECHO.counting, PLAIN + ECHO.counting]);
    await stack.server.resetCounters();
    assertEquals([await echo(scripts), await scripts.run(READ, ["none"], [])], [ECHOED, null]);
    assertEquals(sent(stack), ["EVALSHA", "EVALSHA_RO", "EVAL_RO"]);
    assertEquals(stack.server.log[2]!.commands[0]![1], "#!lua flags=no-writes\n-- read\n" + READ.counting);
  });

  it("falls back also if the first calls are under way at once", async () => {
    const scripts = runner(stack);
    assertEquals(await Promise.all([echo(scripts), echo(scripts), echo(scripts)]), [ECHOED, ECHOED, ECHOED]);
  });

  it("gives no pipeline the flag", async () => {
    const scripts = runner(stack);
    assertEquals(scripts.inlineSource(ECHO, false), BARE + ECHO.lua);
    await echo(scripts);
    assertEquals(scripts.inlineSource(ECHO, false), PLAIN + ECHO.lua);
    assertEquals(scripts.inlineSource(ECHO, true), PLAIN + ECHO.lua);
  });
});

describe("the script runner on a server that refuses everything", () => {
  const texts: string[] = [];
  const refusing = (message: (flags: string) => string) => {
    texts.length = 0;
    const { fetch, calls } = fakeFetch(({ json }: FakeCall) => {
      const [name, source] = json as string[];
      if (name === "EVALSHA") return Response.json({ error: "NOSCRIPT No matching script." }, { status: 400 });
      texts.push(source!.split("\n")[0]!);
      return Response.json({ error: message(source!) }, { status: 400 });
    });
    return { calls, scripts: scriptRunner(connect({ url: "https://db.example", token: "tok", fetch, retry: false })) };
  };

  it("drops one refused flag after the other, and then gives up", async () => {
    const { scripts, calls } = refusing((source) => {
      const flag = /flags=([a-z-]+)/.exec(source)?.[1];
      return flag ? `ERR Unexpected flag in script shebang: ${flag}` : "ERR this is no server for scripts";
    });
    const error = await rejects(() => echo(scripts));
    assertMatch(error.message, /no server for scripts/);
    const all = ["#!lua flags=allow-key-locking,allow-oom", "#!lua flags=allow-oom"];
    assertEquals([texts.slice(0, 2), texts.length, calls.length], [all, 3, 6]);
    assert(!texts[2]!.includes("flags="), texts[2]);
  });

  it("is UNSUPPORTED if a flag is refused that was not sent", async () => {
    const { scripts } = refusing(() => "ERR Unexpected flag in script shebang: allow-key-locking");
    const error = await rejects(() => echo(scripts));
    assertEquals([error.code, texts], ["UNSUPPORTED", [...[LOCKING, PLAIN].map((text) => text.split("\n")[0]), ""]]);
    texts.length = 0;
    await rejects(() => echo(scripts));
    assertEquals(texts.length, 3, "what was dropped in vain is no refusal to remember");
  });
});
