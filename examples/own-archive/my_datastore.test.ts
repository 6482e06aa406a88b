import { describe, it } from "node:test"; // or bun:test, Vitest, Deno's bdd
import { describeDatastore } from "@tundra/store/testing";
import { myDatastore } from "./my_datastore.ts";

describeDatastore("mine", () => myDatastore(), { describe, it, listKeys: false });
