/**
 * Seeded bugs: each is a guard of the protocol taken away, as a patch that is applied in memory. The simulation must
 * catch every one of them, or it proves nothing.
 * @module
 */
import { MARKED, MARKING } from "../../../src/scripts/mark.ts";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { patched } from "../../support/patched.ts";
import { bundled } from "./bundle.ts";
import { scriptName } from "../redis/scripts.ts";
import { type Choices, parseChoices, replayedChoices, seededChoices } from "./choices.ts";
import { PLAYS } from "./runs.ts";
import { SHIPPED, type Subject, UNEXPECTED } from "./simulation.ts";

/** One bug. */
export interface SeededBug {
  name: string;
  /** The guard of the protocol that it breaks, if it is one of those. */
  guard?: string;
  /** A script of src/scripts by its name, or a file of src. */
  where: string;
  /** A schedule that meets it, if that takes long: it saves time as long as schedules stay what they are. */
  met?: number;
  /** The decisions of one, if no seed is known that draws them. */
  schedule?: string;
  /** `true`: stores encrypt. */
  encrypted?: boolean;
  /** The kind of schedules in which it is hunted, if not any. */
  play?:
    | "liveness"
    | "several"
    | "policy"
    | "sweeps"
    | "histories"
    | "peeks"
    | "rebuilds"
    | "erasures"
    | "large"
    | "transparent"
    | "together";
  /** Each must occur. */
  patches: [from: string, to: string][];
}

/** All of them. */
export const SEEDED_BUGS: SeededBug[] = [
  {
    name: "a record that says nothing hides that Redis has lost one",
    met: 5024927,
    where: "commit",
    patches: [["empty[#empty + 1] = KEYS[4 + i]", ""]],
  },
  // ---- erasures
  {
    name: "an erasure goes through values and tombstones of a pack together",
    play: "erasures",
    where: "src/operations/erase_archive.ts",
    patches: [['return kind === "values" ? !isTombstone : ', 'return kind === "values" ? true : ']],
  },
  {
    name: "an erasure erases tombstones before it has proved that no value is left",
    play: "erasures",
    met: 2,
    where: "src/operations/erase_run.ts",
    patches: [[
      '  "proof of values",\n  "tombstones",\n  "packed tombstones",',
      '  "tombstones",\n  "packed tombstones",',
    ]],
  },
  {
    name: "an erasure goes on to tombstones though a value stayed",
    play: "erasures",
    schedule: [
      "3.0*8.1.371.1.878.0*4.1.66.0*2.728.0*3.2*2.1.2.0.2.0*8.996.819.0*10.2*2.0*2.936.231.0*10.1.0*4.2.0*2.702",
      ".1.0*4.328.3.0*12.692.529.2.3.0*2.26.511.3*2.0*6.193.417.5.3.0*2.224.484.2.0*21.587.3.0*6.68.532.3*2.0*2",
      ".988.702.1*2.0*30.717.5.0*4.394.5.0*4.302.2.0*2.2.3.0*2.524.0*7.994.1.3.300.0*24.323.0*5.399.4.0*6.226.7",
      "83.2.0*3.140.831.2.3.0*2.314.408.0*4.755.1.0*4.990.2.0*6.443.648.4.1.991.10.0*2.158.550.1*2.0*4.876.3.0*",
      "4.407.1*2.981.0.4.0*2.109.320.3.2.0*6.118.791.3.2.0*12.631.2.0*4.899.2.0*2.906.959.3.2.0*2.815.4.0*4.751",
      ".1.0*8.156.876.1*2.0*6.526.0*3.998.245.286.691.1.2.0*10.994.2.0*4.490.0*5.658.2.0*2.802.594.3.1.0*2.995.",
      "727.0*6.943.2.0*4.908.0*19.186.879.2.3.0*2.722.450.2.3.0*2.413.3.0*2.997.192.0*12.134.759.3.2.0*2.844.3.",
      "0*2.482.3.0*2.168.470.2*2.0*2.620.3.1.697.0*14.540.457.0*4.714.2.0*18.417.4.550.978.0*2.107.852.4.3.0*10",
      ".849.1.0*6.371.3.0*6.437.4.0*2.921.928.2.1.640.453.4.3.0*2.676.3.0*2.414.3.0*2.344.0*3.209.312.1*2.577.7",
      "44.1.3.0*2.712.1.0*2.534.827.4.3.119.312.2*2.0*2.774.1.0*2.771.1.0*2.371.379.0*16.66.983.511.0*3.955.736",
      ".0*2.595.187.0*6.2.698.101.1.0*10.799.367.0*3.497.3.0*12.524.1.0*7.876.136.0*2.725.723.0*3.940.148.0*5.7",
      "05.1.0*3.627.1",
    ].join(""),
    where: "src/operations/erase_archive.ts",
    patches: [['if (kind === "values" && names.length < part.length) state.someStay = true;', ""]],
  },
  {
    name: "an erasure erases tombstones before packed values",
    play: "erasures",
    where: "src/operations/erase_run.ts",
    patches: [[
      '  "packed values",\n  "proof of values",\n  "tombstones",',
      '  "tombstones",\n  "packed values",\n  "proof of values",',
    ]],
  },
  {
    name: "an erasure deletes a pack with the versions of other keys",
    play: "erasures",
    where: "src/operations/erase_archive.ts",
    patches: [["|| !await moveOthers(run, pack, kept, records)) return;", ") return;"]],
  },
  {
    name: "an erasure deletes a pack of which a record was not told",
    play: "erasures",
    met: 136,
    where: "src/operations/sweep_move.ts",
    patches: [['outcome === "moved" || outcome === "again"', 'outcome !== "erased"']],
  },
  {
    name: "an erasure takes what was written anew meanwhile",
    play: "erasures",
    met: 8,
    where: "src/operations/erase_archive.ts",
    patches: [["if (!(record === null || isRemoved(record)) && !run.dryRun) {", "if (false) {"]],
  },
  {
    name: "an erasure does not wait until removals are archived",
    play: "erasures",
    met: 8,
    where: "src/operations/erase_redis.ts",
    patches: [['if (record !== undefined && record.rev !== 0 && record.flag === "g") waiting++;', ""]],
  },
  {
    name: "an erasure takes tombstones that came after it had erased values",
    play: "erasures",
    met: 1263,
    where: "src/operations/erase_archive.ts",
    patches: [["isTombstone && versionMicros(ver) < sinceUs", "isTombstone"]],
  },
  {
    name: "an erasure in a new store leaves keys in Redis",
    play: "erasures",
    met: 5,
    where: "src/operations/erase.ts",
    patches: [["owned === undefined ? await removeFirst(run, state) :", "owned === undefined ? true :"]],
  },
  {
    name: "a repeated relocation does not know its own effect",
    play: "erasures",
    met: 2,
    where: "relocate",
    patches: [["elseif texts[i] and r.ver == to then", "elseif false then"]],
  },
  {
    name: "a move does not look if something was erased meanwhile",
    play: "erasures",
    met: 70,
    where: "relocate",
    patches: [["or (texts[3] or '0') ~= ARGV[3]", ""]],
  },
  {
    name: "an erasure tells nobody that it looks what is left",
    play: "erasures",
    met: 705,
    where: "note_erasure",
    patches: [["redis.call('SET', KEYS[1], at)", ""]],
  },
  {
    name: "a pack is not taken back though a key was erased meanwhile",
    play: "erasures",
    met: 70,
    where: "src/operations/sweep_move.ts",
    patches: [['if (isRecent && !outcomes.includes("moved")) await context', "if (false) await context"]],
  },
  {
    name: "a proof does not look into packs",
    play: "erasures",
    where: "src/operations/erase_run.ts",
    patches: [['  "proof of packs",\n', ""]],
  },
  // ---- large values
  {
    name: "a tick stages what another tick has leased",
    play: "large",
    met: 84,
    where: "stage",
    patches: [["if not score or tonumber(score) ~= tonumber(ARGV[1]) then", "if not score then"]],
  },
  {
    name: "a repeated stage changes what is being read",
    play: "large",
    met: 369,
    where: "stage",
    patches: [["'PX', ARGV[2], 'NX')", "'PX', ARGV[2])"]],
  },
  {
    name: "what is staged has no TTL",
    play: "large",
    where: "stage",
    patches: [["'PX', ARGV[2], 'NX')", "'NX')"]],
  },
  {
    name: "a large value's first piece has no TTL",
    play: "large",
    where: "put_piece",
    patches: [["'PX', ARGV[1], 'NX')", "'NX')"]],
  },
  {
    name: "a late piece of a large value makes a temporary key that stays",
    play: "large",
    met: 65,
    where: "put_piece",
    patches: [["if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then return 0 end", ""]],
  },
  {
    name: "a large value comes back over another record",
    play: "large",
    met: 11,
    where: "restore_staged",
    patches: [["texts[i] == ARGV[4 * i - 3]", "true"]],
  },
  {
    name: "a large value's record has another layout",
    play: "large",
    where: "src/scripts/prelude.ts",
    patches: [["large(r.ver) and 3 or ", ""]],
  },
  {
    name: "two segments of a large value have one number",
    play: "large",
    where: "src/tick/freeze_large.ts",
    patches: [["freezeSegment(head, part, dump,", "freezeSegment(head, 0, dump,"]],
  },
  // ---- sweeps
  {
    name: "48 hours are 48 seconds to a sweep",
    play: "sweeps",
    met: 6,
    where: "src/operations/sweep_rules.ts",
    patches: [["export const SAFE_US = 48 * 60 * 60 * 1e6;", "export const SAFE_US = 48 * 1e6;"]],
  },
  {
    name: "a sweep deletes what a record names",
    play: "sweeps",
    where: "src/operations/sweep_rules.ts",
    patches: [['if (record?.ver === held.word) return kept("named");', ""]],
  },
  {
    name: "a sweep deletes a pack of which a part may go",
    play: "sweeps",
    where: "src/operations/sweep_act.ts",
    patches: [["const doomed = all.every(", "const doomed = all.some("]],
  },
  {
    name: "a sweep forgets keepMs",
    play: "sweeps",
    where: "src/operations/sweep_rules.ts",
    patches: [["before(supersedesSince, keepUs)", "before(supersedesSince)"]],
  },
  {
    name: "a sweep takes an orphan for superseded",
    play: "sweeps",
    met: 37,
    where: "src/operations/sweep_rules.ts",
    patches: [["if (supersedes > us &&", "if (supersedes !== us &&"]],
  },
  {
    name: "a sweep deletes an orphan at once",
    play: "sweeps",
    met: 37,
    where: "src/operations/sweep_rules.ts",
    patches: [["(namedUs > 0 || isLast) && us + keepOrphansUs <= times.nowUs", "(namedUs > 0 || isLast)"]],
  },
  {
    name: "a sweep deletes a tombstone before what it stands for",
    play: "sweeps",
    where: "src/operations/sweep_rules.ts",
    patches: [['goes("tombstone", isLast &&', 'goes("tombstone",']],
  },
  {
    name: "a sweep deletes a tombstone that a record named lately",
    play: "sweeps",
    met: 70354,
    where: "src/operations/sweep_rules.ts",
    patches: [["|| before(sincePlace) ||", "|| true ||"]],
  },
  {
    name: "a sweep deletes what expired before what is older",
    play: "sweeps",
    met: 345,
    where: "src/operations/sweep_rules.ts",
    patches: [['return goes("expired", isLast);', 'return goes("expired", true);']],
  },
  {
    name: "a sweep takes an inferred removal for one on purpose",
    play: "sweeps",
    met: 81,
    where: "src/operations/sweep_notes.ts",
    patches: [['kind === true ? "removed" : "inferred"', '"removed" as "removed" | "inferred"']],
  },
  {
    name: "a sweep does not wait 48 hours after a removal",
    play: "sweeps",
    met: 65,
    where: "src/operations/sweep_rules.ts",
    patches: [['goes("removed", before(removedSinceUs), true)', 'goes("removed", true, true)']],
  },
  {
    name: "a sweep deletes the old place of what it has just moved",
    play: "sweeps",
    met: 93,
    where: "src/operations/sweep_rules.ts",
    patches: [['goes("moved", before(sincePlace, besideRemoved ? 0 : keepUs), true)', 'goes("moved", true, true)']],
  },
  {
    name: "a moved version gets a new name",
    play: "sweeps",
    where: "src/operations/sweep_move.ts",
    patches: [["some.map(({ record }) => record)", "some.map(({ record }) => ({ ...record, ver: pack }))"]],
  },
  {
    name: "a sweep does not wait for the pack that it has moved versions to",
    play: "sweeps",
    met: 158,
    where: "src/operations/sweep_move.ts",
    patches: [[
      "await context.datastore.putKey(name, bytes, bounds.closing);",
      "context.datastore.putKey(name, bytes, bounds.closing).catch(() => {});",
    ]],
  },
  {
    name: "a relocation forgets what is to be deleted",
    play: "sweeps",
    met: 35,
    where: "relocate",
    patches: [["if r.old == from then r.old = to end", ""]],
  },
  {
    name: "a search for lost records believes a moved version",
    play: "sweeps",
    met: 489,
    where: "src/tick/lost_packed.ts",
    patches: [[" && entry.ver === pack;", ";"]],
  },
  {
    name: "a key that was removed and made anew leaves no marker",
    play: "sweeps",
    met: 69,
    where: "src/tick/purge.ts",
    patches: [["return anew !== undefined || (expired", "return (expired"]],
  },
  {
    name: "a key that was removed, made anew and lost before a tick came leaves no marker",
    play: "sweeps",
    schedule: [
      "1.0*9.929.0*6.1.383.0*8.1.0*7.526.4.0*4.1*2.0*3.896.14.973.0*10.1.0.4.2.0*11.2.0*52.824.1.0*19.995.0.2.0",
      "*5.1.0*2.1.0*38.1.0*34.1.0*71.503.0*8.767.0*20.857.0*8.879.0*4.2.40.0.30.0*171.996",
    ].join(""),
    where: "src/tick/commits.ts",
    patches: [['gone !== "removed" && { anew: ver }', 'outcome === "clean" && { anew: ver }']],
  },
  {
    name: "what expired while a change was not archived forgets what was removed before",
    play: "sweeps",
    schedule: [
      "3.0.1*3.0*2.2.0*2.542.960.0*3.4.690.0*15.1.2.0.1*3.0*3.737.7.0*6.920.0*4.2.0*4.1.955.6.0*16.978.0*12.1.2",
      ".0*18.34.977.3.957.0*16.452.903.0*47.999.835.859.0*55.650.0*5.423.903.1.0*18.2.0*5.806.4.823.980.1*2.2*2",
      ".0.41.0*4.770.1.0*2.609.936.2.3.0*2.798.1.0*4.728.2.0*6.932.1.0*40.803.1.0*48.47.854.0*18.823.1.0*2.847.",
      "796.0*6.996.0*39.983.1.0*73.949.0*6.3.725.920.0*9.376.974.2.593.0*4.393.2.0*4.1*2.0*7.752.0*2.995.562.96",
      "4.0*3.2*2.0*32.2*2.44.2.0*2.2*2.0*254.966.3",
    ].join(""),
    where: "src/tick/purge.ts",
    patches: [["!hasTombstone || isRemoval(name)", "!hasTombstone"]],
  },
  {
    name: "an expired key's marker forgets what was removed before",
    play: "sweeps",
    schedule: [
      "1.2.0*4.279.2.0*3.3.466.558.744.460.3.59.1.168.0*6.2.991.693.0*5.2.1.2.1*2.309.0*5.3.718.0*13.946.7.573.",
      "962.1.0*11.2*2.617.947.3*2.935.1.881.0*31.186.968.709.1.0.459.555.488.849.3.2.376.0*3.142.0.996.6.0*17.3",
      "74.824.3.2.226.985.1.0.886.685.786.3.0*27.837.1.0*61.760.1.2.912.10.963.0*54.152.0*22.979.1.2.0*40.1.622",
      ".0*10.863.2.0*8.963.0*4.3.0.1.0*10.939.10.0*3.2.0*30.829.0*5.20.1.0*13.742.3.0*3.907.4.0*10.810.1.0*31.7",
      "53.4.0*18.755.3.2.0*10.849.897.2.0*10.938.2.0*16.349.906.1.0*77.892.0*3.771.721.2.1.0*5.752.3.0*6.718.0*",
      "4.402.0*7.3.991.0.3.0*20.870.3.0*29.986.0*93.3.1.950.832.2.0*6.974.1.0*47.1.2*2.0*16.2.982.0*2.963.1",
    ].join(""),
    where: "src/tick/markers.ts",
    patches: [["goneOf(each) === true", "false"]],
  },
  {
    name: "a version below a key made anew is an orphan, though nobody has searched for a tombstone",
    play: "sweeps",
    schedule: [
      "2.0*4.2.0*2.2*2.462.954.0*10.2.624.99.995.0*4.1.427.0*9.497.0*8.3.0.2.0.3.0*9.2.0*5.974.3.0*29.47.0*28.9",
      "59.1.0*30.796.1.0*67.989.0.2.0*351.911.1.0*2.715.1.0*5.983.10.0*8.1.508.0*5.844.996.1.0*19.1.0.14",
    ].join(""),
    where: "src/operations/sweep_rules.ts",
    patches: [['goes("orphan", (namedUs > 0 || isLast)', 'goes("orphan", (record !== null || isLast)']],
  },
  {
    name: "a sweep takes a search that met an unreadable pack for complete",
    play: "sweeps",
    met: 108,
    where: "src/operations/sweep_search.ts",
    patches: [["notes.complete = !search.blind;", "notes.complete = true;"]],
  },
  // ---- all operations at once
  {
    name: "a sweep takes another queue's objects for its own",
    play: "together",
    met: 5,
    where: "src/operations/archive_walk.ts",
    patches: [["datastore.listKeys!(`${tqname}/`, cursor, call)", "datastore.listKeys!(tqname, cursor, call)"]],
  },
  {
    name: "a search for versions does not list packs again when one has gone",
    play: "together",
    met: 313,
    where: "src/operations/history.ts",
    patches: [['again ||= was === "gone";', ""]],
  },
  {
    name: "a restoration takes an older version for one that was deleted meanwhile",
    play: "together",
    schedule: [
      "1*2.0*2.1*2.974.611.134.0*2.2.78.2.746.333.296.663.3.311.0.673.855.1.965.109.900.0.578.65.38.456.110.509",
      ".422.0.939.35.930.0.617.642.292.112.950.604.649.4.957.1.116.2.0*10.993.3.279.2*2.1*2.2.1*2.462.974.2.41.",
      "134.1.98.774.912.695.0.1.0.1*2.2.0.1.663.290.416.2.3.2.0.2.826.3.380.951.0.1.0.1.5.1.2*2.3.6.2*3.659.124",
      ".1.2.596.993.1.0.2*2.986.622.166.256.1.393.924.726.2.3.409.40.549.0*3.1.2.984.972.0.1.2.882.1.0.499.451.",
      "443.0.1.78.41.740.2*2.818.467.1.3.565.741.860.0*2.267.782.1.2.174.309.2*2.194.150.44.3.386.1.2.37.863.82",
      "6.0.2.781.555.210.2.768.942.783.1*2.922.617.1.3.502.878.1*2.538.60.542.2*2.226.758.2.0.576.926.841.0*2.2",
      "02.430.1.0.9.129.0.225.310.601.1.0.934.1.247.4.0*5.865.275.2.619.421.0.3.711.121.564.1.2.953.0.830.843.2",
      ".1.687.639.1.0.668.575.1.3.790.403.1.0.354.945.2*2.86.621.0*2.420.423.1.2.409.965.1.0.861.945.0.2.675.42",
      "3.0.2.874.396.1*2.281.379.0*5.896.535.1.0.423.0*6.880.129.2.3.331.492.1.2.552.0*5.909.765.1.0.456.556.1.",
      "0.720.990.1*2.636.669.1.0*5.851.7.3.567.789.0.3.420.741.2.0*5.909.1.0*38.928.1.3.106.303.0*2.990.0*3.404",
      ".0*2.625.756.1*2.995.0.3.1.679.0*2.138.57.3.201.583.1.0.961.1.0*16.1.554.935.0.3.0*40.3.639.205.872.1.0*",
      "41.454.124.499.0*61.3.1.395.304.570.0*16.634.856.2.952.0*15.1.3.1.148.3.59.662.650.515.3.861.27.599.773.",
      "914.0*11.2.0*2.1*2.2.426.907.1.703.23.0.973.0.889.1.529.281.1.3.407.876.4.389.0*5.318.1.3.495.666.464.75",
      "2.896.16.714.964.732.3.0.658.0*20.281.223.367.1*2.0.6.2*2.0.4.2.0.3.1.0.619.253.2.1.857.621.3.0.10.0*5.5",
      "46.6.2.132.169.909.1.3.292.982.5.0.527.807.5.2.988.1.645.104.3.1.388.678.1.0*5.827.194.3.791.2.429.799.7",
      "06.3.0.442.837.4.3.648.325.2*2.929.704.1.0.475.695.1.2.263.841.3.0*6.1.829.528.6.3.804.635.4.1.368.337.6",
      ".1.364.680.6.1.852.673.5.0*5.966.6.0.107.562.6.3.942.832.3.1.731.547.5.3.548.992.0.1.686.440.3.0.806.881",
      ".3.1.207.603.1*2.809.510.1*2.0*6.751.431.4.0.667.766.3.2.217.636.3*2.255.872.0.2.605.556.0*6.256.334.3*2",
      ".895.916.1.0.364.660.0.1.280.987.3.2.402.943.6.3.397.92.1.867.731.3.1.597.437.4.2.700.415.1.3.0*10.85.3.",
      "300.565.3.0*5.215.0.209.362.6.0.243.584.5.2.0*10.504.7.1.867.983.4.2.578.779.5.1.359.548.2*2.563.571.0*2",
      ".507.239.0.199.303.6.2.391.355.6.1.556.683.5.0.282.402.7.0.796.730.5.3.418.624.1.0*5.690.5.0.599.559.3.0",
      ".702.449.1.0.378.306.2.3.684.923.2.1.80.353.1*2.483.123.3.996.1.6.342.6.1.613.405.2*2.295.448.5.2.150.37",
      "1.0.2.468.742.2.0.810.305.5.0.55.822.5.0.735.605.0.3.464.918.4.2.10.0*5.2.827.714.0*2.487.816.4.0.260.0*",
      "5.541.832.5.1.169.872.366.1.0.768.279.0.189.981.1.2.341.480.838.5.3.769.935.5.2.0*10.1.515.853.4.0.324.7",
      "41.1*2.103.0*5.546.161.0.453.708.0.3.708.480.2.0*5.316.3*2.266.784.3*2.322.129.2.0*6.930.0.462.631.2.1.6",
      "78.305.1*2.408.539.3*2.330.629.1.2.978.0*5.126.912.3*2.201.931.1.0.582.13.0.363.542.4.2.569.228.2.286.92",
      "3.1.3.963.914.3.1.736.330.2.1.0*5.64.3.832.393.571.1.0.473.474.0*6.461.504.1*2.539.178.1.700.652.2.1.853",
      ".350.3.2.143.19.3.405.645.1.0.635.826.1*2.933.881.4.1.500.564.2*2.403.959.4.0.822.582.2.1.7.248.0.567.80",
      "1.0.1.168.752.3.0.390.839.5.1.905.167.2.851.200.3.290.900.5.3.733.795.2*2.891.443.0.1.194.609.3*2.874.14",
      "3.0.131.913.3.2.786.328.1.3.627.725.6.3.577.585.4.1.102.248.0*5.931.0*2.159.521.6.0.32.638.0*2.993.850.3",
      "*2.311.162.1.623.524.3.2.638.369.3.0.148.889.0.1.846.259.3.454.920.4.2.99.16.2.151.655.5.0.1.2.0.930.298",
      ".895.4.2.910.768.1.0*5.15.3.668.592.4.0*5.197.1.909.858.3.0*5.51.1.471.520.4.3.332.980.2.0.162.336.1.2.8",
      "22.185.0.635.676.4.1.420.523.3*2.0*5.3.227.331.2*2.586.952.2*2.588.875.0.1.695.865.1.0.471.162.2.0*15.31",
      ".1.974.453.0*2.213.383.0.1.666.858.3.0.473.49.1.313.424.2.1.750.860.3.1.224.694.2.0.614.244.1.833.532.5.",
      "2.172.953.4.0*6.359.799.713.594.808.0*5.424.983.1.0.834.785.1.3.623.390.4.3.155.325.5.2.243.612.5.1.0*5.",
      "178.558.961.722.502.4.0.367.930.0*2.172.950.4.1.48.359.1.2.29.714.1.2.631.94.0*5.577.4.2.6.617.3.0.303.8",
      "40.0.1.197.816.5.2.364.760.2.3.878.55.3.985.859.3.0.761.395.1*2.646.77.3.821.700.2*2.196.643.2.786.858.0",
      ".3.591.799.2.0.698.476.3.1.368.416.3*2.318.467.4.1.300.695.3.0.11.462.2.1.691.238.0.199.805.0.3.867.621.",
      "3.2.573.270.0.560.533.4.2.688.753.3.2.306.964.3.1.112.566.3.2.832.720.5.0.118.981.4.0*5.908.0*2.571.308.",
      "3*2.783.394.4.0.61.644.5.2.596.973.1.0.344.971.3.0.740.710.2.0*2.425.980.4.1.794.490.0.1.287.796.3.1.822",
      ".63.0.959.339.5.0.500.828.4.0.142.361.3.1.950.874.4.2.119.89.0.618.627.5.192.183.2.829.902.2*2.271.316.0",
      ".3.58.621.5.1.985.726.4.2.654.866.0.3.623.352.4.1.507.967.3*2.893.811.1.0.641.197.0.283.674.3.2.442.84.2",
      ".0*10.3.1.29.91.3.0*6.805.562.2.3.0*6.696.321.0*2.592.729.2.3.557.576.0*2.835.226.0.261.340.4.0.92.308.4",
      ".3.481.490.2.1.320.784.1.2.978.77.3.0*5.219.581.3.2.749.50.0.873.429.4.0*20.1.2.744.991.2.0*5.285.0.682.",
      "465.4",
    ].join(""),
    where: "src/operations/history.ts",
    patches: [["if (kept.ver < meant) return", "if (false) return"]],
  },
  {
    name: "a search for versions takes one whose pack was moved for absent",
    play: "together",
    met: 2,
    where: "src/operations/history.ts",
    patches: [["isSettled = found.size - kept.length === absent", "isSettled = true"]],
  },
  // ---- policy
  {
    name: "a value that stays is put among the idle ones",
    play: "policy",
    where: "commit",
    patches: [["if ARGV[a + 6] == '1' then", "if false then"]],
  },
  {
    name: "a value that has become small stays among the idle ones",
    play: "policy",
    met: 7,
    where: "commit",
    patches: [["if ARGV[a + 6] == '1' then left[#left + 1] = key else", "if ARGV[a + 6] ~= '1' then"]],
  },
  {
    name: "a tick evicts a small value",
    play: "policy",
    where: "evict",
    patches: [["if #dump < least and r.flag ~= 'e' then", "if false then"]],
  },
  {
    name: "a tick evicts a key that the policy keeps",
    play: "policy",
    where: "src/tick/evict_idle.ts",
    patches: [['mayBeEvicted(context, key) ? "evict" : "stay"', '"evict"']],
  },
  {
    name: "a key that the policy keeps is looked at for ever",
    play: "policy",
    where: "evict",
    patches: [["return 'S' end\n  if action == 'drop'", "return 'S', true end\n  if action == 'drop'"]],
  },
  {
    name: "no value is large enough to leave",
    play: "policy",
    where: "src/tick/changes.ts",
    patches: [[
      "const stays = size < leastEvicted(context, key);",
      "const stays = size <= leastEvicted(context, key);",
    ]],
  },
  {
    name: "the use of a small value puts it among the idle ones",
    play: "policy",
    where: "touch",
    patches: [["and small or idle,", "and idle or idle,"]],
  },
  {
    name: "the use of a value that is hardly large enough is not noted",
    play: "policy",
    where: "touch",
    patches: [["zadd(IDLE, 'XX', small)", ""]],
  },
  // ---- packs
  {
    name: "a place is that of another block",
    met: 12,
    where: "src/tick/uploads.ts",
    patches: [["ver, pack: ver, offset, length }", "ver, pack: ver, ...entries.at(-1 - i)!, key: 0 } as never"]],
  },
  {
    name: "all packs of a lease have one version",
    play: "liveness",
    met: 12,
    where: "src/tick/uploads.ts",
    patches: [[
      "return versionAfter(lease.nowUs, previous, tries);",
      'return `${String(lease.nowUs).padStart(16, "0")}-00000000`;',
    ]],
  },
  {
    name: "commit does not wait for the pack",
    met: 3,
    where: "src/tick/uploads.ts",
    patches: [["await put(run, lease, name, bytes);", "put(run, lease, name, bytes).catch(() => {});"]],
  },
  {
    name: "a pack's failure is ignored",
    met: 1177,
    where: "src/tick/uploads.ts",
    patches: [["await put(run, lease, name, bytes);", "await put(run, lease, name, bytes).catch(() => {});"]],
  },
  {
    name: "a commit half a day after its lease counts",
    met: 250,
    where: "commit",
    patches: [["local stale = now > token + LATE_MS", "local stale = false"]],
  },
  {
    name: "a version does not name the one before",
    where: "src/tick/changes.ts",
    patches: [["prev: previous", 'prev: ""']],
  },
  {
    name: "a version names another index",
    where: "src/tick/changes.ts",
    patches: [["index: lease.id", 'index: "another"']],
  },
  {
    name: "a version is not above the one that it replaces",
    met: 134,
    where: "src/tick/uploads.ts",
    patches: [["versionAfter(lease.nowUs, previous, tries)", 'versionAfter(lease.nowUs, "", tries)']],
  },
  {
    name: "a pack's version is above that of its first key alone",
    met: 489,
    where: "src/tick/uploads.ts",
    patches: [[
      "newestOf(changes.map((change) => change.previous))",
      "newestOf(changes.slice(0, 1).map((change) => change.previous))",
    ]],
  },
  {
    name: "an upload begins after its lease",
    where: "src/tick/leases.ts",
    patches: [["return monotonicMs() >= lease.endsAt - 2;", "return monotonicMs() < 0;"]],
  },
  {
    name: "the halves of a pack that failed have its time",
    met: 1137,
    where: "src/tick/uploads.ts",
    patches: [["versionAfter(lease.nowUs, previous, tries)", "versionAfter(lease.nowUs, previous)"]],
  },
  {
    name: "a record with a place has the first layout",
    where: "commit",
    patches: [["and 2 or 1, r.rev", "and 1 or 1, r.rev"]],
  },
  {
    name: "the blocks of two packs are one",
    met: 4,
    where: "src/core/fetch_archived.ts",
    patches: [["`${pack}:${offset}`", "`${offset}`"]],
  },
  {
    name: "a search in packs passes tombstones over",
    met: 17,
    where: "src/core/newest_version.ts",
    patches: [["entry.key === key)", 'entry.key === key && !("gone" in entry))']],
  },
  {
    name: "a search passes packs over",
    met: 6,
    where: "src/core/newest_version.ts",
    patches: [["versionMicros(pack) >= since())", "versionMicros(pack) < 0)"]],
  },
  {
    name: "an expired key leaves no marker",
    met: 82,
    where: "src/tick/purge.ts",
    patches: [["names.some((name) => !hasTombstone || isRemoval(name))", "false"]],
  },
  {
    name: "a search for lost records takes a packed tombstone for a value",
    met: 17,
    where: "src/tick/lost_packed.ts",
    patches: [["gone === undefined && (", "("]],
  },
  {
    name: "a search for lost records takes a packed value for the newest",
    met: 68,
    where: "src/tick/lost_packed.ts",
    patches: [["if (versionMicros(own) < versionMicros(each.ver)) some", "some"]],
  },
  {
    name: "a search for lost records does not look again for what is newer by now",
    met: 1245,
    where: "src/tick/lost_packed.ts",
    patches: [["some.filter(({ key, ver }) => now.has(`${ver} ${key}`))", "now.size < 0 ? [] : some"]],
  },
  {
    name: "a directory says another block",
    met: 12,
    where: "src/archive/pack.ts",
    patches: [["block: numbers.get(offset)! }", "block: 0 }"]],
  },

  // ---- requests that the server takes
  {
    name: "what no request could bring back is archived",
    play: "large",
    met: 18,
    where: "src/tick/restorable.ts",
    patches: [["  return bytes <= room();", "  return true;"]],
  },
  {
    name: "ensureKs() does not halve what is too large for the server",
    met: 12,
    where: "src/upstash/requests.ts",
    patches: [["|| part!.length < 2) throw error;", "|| part!.length > 0) throw error;"]],
  },

  // ---- what Redis has lost by itself
  {
    name: "a search for lost records takes a tombstone for a value",
    met: 14,
    where: "src/tick/lost_records.ts",
    patches: [[
      'if (!("gone" in archived) && (archived.exp',
      'if ("gone" in archived || (archived.exp',
    ]],
  },
  {
    name: "a search for lost records takes what has expired for a value",
    met: 21,
    where: "src/tick/lost_records.ts",
    patches: [["(archived.exp === 0 || archived.exp > nowMs)", "nowMs > 0"]],
  },
  {
    name: "a tick asks only for objects of keys that have a record",
    met: 14,
    where: "src/tick/lost_records.ts",
    patches: [["found.filter((_, i) => records[i] === null);", "found.filter((_, i) => records[i] !== null);"]],
  },
  {
    name: "a store that looks in the archive takes a key without a record for absent",
    where: "src/tick/lost_records.ts",
    patches: [[
      "await withoutRecord(context, values, nowMs);",
      "{ lost: [] as typeof values, changed: [] as typeof values, late: nowMs < 0 };",
    ]],
  },
  {
    name: "an id counts without its seal",
    where: "check",
    patches: [["return id and (seal or not confirmed(id)) and id or '' end", "return id or '' end"]],
  },

  // ---- counts
  {
    name: "a restored key still counts as evicted",
    where: "evict",
    patches: [["local archived, left = 0, moved\n", "local archived, left = 0, 0\n"]],
  },
  {
    name: "an overriding mark leaves its key among the evicted ones",
    where: "mark",
    patches: [["tally(KEYS[3], changes, 0, {})", ""]],
  },
  {
    name: "del counts no key off",
    where: "remove",
    patches: [["tally(KEYS[4], changes, 0, {})", ""]],
  },
  {
    name: "what expired and was purged stays in the counts",
    met: 15,
    where: "purged",
    patches: [["tally(KEYS[3], ended, 0, {})", ""]],
  },
  {
    name: "a key that was removed and archived anew is not counted",
    where: "commit",
    patches: [["return r.fp ~= '-' and r.old ~= r.ver and (r", "return r.fp ~= '-' and r.old == '-' and (r"]],
  },

  // ---- guards that the protocol names
  {
    name: "objects are overwritten: every version of a key has one name",
    guard: "immutable objects",
    where: "src/base/keys.ts",
    patches: [[
      'return `${String(micros).padStart(16, "0")}-${nonce()}`;',
      "void micros, nonce; return '0000000000000001-00000000';",
    ]],
  },
  {
    name: "evict does not compare bytes",
    met: 5,
    guard: "proof before eviction",
    where: "evict",
    patches: [["r.flag == 'g' or redis.sha1hex(dump) ~= r.fp then", "r.flag == 'g' then"]],
  },
  {
    name: "restore does not compare the record",
    met: 352,
    guard: "version check on restore",
    where: "restore",
    patches: [["elseif r and texts[i] == ARGV[4 * i - 3] then", "elseif true then"]],
  },
  {
    name: "remove does not compare the record",
    met: 58,
    guard: "guarded del",
    where: "remove",
    patches: [["elseif (texts[i] or '') ~= ARGV[1 + i] then", "elseif false then"]],
  },
  {
    name: "check takes a dirty key that is missing for an evicted one",
    met: 769,
    guard: "a dirty key that is missing is absent",
    where: "check",
    patches: [[
      "local function evictable(r) return r.ver ~= '-' and r.rev == 0 and",
      "local function evictable(r) return r.ver ~= '-' and",
    ]],
  },
  {
    name: "commit does not look whether the key exists",
    met: 439,
    guard: "commit looks whether the key exists",
    where: "commit",
    patches: [
      ["if not there[i] and (r.flag == 'e' or r.rev == 0) then", "if false then"],
      ["if not there[i] then\n    push(queue", "if false then\n    push(queue"],
    ],
  },
  {
    name: "a repeated commit acts again",
    met: 19,
    guard: "retry-safety: commit",
    where: "commit",
    patches: [["if stale or not scores[i] or tonumber(scores[i]) ~= token then", "if stale or not scores[i] then"]],
  },
  {
    name: "a repeated fail acts again",
    met: 13,
    guard: "retry-safety: fail",
    where: "fail",
    patches: [["if not score or not (score == token or unheard) then", "if not score then"]],
  },
  {
    name: "a repeated release acts again",
    met: 46,
    guard: "retry-safety: release",
    where: "release",
    patches: [["if scores[i] and tonumber(scores[i]) == token then", "if scores[i] then"]],
  },
  {
    name: "begin goes by no token",
    met: 349,
    guard: "retry-safety: begin",
    where: "begin",
    patches: [["if tonumber(score) ~= tonumber(token) then", "if false then"]],
  },
  {
    name: "a removal without a record leaves none: a late copy removes what came after it",
    met: 7922,
    guard: "retry-safety: remove",
    where: "remove",
    patches: [[
      "push(changes, KEYS[4 + i], r)\n    gone",
      "if texts[i] then push(changes, KEYS[4 + i], r) end\n    gone",
    ]],
  },
  {
    name: "an overriding mark does not compare the record",
    met: 2839,
    guard: "retry-safety: mark",
    where: "mark",
    patches: [["elseif overwrite == 'cas' and (texts[i] or '') ~= ARGV[4 + i] then", "elseif false then"]],
  },
  {
    name: "reconcile does not compare bytes",
    guard: "retry-safety: reconcile",
    where: "reconcile",
    patches: [["elseif redis.sha1hex(dump) ~= r.fp then", "elseif false then"]],
  },
  // ---- other guards of the scripts
  {
    name: "an inferred removal purges",
    met: 152,
    guard: "absence is not intent",
    where: "commit",
    patches: [["if over then r.old = r.ver else r.exp = 0 end", "r.old, r.exp = r.ver, 0"]],
  },
  {
    name: "commit takes a key that is missing for one that was removed on purpose",
    met: 313,
    where: "commit",
    patches: [["if not there[i] then\n    push(queue", "if not there[i] then\n    r.flag = 'g'\n    push(queue"]],
  },
  {
    name: "commit forgets to queue what is to be deleted",
    where: "commit",
    patches: [["zadd(PURGE, nil, purge)", ""]],
  },
  {
    name: "what could not be deleted is not tried again",
    met: 721,
    where: "purged",
    patches: [["upto == asked and deleted then", "upto == asked then"]],
  },
  {
    name: "a purge deletes newer versions, too",
    guard: "purging deletes nothing newer",
    where: "src/tick/purge.ts",
    patches: [[
      "if (micros > 0 && micros <= versionMicros(last)) names.push(name);",
      "if (micros > 0) names.push(name);",
    ]],
  },
  {
    name: "a purge goes by the version that the record names by now: a key made anew loses its value",
    met: 3,
    where: "src/scripts/purged.ts",
    patches: [["isOver ? old :", "isOver ? ver :"]],
  },
  {
    name: "commit forgets that the key changed meanwhile",
    met: 19,
    where: "commit",
    patches: [["r.rev == tonumber(ARGV[a])", "true"]],
  },
  {
    name: "commit writes a tombstone over a key that is there again",
    met: 119,
    where: "commit",
    patches: [["if there[i] then\n      push(queue", "if false then\n      push(queue"]],
  },
  {
    name: "a mark does not change the revision",
    where: "mark",
    patches: [["r.rev = math.max(now_us, r.rev + 1)", "if r.rev == 0 then r.rev = now_us end"]],
  },
  {
    name: "a mark is not queued",
    where: "mark",
    patches: [["zadd(DIRTY, 'NX', queue)", "zadd(DIRTY, 'XX', queue)"]],
  },
  {
    name: "a mark replaces an evicted value by a blind write",
    where: "mark",
    patches: [["if not evicted or overwrite == 'now'", "if true or overwrite == 'now'"]],
  },
  {
    name: "a marked removal deletes an evicted value",
    met: 76,
    where: "mark",
    patches: [["if evicted then\n      except(i, 'B')\n    elseif r.flag == 'm' or r.flag == 'r'", "if r.flag ~= 'g'"]],
  },
  {
    name: "evict does not compare the own expiry",
    met: 170,
    where: "evict",
    patches: [["if math.max(0, redis.call('PEXPIRETIME', key)) ~= r.exp then", "if false then"]],
  },
  {
    name: "a tick evicts what was archived just now",
    met: 110,
    where: "evict",
    patches: [["if limit and made > now - HOUR_MS and made < now + DAY_MS then", "if false then"]],
  },
  {
    name: "evict takes dirty keys too",
    met: 18,
    where: "evict",
    patches: [["if r.rev ~= 0 then", "if false then"], ["if queued[i] then return 'D' end", ""]],
  },
  {
    name: "a tick evicts keys that were touched after its claim",
    met: 2222,
    where: "evict",
    patches: [["if limit and not (touched[i] and tonumber(touched[i]) <= limit) then", "if false then"]],
  },
  {
    name: "del removes before it has written the record, and dies in between",
    met: 1582,
    where: "remove",
    patches: [[
      "save(changes)\nzadd(DIRTY, 'NX', queue)",
      "if #gone > 0 then redis.call('UNLINK', unpack(gone)) end\nsave(changes)\nzadd(DIRTY, 'NX', queue)",
    ]],
  },
  {
    name: "restore forgets the own expiry",
    met: 13,
    where: "restore",
    patches: [["redis.pcall('RESTORE', key, ARGV[4 * i - 1],", "redis.pcall('RESTORE', key, '0',"]],
  },
  {
    name: "check takes a blind write for the whole value",
    where: "check",
    patches: [["if not expired(r) then code = 'R' end", ""]],
  },
  {
    name: "a commit sets a TTL on the application's key",
    where: "commit",
    patches: [[
      "r.rev = 0\n  done[#done + 1] = key\n  if ARGV",
      "r.rev = 0\n  redis.call('PEXPIREAT', key, int(now + 36000000))\n  done[#done + 1] = key\n  if ARGV",
    ]],
  },
  {
    name: "the record of a dirty key expires",
    where: "mark",
    patches: [["if r.rev == 0 and (r.flag == 'g' or r.flag == 'm') and r.old == '-' then", "if true then"]],
  },
  {
    name: "claim does not take a lease",
    where: "claim",
    patches: [["zadd(DIRTY, 'XX', scores)", ""]],
  },
  {
    name: "claim does not know suspects",
    met: 21,
    where: "claim",
    patches: [["if tonumber(window[i + 1]) % 1 == 0 then", "if true then"]],
  },
  {
    name: "claim does not wait for the index to have an id",
    where: "claim",
    patches: [["return { id, int(now_us), '', {}, 0, {}, limit, 0, 0, {}, '', 0, 0 }", "id = 'none'"]],
  },
  {
    name: "begin counts no attempt",
    met: 21,
    where: "begin",
    patches: [["r.attempts = r.attempts + 1", ""]],
  },
  {
    name: "a failed key leaves the queue",
    met: 4,
    where: "fail",
    patches: [["zadd(DIRTY, 'XX', queue)\nzrem(DIRTY, died)", "zrem(DIRTY, keys)"]],
  },
  // ---- the client
  {
    name: "commit does not wait for the upload",
    met: 13,
    where: "src/tick/uploads.ts",
    patches: [["await put(run, lease, name, object);", "put(run, lease, name, object).catch(() => {});"]],
  },
  {
    name: "whatever putKey() resolves with says that the object is stored",
    met: 418,
    where: "src/datastores/guarded.ts",
    patches: [["if (stored === true) return true;", "return true;"]],
  },
  {
    name: "a datastore that never answers is waited for",
    met: 61,
    where: "src/datastores/guarded.ts",
    patches: [['link.limit(ms, () => failure(what, "answer in time", `it has not in ${ms} ms`));', ""]],
  },
  {
    name: "the upload's failure is ignored",
    met: 67,
    where: "src/tick/uploads.ts",
    patches: [["await put(run, lease, name, object);", "await put(run, lease, name, object).catch(() => {});"]],
  },
  {
    name: "a tick reads values before their records, in two requests",
    met: 322,
    where: "src/scripts/snapshot.ts",
    patches: [[
      'return await connection.multi([\n      ["MGET", ...records],\n      ...keys.flatMap((key) => [["PEXPIRETIME", key], ["DUMP", key]]),\n    ], call);',
      'const early = await connection.multi(keys.flatMap((key) => [["PEXPIRETIME", key], ["DUMP", key]]), call);\n' +
      'return [...await connection.multi([["MGET", ...records]], call), ...early];',
    ]],
  },
  {
    name: "an outage counts as a failure of the key",
    met: 22,
    where: "src/scripts/fail.ts",
    patches: [["        f.fault,", '        "own",']],
  },
  {
    name: "dirty() resolves although keys were not marked",
    where: "src/dirty.ts",
    patches: [[
      "if (failures.size > 0) throw dirtyError(failures);\n}",
      "if (failures.size > 100) throw dirtyError(failures);\n}",
    ]],
  },
  {
    name: "concurrent calls thaw the same bytes",
    met: 246,
    where: "src/archive/seal.ts",
    patches: [["chain.length > 0 ? new Uint8Array(frozen) : frozen", "frozen"]],
  },
  {
    name: "a block holds values under the key of one of them",
    met: 3,
    encrypted: true,
    where: "src/archive/pack.ts",
    patches: [["|| groupOf(record.key, freezers) !== group", "|| (void group, false)"]],
  },
  {
    name: "an encrypted object is not bound to its name",
    encrypted: true,
    where: "src/freezers/aes_gcm.ts",
    patches: [["bytes.set(nameBytes, head.length);", ""]],
  },
  {
    name: "a directory is encrypted under the key of a tenant",
    encrypted: true,
    where: "src/archive/pack.ts",
    patches: [['"freeze the directory of a pack", [])', '"freeze the directory of a pack", [entries[0]!.key])']],
  },
  {
    name: "a rotation leaves objects of keys' own as they are",
    encrypted: true,
    play: "sweeps",
    where: "src/encryption/rotate_walk.ts",
    patches: [["moves.push({ key, ver, isNamed: true });", "void moves; run.report.moved++;"]],
  },
  {
    name: "what a freezer throws is the key's own failure",
    met: 22,
    where: "src/archive/seal.ts",
    patches: [[
      "const { code, retryable } = asTundraError(cause, `Cannot ${what}`);",
      'void asTundraError; const code = "UNSUPPORTED", retryable = false;',
    ]],
  },
  {
    name: "ensureKs() does not look again if something moved on",
    met: 33,
    where: "src/bring_back.ts",
    patches: [['if (outcome === "again") again.push(key);', ""]],
  },
  {
    name: "ensureKs() keeps quiet about what could not be fetched",
    met: 19,
    where: "src/bring_back.ts",
    patches: [["else failures.set(each.key, error);", ""]],
  },
  {
    name: "ensureKs() serves an older version for one that is lost",
    met: 19,
    where: "src/bring_back.ts",
    patches: [["if (!moved && versionMicros(newest) <= versionMicros(ver)) {", 'if (newest === "") {']],
  },
  {
    name: "the sync token of the reply that came last wins",
    where: "src/upstash/transport.ts",
    patches: [["token && sent > sync.from", "token"]],
  },
  {
    name: "del() takes a record that moved on for deleted",
    met: 12,
    where: "src/del.ts",
    patches: [['if (outcomes[i] === "again") again.push(key);', ""]],
  },
  {
    name: "what had expired is deleted at once when the key is made anew",
    play: "liveness",
    met: 20,
    where: "evict",
    patches: [["  made_anew(r)\n", ""]],
  },
  // ---- which database, which archive
  {
    name: "a copy of a database is taken for the original",
    guard: "an index knows its database",
    play: "several",
    met: 3,
    where: "src/core/identity.ts",
    patches: [['if (id !== "" && databaseOf(id) !== context.index.database) throw', "if (id === null) throw"]],
  },
  {
    name: "a copy marks keys",
    play: "several",
    met: 3,
    where: "mark",
    patches: [["foreign(found[1], ARGV[1]) or", ""]],
  },
  {
    name: "a tick does not ask whose its archive is",
    guard: "a tick asks whose its archive is",
    play: "several",
    met: 4,
    where: "src/tick/archive_check.ts",
    patches: [["if (run.archiveChecked ||", "if (run !== undefined ||"]],
  },
  {
    name: "an archive that lacks its owner is taken over",
    play: "several",
    met: 30,
    where: "src/core/identity.ts",
    patches: [["} else if (!holds) {", "} else if (holds === null) {"]],
  },
  {
    name: "an archive that another index owns is taken over",
    play: "several",
    met: 4,
    where: "src/core/identity.ts",
    patches: [["if (other !== undefined) throw ownedByAnother(context, other);", ""]],
  },
  {
    name: "an index that begins does not look for others",
    guard: "one index begins",
    play: "several",
    where: "src/core/identity.ts",
    patches: [["if (rival === undefined || round", "if (round"], [
      "round === ROUNDS ||",
      "round > 0) return undefined; if (",
    ]],
  },
  {
    name: "an index that begins looks for others before it shows itself",
    play: "several",
    met: 15,
    where: "src/core/identity.ts",
    patches: [
      ["  await putOwner(context, own, id, call);\n  for (let round", "  for (let round"],
      [
        "if (rival === undefined || round",
        "if (rival === undefined) await putOwner(context, own, id, call);\n    if (rival === undefined || round",
      ],
    ],
  },
  {
    name: "an index that begins goes by who came first alone",
    play: "several",
    where: "src/core/identity.ts",
    patches: [["return !listKeys ? undefined : await standAlone(context, id, [], call);", "return undefined;"]],
  },
  {
    name: "a proposal that another process has confirmed loses its owner object",
    play: "several",
    where: "src/core/identity.ts",
    patches: [[
      "if (await replaceId(index, id, next, call) !== next) throw idChanged();",
      "await replaceId(index, id, next, call);",
    ]],
  },
  {
    name: "a proposal is not withdrawn",
    met: 700,
    play: "several",
    where: "src/core/identity.ts",
    patches: [["|| (begins && obstacle.isRival)) return false;", "|| (begins && !obstacle)) return false;"]],
  },
  {
    name: "a database that was emptied begins with the archive anew",
    play: "several",
    where: "src/core/identity.ts",
    patches: [["  if (used) { //", "  if (used === null) { //"]],
  },
  {
    name: "an archive that moves keeps its former owner",
    play: "several",
    met: 12,
    where: "src/operations/move_index.ts",
    patches: [["await deleteOwners(context, uuids.filter((uuid) => uuid !== uuidOf(moved)), call);", ""]],
  },
  // ---- rebuilds
  {
    name: "a rebuild confirms the id before it has walked",
    play: "rebuilds",
    where: "src/operations/rebuild_begin.ts",
    patches: [["next: start", 'next: JSON.stringify({ stage: "end" })']],
  },
  {
    name: "an older version takes the place of a newer one in a rebuild",
    play: "rebuilds",
    where: "raise",
    patches: [["if is > has then", "if is ~= has then"]],
  },
  {
    name: "a rebuild passes over tombstones in packs",
    play: "rebuilds",
    met: 26,
    where: "src/operations/rebuild_walk.ts",
    patches: [["for (const entry of entries) {", "for (const entry of entries.filter(({ gone }) => !gone)) {"]],
  },
  {
    name: "a rebuild takes what is in Redis for evicted",
    play: "rebuilds",
    met: 20,
    where: "raise",
    patches: [["elseif there[i] then", "elseif there[i] == 1 then"]],
  },
  {
    name: "what is in Redis is not queued by a rebuild",
    play: "rebuilds",
    met: 20,
    where: "raise",
    patches: [["zadd(DIRTY, 'NX', queue)", ""]],
  },
  {
    name: "a rebuild goes on where it stood before Redis went back",
    play: "rebuilds",
    met: 42,
    where: "raise",
    patches: [["if at ~= ARGV[2] then return { id, state(), '' } end", ""]],
  },
  {
    name: "a version that was moved is its own rival",
    play: "rebuilds",
    met: 6,
    where: "raise",
    patches: [["if what == 'l' or version(ver) ~= version(r.ver) then\n", "if what == 'l' or ver ~= r.ver then\n"]],
  },
  {
    name: "the record of a removed key goes before the walk has ended",
    play: "rebuilds",
    met: 35,
    where: "raise",
    patches: [["604800000, 691200000", "604800000, 60000"]],
  },
  {
    name: "a walk of weeks goes on after the records of removed keys went",
    met: 5051,
    play: "rebuilds",
    where: "raise",
    patches: [["604800000, 691200000", "60480000000, 691200000"]],
  },
  {
    name: "a rebuild does not know what its keys expire at",
    play: "rebuilds",
    met: 16,
    where: "raise",
    patches: [["zadd(PURGE, 'NX', purge)", ""]],
  },
  {
    name: "an archive that is taken over keeps its former owner",
    play: "several",
    met: 4,
    where: "src/operations/rebuild_begin.ts",
    patches: [["await bounds.counted((each) => deleteOwners(context, before.map(uuidOf), each));", ""]],
  },

  // ---- what must go on
  {
    name: "fresh keys always come first",
    play: "liveness",
    met: 6,
    where: "src/tick/tick.ts",
    patches: [["random() < 0.5", "random() < 0"]],
  },
  {
    name: "suspects always come first",
    play: "liveness",
    met: 6,
    where: "src/tick/tick.ts",
    patches: [["random() < 0.5", "random() < 1"]],
  },
  {
    name: "what one key spoils is not halved",
    play: "liveness",
    where: "src/tick/read_keys.ts",
    patches: [["(spoilt || tooLarge || await redisAnswers(run))", "tooLarge"]],
  },
  {
    name: "an error in a key's slot is the store's trouble",
    play: "liveness",
    met: 11,
    where: "src/tick/read_keys.ts",
    patches: [["refused.length < views.length || await redisAnswers(run)", "await redisAnswers(run) && false"]],
  },
  {
    name: "what Redis does not show of any key is each key's own",
    play: "liveness",
    met: 11,
    where: "src/scripts/snapshot.ts",
    patches: [
      ["return answers.every(({ error }) => error === undefined);", "return answers.length > 0;"],
      ["  } catch {\n    return false;", "  } catch {\n    return true;"],
    ],
  },
  {
    name: "trouble that meets one key never becomes its own",
    play: "liveness",
    met: 14,
    where: "fail",
    patches: [["(fault == 'odd' and odd >= most_odd)", "false"]],
  },
  {
    name: "what the archive refuses of all is each key's own",
    play: "liveness",
    met: 7,
    where: "src/tick/freeze.ts",
    patches: [["stored === 0 && byArchive.length > 1", "stored < 0"]],
  },
  {
    name: "claim leases more than its reply has room for",
    play: "liveness",
    met: 12,
    where: "claim",
    patches: [["if i > 1 and size > room / 2 then break end", ""]],
  },
  {
    name: "what a clock touched that ran ahead is idle when that clock says so",
    play: "liveness",
    met: 3,
    where: "claim",
    patches: [["if #idle == 0 and ARGV[6] == '1' then", "if false then"]],
  },
  {
    name: "what a clock queued that ran ahead is due when that clock says so",
    play: "liveness",
    met: 3,
    where: "claim",
    patches: [["scan('(' .. int(now + DAY_MS), '+inf', size)", ""]],
  },
  // ---- versions that are restored, and peeked at
  {
    name: "retry-safety: a restoration does not compare records",
    met: 54,
    play: "histories",
    where: "restore_version",
    patches: [["if (text or '') ~= ARGV[2] then return { id, 'A', '' } end", ""]],
  },
  {
    name: "a repeated restoration does not know its own effect",
    met: 541,
    play: "histories",
    where: "restore_version",
    patches: [["if r.error == note then", "if false then"]],
  },
  {
    name: "a version is restored over what is not archived yet",
    play: "histories",
    met: 13,
    where: "restore_version",
    patches: [["if r.rev ~= 0 then return { id, 'D', '' } end", ""]],
  },
  {
    name: "a version is restored over a change that nobody marked",
    play: "histories",
    met: 64,
    where: "restore_version",
    patches: [["redis.sha1hex(dump) ~= r.fp or", "false or"]],
  },
  {
    name: "a version is restored over an expiry that nobody marked",
    met: 186,
    play: "histories",
    where: "restore_version",
    patches: [[" or math.max(0, redis.call('PEXPIRETIME', KEY)) ~= r.exp", ""]],
  },
  {
    name: "a version is restored under the name of an evicted key",
    met: 252,
    play: "histories",
    where: "restore_version",
    patches: [["if fresh and (dump or evictable(r)) then", "if fresh and dump then"]],
  },
  {
    name: "a version is restored that is past its own expiry",
    play: "histories",
    met: 62,
    where: "restore_version",
    patches: [
      ["if over and ARGV[5] == '1' then exp = 0 end", "if over then exp = 0 end"],
    ],
  },
  {
    name: "a restored value loses its own expiry",
    met: 89,
    play: "histories",
    where: "restore_version",
    patches: [["'RESTORE', KEY, int(exp)", "'RESTORE', KEY, '0'"]],
  },
  {
    name: "a restored value is not marked",
    play: "histories",
    where: "restore_version",
    patches: [["r.touch = now\nbump(r)", "r.touch = now"]],
  },
  {
    name: "a restored value is not queued",
    play: "histories",
    where: "restore_version",
    patches: [["zadd(DIRTY, 'NX', { int(now), KEY })", ""]],
  },
  {
    name: "a key whose older version is restored still counts as evicted",
    play: "histories",
    where: "restore_version",
    patches: [["tally(STATS, { RECORD, r }, 0, {})", ""]],
  },
  {
    name: "a Date picks the version after it",
    play: "histories",
    met: 6,
    where: "src/operations/restore_version.ts",
    patches: [["versionMicros(ver) <= timeUs)", "versionMicros(ver) > 0)"]],
  },
  {
    name: "a restoration that was refused counts as done",
    play: "histories",
    where: "src/operations/restore_version.ts",
    patches: [["throw isUncertain ? mayBeRestored(key) : refusal(key, revival.exp, outcome);", "return 0;"]],
  },
  {
    name: "a restoration whose reply was lost is refused for its own change",
    met: 5528,
    play: "histories",
    where: "src/operations/restore_version.ts",
    patches: [["isUncertain ||= requests > 1;", ""]],
  },
  {
    name: "a search for versions takes those of other keys",
    met: 169,
    play: "histories",
    where: "src/operations/history.ts",
    patches: [["entry.key !== key", "entry.key === key"]],
  },
  {
    name: "a peek shows what was written while evicted",
    met: 71,
    play: "histories",
    where: "src/operations/peek.ts",
    patches: [["state.exists && rev === 0", "!state.exists && rev === 0"]],
  },
  {
    name: "a peek does not look if the key was evicted meanwhile",
    met: 505,
    play: "histories",
    where: "src/operations/peek.ts",
    patches: [["if (now.exists && (now.record === state.record ||", "if (true || (now.record === state.record ||"]],
  },
  {
    name: "a peek takes a key that was evicted and written anew meanwhile for one that was there",
    met: 73,
    play: "peeks",
    where: "src/operations/peek.ts",
    patches: [["(now.record === state.record || (!now.isArchived && now.touch === state.touch))", "!now.isArchived"]],
  },
  {
    name: "a peek does not look if its temporary key went before it was read",
    met: 1412,
    play: "histories",
    where: "src/operations/peek.ts",
    patches: [[
      "if (await drop().catch(() => monotonicMs() < endsAt)) return found;",
      "await drop().catch(() => {});\nreturn found;",
    ]],
  },
  {
    name: "a peek's temporary key has no TTL",
    met: 65,
    play: "histories",
    where: "put_temporary",
    patches: [["'RESTORE', KEYS[1], int(at)", "'RESTORE', KEYS[1], '0'"]],
  },
  {
    name: "a command writes beside an evicted value",
    play: "transparent",
    where: "command",
    patches: [["if #needed > 2 then return needed end", ""]],
  },
  {
    name: "a command takes a value that Redis lost behind its back for absent",
    met: 92,
    play: "transparent",
    where: "command",
    patches: [["elseif evictable(r) then", "elseif r.flag == 'e' and evictable(r) then"]],
  },
  {
    name: "a command does not mark what it changes",
    play: "transparent",
    where: "command",
    patches: [["if marks[i] ~= '-' then mark(i, r, marks[i]) end", ""]],
  },
  {
    name: "a command does not mark what it removes",
    play: "transparent",
    met: 17,
    where: "command",
    patches: [["marks[i] = 'g'", "marks[i] = '-'"]],
  },
  {
    name: "a command marks a key that it removed as changed",
    play: "transparent",
    met: 10,
    where: "command",
    patches: [["if left[i] then", "if left[i] or there[i] then"]],
  },
  {
    name: "a transparent client takes an empty answer for an absent key",
    play: "transparent",
    met: 18,
    where: "src/transparent/reads.ts",
    patches: [["plan.ours.length === 0 || proves(plan, answers[i]!)", "true"]],
  },
  {
    name: "a transparent client deletes from Redis alone",
    play: "transparent",
    met: 5,
    where: "src/transparent/one.ts",
    patches: [[
      "if (plan.deletes) return",
      "if (plan.deletes) return await inner.request(request); else if (plan.deletes) return",
    ]],
  },
  {
    name: "a batch does not mark",
    play: "transparent",
    met: 10,
    where: "src/transparent/batch.ts",
    patches: [["(transparent.mark || deletes)", "false"]],
  },
];

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

/** The bug, ready to run. */
export async function loadBug(bug: SeededBug): Promise<Subject> {
  return bug.where.startsWith("src/") ? await bundled(bug.where, bug.patches) : scriptBug(bug);
}

/** The bug of this name, ready to run; without a name the shipped code. */
export async function subjectNamed(name: string | undefined): Promise<Subject> {
  const bug = SEEDED_BUGS.find((each) => each.name === name);
  if (bug) return await loadBug(bug);
  if (name !== undefined) throw new Error(`There is no seeded bug of the name ${JSON.stringify(name)}`);
  return SHIPPED;
}

function scriptBug(bug: SeededBug): Subject {
  // looked at now: a patch that fits nowhere would never be noticed
  patched(scriptText(bug.where), bug.patches, bug.where);
  return {
    ...SHIPPED,
    patchScript: (source) => scriptName(source) === bug.where ? patched(source, bug.patches, bug.where) : source,
  };
}

/** The script's text as it is sent. */
function scriptText(name: string): string {
  const prelude = between(readFileSync(join(ROOT, "src/scripts/prelude.ts"), "utf8"), "export const PRELUDE = `");
  // a large value's scripts have the text of others, with another payload
  const text = readFileSync(join(ROOT, `src/scripts/${name.replace(/_staged$/, "")}.ts`), "utf8");
  const script = text.slice(text.indexOf("defineScript("));
  const parts = { PRELUDE: prelude, MARKING, MARKED };
  const shared = "  return `\n${PRELUDE}";
  if (!script.includes(shared)) {
    const whole = between(script, "  `");
    return Object.entries(parts).reduce((text, [name, part]) => text.replace(`\${${name}}`, () => part), whole);
  }
  return prelude + between(script.slice(script.indexOf(shared)), "  return `").replace("${PRELUDE}", "");
}

function between(text: string, before: string): string {
  const start = text.indexOf(before) + before.length;
  return text.slice(start, text.indexOf("\n`", start) + 1).replaceAll("\\\\", "\\");
}

/** The end of a hunt: after so many schedules this check caught the bug; `undefined`: it survived. */
export type Caught = { schedules: number; check: string } | undefined;

/** Plays the schedule that is known to meet the bug, if one is. */
export async function meetBug(bug: SeededBug): Promise<Caught> {
  if (bug.schedule !== undefined) return await huntIn(bug, [replayedChoices(parseChoices(bug.schedule))]);
  return bug.met === undefined ? undefined : await huntBug(bug, bug.met, 1);
}

/** Plays schedules until the bug is caught by a check of the oracle. */
export async function huntBug(bug: SeededBug, seed: number, schedules: number): Promise<Caught> {
  return await huntIn(bug, seeded(seed, schedules));
}

function* seeded(seed: number, schedules: number): Iterable<Choices> {
  for (let i = 0; i < schedules; i++) yield seededChoices(seed + i);
}

async function huntIn(bug: SeededBug, all: Iterable<Choices>): Promise<Caught> {
  const subject = { ...await loadBug(bug), encrypted: bug.encrypted ?? false };
  const play = PLAYS[bug.play ?? "any"]!;
  let schedules = 0;
  for (const choices of all) {
    schedules++;
    const { violation } = await play(subject, choices);
    if (violation?.check === UNEXPECTED) throw new Error(`${bug.name}: ${violation.detail}`);
    if (violation) return { schedules, check: violation.check };
  }
  return undefined;
}
