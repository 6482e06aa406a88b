/**
 * A small Redis connection (RESP2 over TCP) that never touches a byte: bulk strings are Buffers, and a status such as
 * `+OK` stays different from a value such as `"OK"`.
 * @module
 */
import { Buffer } from "node:buffer";
import { connect, type Socket } from "node:net";

/** A reply: status -> string, bulk -> Buffer, integer -> number, nil -> null, array -> array, error -> RedisError. */
export type Reply = string | Buffer | number | null | RedisError | Reply[];

/** One part of a command. Text goes as UTF-8, a number as its decimal digits. */
export type CommandPart = string | number | Uint8Array;

/** An error that Redis answers, with a leading `-`. */
export class RedisError extends Error {
  /** The error's name: `RedisError`. */
  override readonly name = "RedisError";
}

/** A connection that connects when it is first used, and again after it was lost. */
export interface RedisConnection {
  /** Sends one command; an error reply rejects with {@linkcode RedisError}. */
  call(...command: CommandPart[]): Promise<Reply>;
  /** Sends commands with nothing of this connection in between; error replies come back as values, in their places. */
  pipeline(commands: readonly CommandPart[][]): Promise<Reply[]>;
  /** Closes; what is pending rejects. The connection can be used again. */
  close(): void;
}

/** Opens no socket before the first call. */
export function redisConnection(options: { port: number; host?: string }): RedisConnection {
  interface Waiter {
    resolve(reply: Reply): void;
    reject(error: Error): void;
  }
  let current: { socket: Socket; waiting: Waiter[] } | undefined;

  const open = () => {
    const socket = connect(options.port, options.host ?? "127.0.0.1");
    const waiting: Waiter[] = [];
    const own = { socket, waiting };
    let first = 0;
    const lost = (error: Error) => {
      if (current === own) current = undefined;
      socket.destroy();
      for (const waiter of waiting.splice(0).slice(first)) waiter.reject(error);
      first = 0;
    };
    const feed = replyParser((reply) => {
      const waiter = waiting[first++];
      // shift() on a long queue is slow: forget the answered ones in one go
      if (first === waiting.length) first = waiting.length = 0;
      if (waiter) waiter.resolve(reply);
      else lost(new Error("Redis sent a reply to no command"));
    });
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => {
      try {
        feed(chunk);
      } catch (error) {
        lost(error as Error);
      }
    });
    socket.on("error", (error: Error) => lost(error));
    socket.on("close", () => lost(new Error(`The connection to Redis on port ${options.port} was lost`)));
    return current = own;
  };

  const send = (commands: readonly CommandPart[][]): Promise<Reply>[] => {
    const { socket, waiting } = current ?? open();
    const replies = commands.map(() => new Promise<Reply>((resolve, reject) => waiting.push({ resolve, reject })));
    socket.write(encodeCommands(commands));
    return replies;
  };

  return {
    async call(...command) {
      const reply = await send([command])[0]!;
      if (reply instanceof RedisError) throw reply;
      return reply;
    },
    pipeline: (commands) => commands.length === 0 ? Promise.resolve([]) : Promise.all(send(commands)),
    close: () => void current?.socket.destroy(),
  };
}

/**
 * A connection of its own for SUBSCRIBE or MONITOR: every reply goes to `onReply` until the returned function is
 * called.
 */
export function redisStream(
  options: { port: number; host?: string },
  command: CommandPart[],
  onReply: (reply: Reply) => void,
  onClose: () => void,
): () => void {
  const socket = connect(options.port, options.host ?? "127.0.0.1");
  const feed = replyParser(onReply);
  socket.on("data", (chunk: Buffer) => feed(chunk));
  socket.on("error", () => socket.destroy());
  socket.on("close", onClose);
  socket.write(encodeCommands([command]));
  return () => void socket.destroy();
}

function encodeCommands(commands: readonly CommandPart[][]): Buffer {
  const out: Uint8Array[] = [];
  let text = "";
  for (const command of commands) {
    text += `*${command.length}\r\n`;
    for (const part of command) {
      const bytes = typeof part === "object" ? part : Buffer.from(String(part));
      out.push(Buffer.from(`${text}$${bytes.length}\r\n`), bytes);
      text = "\r\n";
    }
  }
  out.push(Buffer.from(text));
  return Buffer.concat(out);
}

/**
 * Feeds on chunks and calls `onReply` for each whole reply. A long bulk string is copied once, however many chunks it
 * takes.
 */
function replyParser(onReply: (reply: Reply) => void): (chunk: Buffer) => void {
  const open: { items: Reply[]; missing: number }[] = [];
  let rest: Buffer = Buffer.alloc(0);
  let bulk: Buffer | undefined;
  let filled = 0;

  const done = (reply: Reply) => {
    for (;;) {
      const array = open.at(-1);
      if (!array) return onReply(reply);
      array.items.push(reply);
      if (--array.missing > 0) return;
      open.pop();
      reply = array.items;
    }
  };

  return (chunk) => {
    let data = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    rest = Buffer.alloc(0);
    for (;;) {
      if (bulk) {
        const size = Math.min(bulk.length - filled, data.length);
        data.copy(bulk, filled, 0, size);
        filled += size;
        data = data.subarray(size);
        if (filled < bulk.length || data.length < 2) break; // the value's own CR LF is missing
        data = data.subarray(2);
        const whole = bulk;
        bulk = undefined;
        done(whole);
        continue;
      }
      const end = data.indexOf("\r\n");
      if (end < 0) break;
      const type = String.fromCharCode(data[0]!);
      const line = data.toString("utf8", 1, end);
      data = data.subarray(end + 2);
      if (type === "+") done(line);
      else if (type === "-") done(new RedisError(line));
      else if (type === ":") done(Number(line));
      else if (type === "$" && line !== "-1") bulk = Buffer.alloc(Number(line)), filled = 0;
      else if (type === "*" && Number(line) > 0) open.push({ items: [], missing: Number(line) });
      else if (type === "*" && line === "0") done([]);
      else if (type === "$" || type === "*") done(null);
      else throw new Error(`Redis sent a reply of unknown type ${JSON.stringify(type)}`);
    }
    rest = Buffer.from(data); // a copy: `data` is a view that would keep the whole chunk
  };
}
