/**
 * The memory of a tick in a process of its own, which collects garbage before each sample.
 * @module
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BUCKET, type withArchive } from "../support/fixtures.ts";
import { bundle } from "./bundle.ts";
import { run } from "./run.ts";
import { ROOT } from "./tools.ts";

/** Runs a program over the package in a process that collects garbage; what its output says. */
async function measured(
  program: string,
  options: { s3: object; redis: object },
  says: RegExp,
  env: Record<string, string> = {},
): Promise<number[]> {
  const folder = mkdtempSync(join(tmpdir(), "tundra-memory-"));
  try {
    writeFileSync(join(folder, "bundle.mjs"), await bundle(`export * from "./tests/runtimes/everything.ts"`));
    const args = ["--expose-gc", join(ROOT, "tests/runtimes", program), join(folder, "bundle.mjs")];
    const output = await run("node", args, folder, { OPTIONS: JSON.stringify(options), ...env });
    return says.exec(output)!.slice(1).map(Number);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Archives what is due; the most bytes that were live, and how many samples say so. */
export async function liveMemory(stack: ReturnType<typeof withArchive>): Promise<{ peak: number; samples: number }> {
  const { region, accessKeyId, secretAccessKey, url: endpoint } = stack.s3;
  const s3 = { endpoint, region, bucket: BUCKET, accessKeyId, secretAccessKey };
  const says = /^peak (\d+) of (\d+) samples$/m;
  const [peak, samples] = await measured("memory.mjs", { s3, redis: stack.connection }, says) as [number, number];
  return { peak, samples };
}

/** The live memory of one key on its way, in bytes. */
export interface LargeMemory {
  /** Before anything is done. */
  idle: number;
  /** While it is archived, and while it comes back: the most. */
  archive: number;
  back: number;
  samples: number;
}

/** Archives one key, evicts it and brings it back, in a process of its own. */
export async function largeMemory(options: { s3: object; redis: object }, key: string): Promise<LargeMemory> {
  const says = /^idle (\d+) archive (\d+) back (\d+) of (\d+) samples$/m;
  const found = await measured("memory_large.mjs", options, says, { KEY: key });
  const [idle, archive, back, samples] = found as [number, number, number, number];
  return { idle, archive, back, samples };
}
