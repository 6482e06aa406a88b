/** The page in a real Chromium: with and without scripts, light and dark, on a phone, by keyboard. */
import { after, before, beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { TundraStore } from "../../mod.ts";
import { pageHandler } from "../../src/page/mod.ts";
import type { Listening } from "../../src/testing/loopback.ts";
import { serveFetch } from "../../dev/servers/fetch_server.ts";
import { pastRows } from "../../dev/page/past.ts";
import { handleOf, SECRET } from "../page/page.ts";
import { withArchive } from "../support/fixtures.ts";
import { barriers, type Browser, type BrowserPage, type Look, openPage, startChromium } from "./chromium.ts";

/** Names of keys that a browser must neither run nor change. */
const ODD = [
  `<script>alert(1)</script>`,
  `"><img src=x onerror=alert(1)>`,
  "invoice\u202egnp.exe",
  "line\r\nfeed\ttab nul\u0000 and \u007f",
  "键 🧊" + "x".repeat(10_000),
];

const OVERFLOW = "document.documentElement.scrollWidth - innerWidth";

describe("the page in Chromium", () => {
  const stack = withArchive();
  let browser: Browser;
  let server: Listening;
  let store: TundraStore;
  let address: string;

  before(async () => {
    browser = await startChromium();
    const allow = { retry: true, restore: true, peek: true };
    server = await serveFetch((request) =>
      pageHandler(store, { secret: SECRET, title: "shop, staging", allow })(request)
    );
    address = `http://127.0.0.1:${server.port}/admin/tundra`;
  });
  after(async () => {
    await browser?.close();
    await server?.close();
  });
  beforeEach(async () => {
    await stack.flush();
    store = stack.store();
    const keys = [...ODD, ...Array.from({ length: 20 }, (_, i) => `cart:${i}`)];
    await stack.raw("MSET", ...keys.flatMap((key) => [key, `value of ${key.slice(0, 50)}`]));
    await store.dirty(keys);
    await store.tick();
    await store.evict(keys.slice(0, 15));
    const totals = { frozen: 4000, evicted: 3000, restored: 500, archived: 3500 };
    await stack.raw("HSET", "tundra:default:hours", ...pastRows(await stack.nowMs(), totals));
    for (const key of [...ODD, "cart:19"]) {
      await store.ensureKs(key);
      await store.dirty(key);
      await stack.editRecord(key, { attempts: 3, error: "TOO_LARGE <b>the value</b> has 120 MB" });
      await stack.raw("ZREM", "tundra:default:dirty", key);
      await stack.raw("ZADD", "tundra:default:dead", String(Math.floor(await stack.nowMs()) - 5000), key);
    }
  });

  async function opened(look: Look = {}): Promise<Awaited<ReturnType<typeof openPage>>> {
    const open = await openPage(browser, look);
    await open.page.goto(address);
    await open.page.type("#secret", SECRET);
    await submit(open.page, () => open.page.keyboard.press("Enter"));
    return open;
  }

  async function submit(page: BrowserPage, act: () => Promise<void>): Promise<void> {
    await Promise.all([page.waitForNavigation(), act()]);
  }

  /** The text of the page's first heading. */
  const heading = async (page: BrowserPage) => /<h1[^>]*>([^<]*)/.exec(await page.content())?.[1];

  /** Each view, one after the other. */
  async function eachView(page: BrowserPage, look: (name: string) => Promise<void>): Promise<void> {
    await look("overview");
    for (const view of ["dead", "history", "help", "keys"]) {
      await page.goto(`${address}?view=${view}`);
      await look(view);
    }
    await submit(page, () => page.click('form[action="?view=keys"] button'));
    await look("list");
    await page.type("#name", "cart:1");
    await submit(page, () => page.click('form[action="?view=key"] button'));
    await look("key");
    await submit(page, () => page.click('form[action="?view=peek"] button'));
    await look("value");
    await submit(page, () => page.click('form[action="?view=key"] button'));
    await submit(page, () => page.click('form[action="?view=restore"] button'));
    await look("restore");
    await page.goto(`${address}?view=nothing`);
    await look("not found");
  }

  it("can be used by everybody on a phone of 360 pixels, in light colours: it fits, axe finds nothing, no error comes", async () => {
    const first = await openPage(browser, { width: 360 });
    await first.page.goto(address);
    assertEquals([await first.page.evaluate(OVERFLOW), await barriers(first.page)], [0, []]);
    await first.close();
    const { page, wrong, close } = await opened({ width: 360 });
    const found: string[] = [];
    await eachView(page, async (name) => {
      if (await page.evaluate<number>(OVERFLOW) > 0) found.push(`${name} is wider than the phone`);
      found.push(...(await barriers(page)).map((barrier) => `${name}: ${barrier}`));
    });
    assertEquals(found, []);
    assertEquals(wrong.filter((text) => !/status of 404/.test(text)), []);
    await close();
  });

  it("has enough contrast in dark colours, too", async () => {
    const { page, wrong, close } = await opened({ isDark: true });
    const found: string[] = [];
    await eachView(page, async (name) => {
      if (!["overview", "dead", "list", "value"].includes(name)) return; // all colours are in these
      found.push(...(await barriers(page, true)).map((barrier) => `${name}: ${barrier}`));
    });
    assertEquals(found, []);
    assertEquals(wrong.filter((text) => !/status of 404/.test(text)), []);
    await page.evaluate(`document.querySelector("h1").style.color = getComputedStyle(document.body).backgroundColor`);
    assertMatch((await barriers(page, true)).join(), /color-contrast/); // it would have been found
    await close();
  });

  it("works without scripts: signing in, reading, a retry, a key, a version", async () => {
    const { page, wrong, close } = await opened({ hasScripts: false });
    assertEquals(await heading(page), "Needs you");
    const views: string[] = [];
    await eachView(page, async (name) => void views.push(`${name}: ${await heading(page)}`));
    assertEquals(views.slice(1), [
      ...["dead: Dead letters", "history: History", "help: Help", "keys: Keys", "list: Keys", "key: Key"],
      ...["value: Value", "restore: Restore this version?", "not found: Not found"],
    ]);
    await page.goto(`${address}?view=dead`);
    await submit(page, () => page.click('button[form="retry"]'));
    assertMatch(await page.content(), /1 key put back into the queue/);
    assertEquals((await stack.members("dead")).length, ODD.length);
    await submit(page, () => page.click('form[action="?view=leave"] button'));
    assertEquals(await heading(page), "Sign in");
    assertEquals(wrong.filter((text) => !/status of 404/.test(text)), []);
    await close();
  });

  it("draws charts of the same numbers with scripts, and in both colours; without, it has pictures of them", async () => {
    const [bright, dark, plain] = [await opened(), await opened({ isDark: true }), await opened({ hasScripts: false })];
    const pixels = `[...document.querySelectorAll("figure[data-chart] canvas")].map((canvas) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      const colours = new Map();
      for (let i = 0; i < data.length; i += 4) if (data[i + 3] === 255) {
        const colour = data.slice(i, i + 3).join();
        colours.set(colour, (colours.get(colour) ?? 0) + 1);
      }
      return [...colours.keys()];
    })`;
    const colours: string[][] = [];
    for (const { page, wrong } of [bright, dark]) {
      for (const view of ["?", "?view=history"]) {
        await page.goto(address + view);
        await page.waitForSelector("figure.drawn canvas");
        assertEquals(
          await page.evaluate(`document.querySelectorAll("figure.drawn canvas").length`),
          view === "?" ? 2 : 4,
        );
      }
      colours.push((await page.evaluate<string[][]>(pixels))[0]!);
      assertMatch(await page.evaluate(`document.querySelector(".u-legend").innerText`), /UTC.*2\d{3}-.*Evicted.*\d/s);
      assertEquals(wrong, []);
    }
    assert(colours[0]!.includes("13,92,99") && !colours[1]!.includes("13,92,99"), "the series has its colour");
    assert(colours[1]!.includes("127,205,208"), "and another one where it is dark");
    const { page } = plain;
    await page.goto(`${address}?view=history`);
    assertEquals(await page.evaluate(`document.querySelectorAll("figure svg path.s0[d*=L]").length`), 4);
    assertEquals(await page.evaluate(`document.querySelectorAll("figure canvas, figure.drawn").length`), 0);
    assert(await page.evaluate<number>(`document.querySelector(".plot svg").getBoundingClientRect().height`) > 100);
    await page.click("details summary");
    assert(await page.evaluate<number>(`document.querySelector("details table").getBoundingClientRect().height`) > 100);
    for (const { close } of [bright, dark, plain]) await close();
  });

  it("works by keyboard: what has the focus is seen, and all that acts is reached", async () => {
    const { page, close } = await openPage(browser);
    await page.goto(address);
    await page.waitForSelector("#secret:focus"); // by itself, but Chromium may give it after the page has loaded
    await page.keyboard.type(SECRET);
    await submit(page, () => page.keyboard.press("Enter"));
    await page.goto(`${address}?view=dead`);
    const reached: string[] = [];
    for (let i = 0; i < 40; i++) {
      await page.keyboard.press("Tab");
      const [text, outline] = await page.evaluate<[string, string]>(
        `(({ tagName, innerText }, { outlineStyle, outlineWidth }) =>
          [tagName === "BODY" ? "" : innerText.trim(), outlineStyle === "none" ? "" : outlineWidth])(
          document.activeElement, getComputedStyle(document.activeElement))`,
      );
      if (text === "") break;
      assert(parseFloat(outline) >= 2, `the focus on ${text} is not seen`);
      reached.push(text.split("\n")[0]!);
    }
    for (
      const text of [
        "Skip to the content",
        "Overview",
        "Keys",
        "Help",
        "Sign out",
        ODD[0]!,
        "cart:19",
        "TOO_LARGE",
        "Retry",
        `Retry all ${ODD.length + 1} shown`,
      ]
    ) {
      assert(reached.includes(text), `${text} is not reached: ${reached}`);
    }
    await page.goto(`${address}?view=dead`);
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter"); // skip to the content
    const next = async (wanted: string) => {
      for (let i = 0; i < 12; i++) {
        await page.keyboard.press("Tab");
        if (await page.evaluate("document.activeElement.innerText.trim()") === wanted) return;
      }
      assert(false, `${wanted} is not reached`);
    };
    await next(ODD[0]!);
    await submit(page, () => page.keyboard.press("Enter"));
    assertEquals(await heading(page), "Key");
    await close();
  });

  it("neither runs nor changes a key's name, on the way there and back", async () => {
    const { page, wrong, close } = await opened();
    for (const key of ODD) {
      await page.goto(`${address}?view=dead`);
      await submit(page, () => page.click(`button[form="open"][value="${handleOf(key)}"]`));
      assertEquals(await heading(page), "Key", key.slice(0, 40));
      const html = await page.content();
      assert(html.includes(`name="key" value="${handleOf(key)}"`), `another key than ${key.slice(0, 40)}`);
      assert(!page.url().includes(handleOf(key)));
    }
    assertEquals(wrong, []);
    await close();
  });
});
