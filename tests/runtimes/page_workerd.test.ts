/** The page as a Worker serves it: signing in, the overview, a chart's script. */
import { after, before, describe, it } from "node:test";
import { assertEquals, assertMatch } from "@std/assert";
import { formBody, readable, SECRET } from "../page/page.ts";
import { BUCKET, withArchive } from "../support/fixtures.ts";
import { bundle } from "./bundle.ts";
import { installTools, type Miniflare, miniflare } from "./tools.ts";

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
