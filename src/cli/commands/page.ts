/**
 * `tundra page`: the page of @tundra/store/page, served on this machine.
 * @module
 */
import { onAbort } from "../../base/abort.ts";
import { randomBytes } from "../../base/platform.ts";
import { contextOf } from "../../core/context.ts";
import { base64url } from "../../page/handles.ts";
import { pageHandler } from "../../page/mod.ts";
import { UsageError } from "../arguments.ts";
import type { Command } from "../command.ts";
import { EXIT } from "../run.ts";
import { serveLocally } from "../serve.ts";

const PORT = 8787;
const ALLOWED = ["retry", "restore", "peek"] as const;
const SECRET_BYTES = 18;

/** The command. */
export const page: Command = {
  about:
    "Serves the page of @tundra/store/page on 127.0.0.1, until it is interrupted. It only reads unless --allow says " +
    "otherwise. People sign in with TUNDRA_PAGE_SECRET; without it, with a secret that this run makes and shows.",
  options: {
    "port": { value: "NUMBER", help: `the port: ${PORT}; 0 for a free one` },
    "allow": { value: "WORDS", help: "what the page may do, with commas: retry,restore,peek" },
    "title": { value: "TEXT", help: "the name that the page shows" },
  },
  example: "page --allow retry,peek",
  async run(run) {
    const { args, signal } = run;
    const words = (args.text("allow") ?? "").split(",").filter(Boolean);
    const unknown = words.find((word) => !ALLOWED.some((each) => each === word));
    if (unknown !== undefined) {
      throw new UsageError(`--allow must be some of ${ALLOWED.join(",")}: current value is ${JSON.stringify(unknown)}`);
    }
    const store = await run.store();
    contextOf("show a page", store);
    const own = run.configuration.variable("TUNDRA_PAGE_SECRET");
    const secret = own ?? base64url(randomBytes(SECRET_BYTES));
    const title = args.text("title");
    const handler = pageHandler(store, {
      secret,
      allow: Object.fromEntries(words.map((word) => [word, true])),
      ...(title !== undefined && { title }),
      onError: ({ code, message }) => void run.say(`${code}: ${message}`),
    });
    let serving;
    try {
      serving = await serveLocally(handler, args.count("port", 0) ?? PORT);
    } catch (thrown) {
      throw new UsageError(`--port must be free: ${(thrown as Error).message}`);
    }
    if (run.isJson) await run.printJson({ url: serving.url });
    else await run.print(serving.url);
    await run.say(
      own === undefined ? `Sign in with this secret, of this run alone: ${secret}` : "Sign in with TUNDRA_PAGE_SECRET",
    );
    await new Promise<void>((resolve) => signal ? onAbort(signal, resolve) : undefined);
    await serving.stop();
    return EXIT.fine;
  },
};
