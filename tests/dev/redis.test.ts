import { Buffer } from "node:buffer";
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { type AddressInfo, createServer, type Socket } from "node:net";
import process from "node:process";
import { describe, it } from "node:test";
import { assert, assertEquals, assertInstanceOf, assertMatch, assertRejects } from "@std/assert";
import { startRedis } from "../../dev/servers/redis_server.ts";
import { redisConnection, RedisError, type Reply } from "../../src/testing/resp.ts";

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

describe("a started Redis", () => {
  it("answers on a port of its own, and is gone with its files after stop()", async () => {
    const [a, b] = await Promise.all([startRedis(), startRedis()]);
    assert(a.port !== b.port && a.pid !== b.pid);
    const connection = redisConnection(a);
    assertEquals(await connection.call("PING"), "PONG");
    assertMatch(String(await connection.call("INFO", "server")), new RegExp(`process_id:${a.pid}\r`));
    assertEquals((await connection.call("CONFIG", "GET", "save") as Buffer[]).map(String), ["save", ""]);
    assert(existsSync(a.dir));
    await Promise.all([a.stop(), b.stop()]);
    await assertRejects(() => connection.call("PING"));
    assertEquals(existsSync(a.dir), false);
    await a.stop();
  });

  it("comes back on the same port after kill() and restart(): empty, or with its append-only file", async () => {
    for (const kept of [false, true]) {
      const redis = await startRedis({ args: kept ? ["--appendonly", "yes", "--appendfsync", "always"] : [] });
      const connection = redisConnection(redis);
      await connection.call("SET", "a", "1");
      const { pid, port } = redis;
      await redis.kill();
      await assertRejects(() => connection.call("PING"));
      await redis.restart();
      assertEquals(redis.port, port);
      assert(redis.pid !== pid);
      assertEquals(await connection.call("GET", "a"), kept ? Buffer.from("1") : null);
      await redis.restart();
      assertEquals(await connection.call("GET", "a"), kept ? Buffer.from("1") : null);
      connection.close();
      await redis.stop();
    }
  });

  it("takes more arguments, and says why it can't start", async () => {
    const redis = await startRedis({ args: ["--maxmemory", "10mb"] });
    const connection = redisConnection(redis);
    assertEquals((await connection.call("CONFIG", "GET", "maxmemory") as Buffer[]).map(String)[1], "10485760");
    await assertRejects(() => startRedis({ port: redis.port }), Error, "in use");
    await assertRejects(() => startRedis({ args: ["--nosuchoption", "1"] }), Error, "nosuchoption");
    connection.close();
    await redis.stop();
  });

  it("dies with the process that started it, even if that is killed", async () => {
    const file = new URL("../../dev/servers/redis_server.ts", import.meta.url).href;
    const script = `import(${JSON.stringify(file)}).then(async ({ startRedis }) => {
      const { pid, dir } = await startRedis();
      console.log("pid " + pid + " " + dir);
      setInterval(() => {}, 1000);
    })`;
    const args = process.versions.deno
      ? ["eval", script]
      : process.versions.bun
      ? ["-e", script]
      : [...process.execArgv.filter((arg) => !arg.startsWith("--test")), "--import", "tsx", "-e", script];
    const parent = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    let output = "";
    for await (const chunk of parent.stdout) {
      output += chunk;
      if (output.includes("\n")) break;
    }
    const [pid, dir] = [Number(output.split(" ")[1]), output.trim().split(" ")[2]!];
    assert(alive(pid) && existsSync(dir), output);
    parent.kill("SIGKILL");
    const runs = () => {
      // if nobody collects orphans a dead process stays as a zombie: ask for its memory instead
      return alive(pid) && (!existsSync("/proc/self/stat") || !/ Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8")));
    };
    const deadline = performance.now() + 5000;
    while ((runs() || existsSync(dir)) && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assertEquals([runs(), existsSync(dir)], [false, false]);
  });
});

describe("the Redis connection", () => {
  /** Answers everything with these bytes, in pieces of `size`. */
  const fake = async (bytes: string, size: number, play: (call: () => Promise<Reply>) => Promise<void>) => {
    const sockets: Socket[] = [];
    const server = createServer((socket) => {
      sockets.push(socket);
      socket.once("data", async () => {
        const all = Buffer.from(bytes, "latin1");
        for (let i = 0; i < all.length; i += size) {
          socket.write(all.subarray(i, i + size));
          await new Promise((resolve) => setImmediate(resolve));
        }
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const connection = redisConnection({ port: (server.address() as AddressInfo).port });
    await play(() => connection.call("X"));
    connection.close();
    for (const socket of sockets) socket.destroy();
    server.close();
  };

  it("reads every kind of reply, however the network cuts it", async () => {
    const bytes =
      "*9\r\n+OK\r\n$2\r\nOK\r\n:-12\r\n$-1\r\n*-1\r\n*0\r\n$0\r\n\r\n$6\r\n\r\n\0\xff\r\n\r\n*2\r\n-ERR no\r\n*1\r\n:1\r\n";
    for (const size of [1, 2, 3, 7, 1000]) {
      await fake(bytes, size, async (call) => {
        const reply = await call() as Reply[];
        const error = (reply[8] as Reply[])[0];
        assertInstanceOf(error, RedisError);
        assertEquals(error.message, "ERR no");
        assertEquals(reply.slice(0, 8), [
          "OK",
          Buffer.from("OK"),
          -12,
          null,
          null,
          [],
          Buffer.alloc(0),
          Buffer.from("\r\n\0\xff\r\n", "latin1"),
        ]);
        assertEquals((reply[8] as Reply[])[1], [1]);
      });
    }
  });

  it("rejects what is pending when the server talks nonsense", async () => {
    await fake(
      "HTTP/1.1 400 Bad Request\r\n",
      100,
      (call) => assertRejects(call, Error, "unknown type").then(() => {}),
    );
  });

  it("keeps every byte both ways, long values and many calls at once too", async () => {
    const redis = await startRedis();
    const connection = redisConnection(redis);
    const bytes = Uint8Array.from({ length: 3_000_000 }, (_, i) => i * 31);
    assertEquals(await connection.call("SET", "long", bytes), "OK");
    assert((await connection.call("GET", "long") as Buffer).equals(bytes));
    const replies = await Promise.all(Array.from({ length: 500 }, (_, i) => connection.call("ECHO", i)));
    assertEquals(replies.map(String), Array.from({ length: 500 }, (_, i) => String(i)));
    assertEquals(await connection.call("SET", "ä", "ü"), "OK");
    assertEquals(await connection.call("GET", Buffer.from("ä")), Buffer.from("ü"));
    connection.close();
    await redis.stop();
  });

  it("gives error replies as rejections to call(), as values to pipeline()", async () => {
    const redis = await startRedis();
    const connection = redisConnection(redis);
    await connection.call("SET", "a", "x");
    await assertRejects(() => connection.call("INCR", "a"), RedisError, "ERR value is not an integer");
    const [set, incr, get] = await connection.pipeline([["SET", "a", "y"], ["INCR", "a"], ["GET", "a"]]);
    assertInstanceOf(incr, RedisError);
    assertEquals([set, get], ["OK", Buffer.from("y")]);
    assertEquals(await connection.pipeline([]), []);
    connection.close();
    await redis.stop();
  });
});
