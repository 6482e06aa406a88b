/**
 * Serves a portable bundle on Deno, Bun or Node: `host.mjs BUNDLE`. Prints its port.
 */
import { Buffer } from "node:buffer";
import { createServer } from "node:http";
import process from "node:process";
import { pathToFileURL } from "node:url";

const { answer } = await import(pathToFileURL(process.argv[2]).href);

const server = createServer(async (message, reply) => {
  const chunks = [];
  for await (const chunk of message) chunks.push(chunk);
  const body = Buffer.concat(chunks).toString();
  const response = await answer(new Request(`http://host${message.url}`, { method: message.method, body }));
  reply.statusCode = response.status;
  reply.end(await response.text());
});
server.listen(0, "127.0.0.1", () => console.log(`port ${server.address().port}`));
process.stdin.resume().on("end", () => process.exit(0)); // ends with whoever started it
