#!/usr/bin/env node
/**
 * The program `tundra` of the npm package. It is never imported.
 * @module
 */
import { inProcess } from "./host.ts";
import { runCommandLine } from "./main.ts";

await inProcess(runCommandLine);
