/**
 * A tick process of a chaos run: half of them call `tick()` as a cron trigger would, and sweep now and then, the others
 * are workers. Each runs until it is killed, at any moment, and is started again.
 * @module
 */
import type { TickOptions, TickReport } from "../../mod.ts";
import { sweep } from "../../src/operations/mod.ts";
import { chaosStore, configuration, openLedger, unexpected } from "./common.ts";

const PAUSE_MS = 300;
/** Ticks between two sweeps. Nothing is old enough to be deleted, but packs that hold removed values are rewritten. */
const TICKS = 2;

const config = configuration();
const { note } = openLedger(config.file);
/** Some ticks make packs of the default size, some small ones, some none. */
const PACK_BYTES = [1_048_576, 20_000, 0];
const store = chaosStore(config, {}, { packBytes: PACK_BYTES[config.index % PACK_BYTES.length]! });

const options: TickOptions = {
  leaseMs: config.leaseMs,
  deadlineMs: 4 * config.leaseMs,
  batchKeys: 8 << (config.index % 3),
  retryBackoffMs: 200,
  // Killed ticks must leave no key dead: ten in a row over the same key are next to impossible.
  nattempts: 10,
};

function failed(error: unknown): void {
  const why = unexpected(error);
  if (why !== undefined) note({ is: "bad", key: `tick ${config.index}`, at: Date.now(), what: why });
  note({ is: "did", what: "tick", at: Date.now(), good: false });
}

function ended(report: TickReport): void {
  const at = Date.now();
  note({ is: "did", what: "tick", at, good: true });
  for (const { key, code, message } of report.errors) {
    // CONFLICT: a whole value was written over an evicted one, and is about to be marked
    // MISSING: a key expired before a tick saw its expiry, or it was removed and is about to be marked
    if (/^(UNAVAILABLE|CONFLICT|MISSING)$/.test(code)) continue;
    note({ is: "bad", key, at, what: `tick: ${code}: ${message}` });
  }
}

if (config.index % 2 === 0) {
  store.worker({
    ...options,
    eoqBackoffMs: PAUSE_MS,
    monitor: ({ report, error }) => report ? ended(report) : failed(error),
  });
} else {
  for (let ticks = 1;; ticks++) {
    try {
      ended(await store.tick(options));
      if (ticks % TICKS === 0) {
        const { moved, errors } = await sweep(store, { deadlineMs: options.deadlineMs! });
        note({ is: "did", what: moved > 0 ? "sweep that moves" : "sweep", at: Date.now(), good: true });
        for (const { name, code, message } of errors) {
          if (code !== "UNAVAILABLE") {
            note({ is: "bad", key: name, at: Date.now(), what: `sweep: ${code}: ${message}` });
          }
        }
      }
    } catch (error) {
      failed(error);
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}
