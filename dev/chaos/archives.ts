/**
 * The archives of a chaos run: servers that can be killed with SIGKILL, stopped and started again, and lose nothing.
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { createStorage } from "unstorage";
import fsDriver from "unstorage/drivers/fs";
import { type Datastore, s3Datastore } from "../../mod.ts";
import { dynamodbDatastore } from "../../src/datastores/dynamodb/datastore.ts";
import { unstorageDatastore } from "../../src/datastores/unstorage.ts";
import { startRadosgw } from "../servers/radosgw.ts";
import { freePort } from "../servers/redis_server.ts";

/** The means by which a process of the run reaches the archive. */
export type ArchiveConfig = ServerConfig | { kind: "unstorage-fs"; base: string };

type ServerConfig =
  & { endpoint: string; region: string; accessKeyId: string; secretAccessKey: string }
  & ({ kind: "s3"; bucket: string } | { kind: "dynamodb"; table: string });

/** The kinds of archives that a run may have. */
export const ARCHIVES: readonly ArchiveConfig["kind"][] = ["s3", "dynamodb", "unstorage-fs"];

/** A server that is killed, stopped and started again. */
export interface TroubledServer {
  kill(): Promise<void>;
  restart(): Promise<void>;
  pause(): void;
  resume(): void;
}

/** A running archive. */
export interface ChaosArchive {
  /** Its server, and the name of the program, for counts. */
  server?: TroubledServer & { readonly program: string };
  config: ArchiveConfig;
  stop(): Promise<void>;
}

const [BUCKET, TABLE] = ["chaos", "chaos"];

/** A datastore in the archive of the run. */
export function chaosDatastore(archive: ArchiveConfig): Datastore {
  if (archive.kind === "unstorage-fs") {
    return unstorageDatastore(createStorage({ driver: fsDriver({ base: archive.base }) }));
  }
  const { kind, ...config } = archive;
  const options = { ...config, timeoutMs: 3000, retries: 2 };
  return kind === "s3"
    ? s3Datastore(options as typeof options & { bucket: string })
    : dynamodbDatastore(options as typeof options & { table: string });
}

/** Starts an archive; its files go into `dir`. */
export async function startArchive(kind: ArchiveConfig["kind"], dir: string): Promise<ChaosArchive> {
  if (kind === "unstorage-fs") return disk(join(dir, "archive"));
  return kind === "s3" ? await startS3() : await startDynamodb(join(dir, "dynamodb"));
}

/** A folder: there is no server to kill, but the processes that write into it are. */
function disk(base: string): ChaosArchive {
  return { config: { kind: "unstorage-fs", base }, stop: () => Promise.resolve() };
}

async function startS3(): Promise<ChaosArchive> {
  const radosgw = await startRadosgw();
  await radosgw.createBucket(BUCKET);
  const { url: endpoint, region, accessKeyId, secretAccessKey } = radosgw;
  const config = { kind: "s3" as const, endpoint, region, bucket: BUCKET, accessKeyId, secretAccessKey };
  return { server: { ...radosgw, program: "radosgw" }, config, stop: () => radosgw.stop() };
}

/** dynalite in a process of its own, with its items in a folder: what it has answered survives a SIGKILL. */
async function startDynamodb(folder: string): Promise<ChaosArchive> {
  const port = await freePort(); // after a restart it must be where it was
  const program = fileURLToPath(new URL("./dynamodb_program.ts", import.meta.url));
  let child: ChildProcess;
  let gone = Promise.resolve();
  const start = async () => {
    child = spawn(
      process.execPath,
      ["run", "-A", "--no-check", "--node-modules-dir=manual", program, folder, String(port)],
      { stdio: ["pipe", "pipe", "inherit"] },
    );
    child.stdin!.on("error", () => {}); // it was killed
    gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    const ready = new Promise<boolean>((resolve) => child.stdout!.once("data", () => resolve(true)));
    if (!await Promise.race([ready, gone.then(() => false)])) throw new Error("dynalite ended before it was ready");
  };
  const kill = async () => {
    process.kill(child.pid!, "SIGKILL");
    await gone;
  };
  await start();
  const config = {
    kind: "dynamodb" as const,
    endpoint: `http://127.0.0.1:${port}`,
    region: "eu-central-1",
    table: TABLE,
    accessKeyId: "TUNDRAACCESSKEY",
    secretAccessKey: "tundra-secret-access-key",
  };
  const { kind: _, ...options } = config;
  await dynamodbDatastore(options).ensureTable();
  const pause = () => void process.kill(child.pid!, "SIGSTOP");
  const resume = () => void process.kill(child.pid!, "SIGCONT");
  return { server: { program: "dynalite", kill, restart: start, pause, resume }, config, stop: kill };
}
