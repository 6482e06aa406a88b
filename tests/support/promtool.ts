/**
 * promtool, the checker that comes with Prometheus.
 * @module
 */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

/** Makes sure that promtool is on PATH; as root on Debian it is installed, once. */
export function findPromtool(): void {
  const there = () => spawnSync("promtool", ["--version"]).status === 0;
  if (there()) return;
  const servers = fileURLToPath(new URL("../../.ci/servers", import.meta.url));
  spawnSync("/bin/sh", [servers, "promtool"], { stdio: ["ignore", "inherit", "inherit"] });
  if (!there()) throw new Error("Cannot check metrics as promtool must be on PATH: it is not");
}

/** Runs promtool; what it says. Throws if it ends with another status. */
export function promtool(args: string[], input = "", status = 0): string {
  const result = spawnSync("promtool", args, { input, encoding: "utf8" });
  const said = result.stdout + result.stderr;
  if (result.status !== status) throw new Error(`promtool ${args.join(" ")} ended with ${result.status}: ${said}`);
  return said;
}
