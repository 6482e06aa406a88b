/**
 * A real Chromium for tests, driven by puppeteer-core, and axe-core, which looks for what people cannot use.
 * @module
 */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { installTools, library, ROOT, TOOLS } from "./tools.ts";

/** The part of puppeteer's pages that these tests use. */
export interface BrowserPage {
  goto(url: string): Promise<{ status(): number } | null>;
  content(): Promise<string>;
  url(): string;
  click(selector: string): Promise<void>;
  type(selector: string, text: string): Promise<void>;
  setViewport(size: { width: number; height: number }): Promise<void>;
  setJavaScriptEnabled(isOn: boolean): Promise<void>;
  emulateMediaFeatures(features: { name: string; value: string }[]): Promise<void>;
  waitForNavigation(): Promise<unknown>;
  waitForSelector(selector: string): Promise<unknown>;
  evaluate<T>(script: string): Promise<T>;
  screenshot(options: { path: string; fullPage?: boolean }): Promise<unknown>;
  on(event: string, listener: (value: never) => void): void;
  readonly keyboard: { press(key: string): Promise<void>; type(text: string): Promise<void> };
}

interface Context {
  newPage(): Promise<BrowserPage>;
  close(): Promise<void>;
}

/** A browser. */
export interface Browser {
  createBrowserContext(): Promise<Context>;
  close(): Promise<void>;
}

/** Starts Chromium; where it is missing, and this may be done, it is installed. */
export async function startChromium(): Promise<Browser> {
  const { status } = spawnSync(join(ROOT, ".ci", "servers"), ["chromium"], { stdio: ["ignore", "inherit", "inherit"] });
  if (status !== 0) throw new Error("Cannot start Chromium as it must be installed: .ci/servers says how");
  const executablePath = spawnSync("sh", ["-c", "command -v chromium"], { encoding: "utf8" }).stdout.trim();
  installTools();
  const { default: puppeteer } = await library<{ default: { launch(options: object): Promise<Browser> } }>(
    "puppeteer-core",
  );
  // no sandbox, as CI is root in a container; it meets this repository's own pages only
  const args = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"];
  return await puppeteer.launch({ executablePath, args });
}

/** How a person looks at the page. */
export interface Look {
  isDark?: boolean;
  width?: number;
  hasScripts?: boolean;
}

/** A page in a context of its own, so with no cookies; whatever goes wrong in it is noted in `wrong`. */
export async function openPage(
  browser: Browser,
  { isDark = false, width = 1200, hasScripts = true }: Look = {},
): Promise<{ page: BrowserPage; wrong: string[]; close(): Promise<void> }> {
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  await page.setViewport({ width, height: 800 });
  await page.setJavaScriptEnabled(hasScripts);
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: isDark ? "dark" : "light" }]);
  const wrong: string[] = [];
  page.on("console", (message: { type(): string; text(): string }) => {
    const text = message.text();
    if (message.type() === "error" && !/status of 401/.test(text)) wrong.push(text); // the form that asks for the secret is a 401
  });
  page.on("pageerror", (error: Error) => wrong.push(String(error)));
  page.on("requestfailed", (request: { url(): string }) => wrong.push(`not loaded: ${request.url()}`));
  page.on("dialog", (dialog: { message(): string; dismiss(): Promise<void> }) => {
    wrong.push(`a dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  return { page, wrong, close: () => context.close() };
}

const AXE = "axe-core/axe.min.js";

/** Everything by which axe-core finds that a page cannot be used by everybody; or only its contrasts. */
export async function barriers(page: BrowserPage, onlyContrast = false): Promise<string[]> {
  const source = readFileSync(join(TOOLS, "node_modules", AXE), "utf8");
  const options = { resultTypes: ["violations"], ...onlyContrast && { runOnly: ["color-contrast"] } };
  await page.evaluate(source);
  const found = await page.evaluate<{ id: string; nodes: { html: string; failureSummary: string }[] }[]>(
    `axe.run(document, ${JSON.stringify(options)}).then(({ violations }) => violations)`,
  );
  return found.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`));
}
