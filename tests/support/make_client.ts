/**
 * Run as a program, without permissions: makes a connection and a client, uses them, and prints what came back.
 * @module
 */
import { redisClient } from "../../src/upstash/client.ts";
import { connect, type RedisOptions } from "../../src/upstash/connection.ts";

const options: RedisOptions = {
  url: "https://db.example",
  token: "tok",
  fetch: () => Promise.resolve(Response.json([{ result: "T0s=" }])),
};
const redis = redisClient(connect(options), options);
console.log(JSON.stringify(await redis.set("a", 1)));
