/**
 * The way to a server, step by step: its URL, its name, its port, its certificate.
 * @module
 */
import { lookup } from "node:dns";
import { connect, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { promisify } from "node:util";

/** One step of a diagnosis. */
export interface Finding {
  name: string;
  ok: boolean;
  detail: string;
}

const TIMEOUT_MS = 5_000;

/** Host and port of a URL, without what may be secret. */
export function hostOf(url: string): string | undefined {
  try {
    return new URL(url).host;
  } catch {
    return undefined;
  }
}

/**
 * Goes the way until a step fails.
 *
 * @param variable the variable that holds the URL
 */
export async function reach(text: string, variable: string): Promise<{ findings: Finding[]; ok: boolean }> {
  const findings: Finding[] = [];
  const end = (name: string, detail: string) => {
    findings.push({ name, ok: false, detail });
    return { findings, ok: false };
  };
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return end("URL", `${variable} is no URL`);
  }
  const host = url.hostname.replace(/^\[|\]$/g, "");
  findings.push({ name: "URL", ok: true, detail: `${url.protocol}//${url.host}` });
  if (isIP(host) === 0) {
    try {
      const { address } = await promisify(lookup)(host);
      findings.push({ name: "DNS", ok: true, detail: address });
    } catch (thrown) {
      return end(
        "DNS",
        `there is no address of ${host} (${codeOf(thrown)}): is ${variable} right, is there a network?`,
      );
    }
  }
  const port = Number(url.port || (url.protocol === "http:" ? 80 : 443));
  const secure = url.protocol === "https:";
  try {
    await opened(() => connect({ host, port }), "connect");
    findings.push({ name: "port", ok: true, detail: `${port} is open` });
  } catch (thrown) {
    const code = codeOf(thrown);
    const detail = code === "ECONNREFUSED"
      ? `${host} refuses connections to port ${port}: is the server running, is ${variable} right?`
      : `${host} does not answer on port ${port} (${code}): a firewall, or another network?`;
    return end("port", detail);
  }
  if (!secure) return { findings, ok: true };
  try {
    await opened(() => connectTls({ host, port, ...(isIP(host) === 0 && { servername: host }) }), "secureConnect");
    findings.push({ name: "TLS", ok: true, detail: "the certificate is good" });
  } catch (thrown) {
    return end(
      "TLS",
      `${(thrown as Error).message} (${codeOf(thrown)}): a proxy between, a wrong clock, or a wrong host?`,
    );
  }
  return { findings, ok: true };
}

/** Opens a connection and closes it. */
function opened(open: () => Socket, event: "connect" | "secureConnect"): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = open();
    const timer = setTimeout(
      () => socket.destroy(Object.assign(new Error("no answer"), { code: "ETIMEDOUT" })),
      TIMEOUT_MS,
    );
    const end = (act: () => void) => {
      clearTimeout(timer);
      act();
      socket.destroy();
    };
    socket.once(event, () => end(resolve));
    socket.on("error", (error) => end(() => reject(error))); // of which a socket may have several
    socket.once("close", () => end(() => reject(Object.assign(new Error("closed"), { code: "ECONNRESET" }))));
  });
}

/** The code of a network error. A name that stands for several addresses fails with several errors. */
function codeOf(thrown: unknown): string {
  const { code, errors, message = "" } = thrown as { code?: string; errors?: { code?: string }[]; message?: string };
  const known = code ?? errors?.[0]?.code;
  return known ?? /\b(E[A-Z]{4,}|[A-Z]+_[A-Z_]+)\b/.exec(message)?.[0] ?? "failed";
}
