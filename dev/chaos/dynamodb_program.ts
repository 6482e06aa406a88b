/**
 * The program of DynamoDB's stand-in in a chaos run: its first argument is the folder of its items, its second the port.
 * It says when it is ready, and ends with the process that started it.
 * @module
 */
import process from "node:process";
import { startDynamodb } from "../servers/dynamodb.ts";

process.stdin.on("end", () => process.exit(0)).on("error", () => process.exit(0)).resume();
const [path, port] = process.argv.slice(2);
await startDynamodb({ path: path!, port: Number(port) });
console.log("ready");
