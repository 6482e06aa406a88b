/**
 * Serves api/*.ts in Vercel's edge-runtime: `node local.mjs [PORT]`. On Vercel itself nothing of this is needed.
 */
import process from "node:process";
import { fileURLToPath } from "node:url";
import { EdgeRuntime, runServer } from "edge-runtime";
import { build } from "esbuild";

const routes = `
  import * as cart from "./api/cart.ts";
  import * as cron from "./api/cron.ts";
  const modules = { "/api/cart": cart, "/api/cron": cron };
  addEventListener("fetch", (event) => {
    const handle = modules[new URL(event.request.url).pathname]?.[event.request.method];
    event.respondWith(handle ? handle(event.request) : new Response("no such route", { status: 404 }));
  });`;
const { outputFiles } = await build({
  stdin: { contents: routes, resolveDir: fileURLToPath(new URL(".", import.meta.url)) },
  bundle: true,
  write: false,
  format: "iife",
  platform: "browser",
});
const runtime = new EdgeRuntime({
  initialCode: outputFiles[0].text,
  extend: (context) => Object.assign(context, { process: { env: { ...process.env } } }),
});
const { url } = await runServer({ runtime, port: Number(process.argv[2] ?? 3000) });
console.log(`listening on ${url}`);
