/**
 * Server-sent events, as `subscribe`, `psubscribe` and `monitor` are answered.
 * @module
 */
import { untilAborted } from "../base/abort.ts";

/**
 * Calls `onMessage` with what follows `data: ` in each line until the stream ends, fails or is aborted; then `ended`.
 * It never rejects, as no caller waits for it.
 */
export async function readEvents(
  body: ReadableStream<Uint8Array>,
  signal: AbortSignal,
  maxLineLength: number,
  onMessage: (data: string) => void,
  ended: () => void,
): Promise<void> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let pending = "";
  try {
    for (;;) {
      const { done, value } = await untilAborted(reader.read(), signal);
      if (done) break;
      const text = decoder.decode(value, { stream: true });
      if (!text.includes("\n")) {
        pending += text;
      } else {
        const lines = (pending + text).split("\n");
        pending = lines.pop()!;
        for (const line of lines) dispatch(line, signal, onMessage);
      }
      if (pending.length > maxLineLength) throw new RangeError(`a line of more than ${maxLineLength} characters`);
    }
  } catch (error) {
    // the stock client says it here too: its subscriber has no other way to hear of it
    if (!signal.aborted) console.error("The event stream from Redis ended:", error);
  } finally {
    ended();
    reader.cancel().catch(() => {});
  }
}

function dispatch(line: string, signal: AbortSignal, onMessage: (data: string) => void): void {
  if (signal.aborted || !line.startsWith("data:")) return;
  const data = line.slice(line[5] === " " ? 6 : 5, line.endsWith("\r") ? -1 : undefined);
  try {
    onMessage(data);
  } catch (error) {
    // one listener's mistake must not end the subscription
    console.error("A listener of an event stream threw:", error);
  }
}
