/**
 * A process of a chaos run that rebuilds the index, call after call, until it is whole. It is killed at any moment, and
 * started again.
 * @module
 */
import process from "node:process";
import { rebuild } from "../../src/operations/mod.ts";
import { chaosStore, configuration, openLedger, unexpected } from "./common.ts";

/** Of each call, so that a rebuild takes many. */
const MAX_SUBREQUESTS = 40;

const config = configuration();
const { note } = openLedger(config.file);
const store = chaosStore(config);

for (;;) {
  try {
    const { done, errors } = await rebuild(store, { maxSubrequests: MAX_SUBREQUESTS });
    note({ is: "did", what: "rebuild", at: Date.now(), good: true });
    for (const { key, code, message } of errors) {
      note({ is: "bad", key: key ?? "", at: Date.now(), what: `rebuild: ${code}: ${message}` });
    }
    if (done) break;
  } catch (error) {
    const why = unexpected(error);
    if (why !== undefined) note({ is: "bad", key: "", at: Date.now(), what: `rebuild: ${why}` });
    note({ is: "did", what: "rebuild", at: Date.now(), good: false });
  }
}
process.exit();
