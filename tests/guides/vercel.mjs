/**
 * Serves api/*.js of the current folder in Vercel's edge-runtime, as `vercel dev` does with an account:
 * `node vercel.mjs ROOT PORT`.
 */
import { readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import process from "node:process";

const [root, port] = process.argv.slice(2);
const require = createRequire(join(root, "package.json"));
const { build } = require("esbuild");
const { EdgeRuntime, runServer } = require("edge-runtime");

const names = readdirSync("api").map((file) => file.replace(/\.js$/, ""));
const routes = `
  ${names.map((name, i) => `import * as m${i} from "./api/${name}.js";`).join("\n")}
  const modules = { ${names.map((name, i) => `"/api/${name}": m${i}`)} };
  addEventListener("fetch", (event) => {
    const handle = modules[new URL(event.request.url).pathname]?.[event.request.method];
    event.respondWith(handle ? handle(event.request) : new Response("no such route", { status: 404 }));
  });`;
const { outputFiles } = await build({
  stdin: { contents: routes, resolveDir: process.cwd() },
  bundle: true,
  write: false,
  format: "iife",
  platform: "browser",
});
const runtime = new EdgeRuntime({
  initialCode: outputFiles[0].text,
  extend: (context) => Object.assign(context, { process: { env: { ...process.env } } }),
});
const { url } = await runServer({ runtime, port: Number(port) });
console.log(`listening on ${url}`);
