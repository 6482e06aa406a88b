/**
 * All entry points in one.
 * @module
 */
export * from "../../mod.ts";
export * from "../../src/adapters/cloudflare.ts";
export * from "../../src/adapters/http.ts";
