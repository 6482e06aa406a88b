/**
 * The files that the page serves itself: its style sheet, the script of its charts, and uPlot.
 * @module
 */
import { CHARTS_SCRIPT } from "./charts_script.ts";
import { STYLE } from "./style.ts";

/** Headers of every answer. */
export const HEADERS: Readonly<Record<string, string>> = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "x-robots-tag": "noindex, nofollow",
};

/** The version of uPlot that the page carries. */
export const UPLOT_VERSION = "1.6.32";

type AssetName = "page.css" | "charts.js" | "uplot.js" | "uplot.css";

interface Asset {
  type: string;
  /** It differs if the content does. */
  mark: string;
  text(): string | Promise<string>;
}

const [CSS, SCRIPT] = ["text/css; charset=utf-8", "text/javascript; charset=utf-8"];

/** uPlot is loaded when a browser asks for it: it is most of the page's weight. */
const ASSETS: Readonly<Record<AssetName, Asset>> = {
  "page.css": { type: CSS, mark: markOf(STYLE), text: () => STYLE },
  "charts.js": { type: SCRIPT, mark: markOf(CHARTS_SCRIPT), text: () => CHARTS_SCRIPT },
  "uplot.js": { type: SCRIPT, mark: UPLOT_VERSION, text: uplotScript },
  "uplot.css": { type: CSS, mark: UPLOT_VERSION, text: async () => (await import("./uplot.ts")).UPLOT_STYLE },
};

async function uplotScript(): Promise<string> {
  const { UPLOT_LICENCE, UPLOT_SCRIPT } = await import("./uplot.ts");
  return `/*\n${UPLOT_LICENCE}*/\n${UPLOT_SCRIPT}`;
}

/** The address of a file, below whatever path the page is at; another content has another one. */
export function assetUrl(name: AssetName): string {
  return `?asset=${name}&v=${ASSETS[name].mark}`;
}

/** The answer with a file; `undefined` if there is none of that name. Nothing in it is secret. */
export async function respondAsset(name: string): Promise<Response | undefined> {
  if (!Object.hasOwn(ASSETS, name)) return undefined;
  const { type, text } = ASSETS[name as AssetName];
  const headers = {
    ...HEADERS,
    "cache-control": "public, max-age=31536000, immutable",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "content-type": type,
  };
  return new Response(await text(), { headers });
}

/** FNV-1a, 32 bits: it tells versions of a file apart, and is no protection. */
function markOf(text: string): string {
  let mark = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) mark = Math.imul(mark ^ text.charCodeAt(i), 0x01000193) >>> 0;
  return mark.toString(36);
}
