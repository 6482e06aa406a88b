/**
 * A page that shows the state of a store: one handler, `Request` to `Response`, to mount at any one path of an
 * application. It is rendered by the server, works without JavaScript, and loads nothing from elsewhere.
 *
 * @example With `Deno.serve`
 * ```ts ignore
 * import { tundraFromEnv } from "@tundra/store";
 * import { pageHandler } from "@tundra/store/page";
 *
 * const page = pageHandler(tundraFromEnv(), { secret: Deno.env.get("TUNDRA_PAGE_SECRET") });
 * Deno.serve((request) => new URL(request.url).pathname === "/tundra" ? page(request) : new Response("Hello"));
 * ```
 *
 * @module
 */
export { pageHandler } from "./handler.ts";
export type { PageAllowance, PageOptions } from "./options.ts";
