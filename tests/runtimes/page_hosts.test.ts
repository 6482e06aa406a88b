/** The page where others serve it: a Worker (signing in, the overview, a chart's script), and Hono below a prefix. */
import { after, before, describe, it } from "node:test";
import { assertEquals, assertMatch } from "@std/assert";
import { pageHandler } from "../../src/page/mod.ts";
import { formBody, readable, SECRET } from "../page/page.ts";
import { BUCKET, withArchive } from "../support/fixtures.ts";
import { bundle } from "./bundle.ts";
import { installTools, library, type Miniflare, miniflare } from "./tools.ts";

describe("the page in workerd", () => {
  const stack = withArchive();
  let mf: Miniflare;
  before(async () => {
    installTools();
    const { url, region, accessKeyId, secretAccessKey } = stack.s3;
    const s3 = { endpoint: url, region, bucket: BUCKET, accessKeyId, secretAccessKey };
    mf = miniflare({
      script: await bundle(`
        import { s3Datastore, tundraStore } from "./mod.ts";
        import { pageHandler } from "./src/page/mod.ts";
        const storeOf = () => tundraStore(s3Datastore(${JSON.stringify(s3)}), { redis: ${
        JSON.stringify(stack.connection)
      } });
        export default { fetch: (request, env) => pageHandler(storeOf, { secret: env.PAGE_SECRET })(request) };`),
      bindings: { PAGE_SECRET: SECRET },
    });
    await mf.ready;
  });
  after(() => mf?.dispose());

  it("signs in, shows the overview, and serves uPlot", async () => {
    await stack.raw("SET", "a", "1");
    await stack.store().dirty("a");
    const address = "https://shop.example/tundra";
    assertEquals((await mf.dispatchFetch(address)).status, 401);
    const signedIn = await mf.dispatchFetch(`${address}?view=login`, {
      ...formBody([["secret", SECRET]]),
      redirect: "manual",
    });
    assertEquals([signedIn.status, signedIn.headers.get("location")], [303, "?"]);
    const cookie = signedIn.headers.get("set-cookie")!.split(";")[0]!;
    const page = await mf.dispatchFetch(address, { headers: { cookie } });
    assertEquals(page.status, 200);
    assertMatch(readable(await page.text()), /Waiting 1 key holds a change that only Redis has/);
    const script = await mf.dispatchFetch(`${address}?asset=uplot.js`);
    assertMatch(await script.text(), /Leon Sorokin[^]*var uPlot=/);
  });
});

interface HonoApp {
  route(path: string, app: HonoApp): HonoApp;
  all(path: string, handle: (c: { req: { raw: Request } }) => Promise<Response>): HonoApp;
  fetch(request: Request): Promise<Response>;
}

describe("the page in Hono", () => {
  const stack = withArchive();

  it("is at the path where it was mounted, below a prefix, with or without a slash at the end", async () => {
    installTools();
    const { Hono } = await library<{ Hono: new () => HonoApp }>("hono");
    const page = pageHandler(stack.store(), { secret: SECRET });
    for (const path of ["/tundra", "/tundra/"]) {
      const app = new Hono().route("/admin", new Hono().all(path, (c) => page(c.req.raw)));
      const address = `https://shop.example/admin${path}`;
      const login = await app.fetch(new Request(`${address}?view=login`, formBody([["secret", SECRET]])));
      const cookie = login.headers.get("set-cookie")!.split(";")[0]!;
      const overview = await app.fetch(
        new Request(new URL(login.headers.get("location")!, address), { headers: { cookie } }),
      );
      assertEquals(overview.status, 200);
      const [, style] = /<link rel="stylesheet" href="([^"]+)"/.exec(await overview.text())!;
      const file = await app.fetch(new Request(new URL(style!.replace("&amp;", "&"), address)));
      assertEquals(file.headers.get("content-type"), "text/css; charset=utf-8");
    }
  });
});
