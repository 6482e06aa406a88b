/**
 * The package as one bundle: with seeded bugs, or as it is shipped.
 * @module
 */
import { importPatched, type Patch } from "../../support/patched.ts";
import type { Subject } from "./simulation.ts";

const CONTENTS =
  `export { notFound, TundraError, tundraStore } from "./mod.ts"; export { setPlatform } from "./src/base/platform.ts";` +
  `export { aesGcmFreezer, rotate } from "./src/encryption/mod.ts";` +
  `export { transparentRedis } from "./src/transparent/mod.ts";` +
  `export { adopt, erase, moveIndex, peek, rebuild, restoreVersion, sweep, verify, versions, warm } from "./src/operations/mod.ts";` +
  `export { loadLostRecords } from "./src/tick/hourly.ts";`;

/** The package with these patches of one file; all that it imports when it is first needed is there. */
export async function bundled(where: string, patches: readonly Patch[]): Promise<Subject> {
  const subject = await importPatched<Subject & { loadLostRecords(): Promise<void> }>(CONTENTS, where, patches);
  await subject.loadLostRecords();
  return subject;
}
