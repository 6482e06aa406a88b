/**
 * The cases about deletion and listings.
 * @module
 */
import { codeOf, equal, must } from "./assertions.ts";
import { type Case, inPool, listAll } from "./trial.ts";

export const listCases: Case[] = [
  {
    title: "deletes what it is told to, and nothing else; absent objects are no error",
    needs: ["deleteKeys"],
    async act({ store, can }) {
      const names = ["delete/a", "delete/ab", "delete/b"];
      for (const name of names) await store.putKey(name, new Uint8Array(1));
      equal(await store.deleteKeys(["delete/a", "delete/none", "delete/b"]), undefined, "what deleteKeys says");
      equal((await store.fetchKeys(names)).map(codeOf), ["NOT_FOUND", new Uint8Array(1), "NOT_FOUND"], "the objects");
      if (can("hasKeys")) equal(await store.hasKeys(names), [false, true, false], "what hasKeys says");
      await store.deleteKeys(["delete/a"]);
      equal((await store.fetchKeys(["delete/a"])).map(codeOf), ["NOT_FOUND"], "what was deleted twice");
      await store.putKey("delete/a", Uint8Array.from([2]));
      equal(await store.fetchKeys(["delete/a"]), [Uint8Array.from([2])], "what was put after its deletion");
    },
  },
  {
    title: "lists only the names that begin with the prefix, wherever it ends",
    needs: ["listKeys"],
    async act({ store }) {
      const names = ["begin/i", "begin/in", "begin/in/0", "begin/in/00", "begin/ina", "begin/on/1"];
      for (const name of names) await store.putKey(name, new Uint8Array(1));
      const listed = async (prefix: string) => [prefix, await listAll(store, prefix)];
      for (
        const prefix of ["begin/", "begin/in", "begin/in/", "begin/in/0", "begin/in/00", "begin/o", "begin/nothing"]
      ) {
        const those = names.filter((name) => name.startsWith(prefix));
        equal(await listed(prefix), [prefix, { names: those, pages: 1 }], "prefix and listing");
      }
    },
  },
  {
    title: "lists more than 1,000 names in ascending order, a page at a time",
    needs: ["listKeys"],
    async act({ store, can, longListing }) {
      const names = Array.from({ length: longListing }, (_, i) => `list/in/${String(i).padStart(5, "0")}~.-_`);
      const others = ["list/i", "list/in", "list/ina", "list/on/1"];
      await inPool([...names, ...others], 16, (name) => store.putKey(name, new Uint8Array(1)));
      const listed = await listAll(store, "list/in/");
      equal(listed.names.length, names.length, "the number of listed names");
      const at = names.findIndex((name, i) => name !== listed.names[i]);
      must(at < 0, `the name at ${at} must be ${names[at]}: current value is ${listed.names[at]}`);
      must(listed.pages >= 2 || longListing <= 1000, "one page must hold 1,000 names at most");
      equal(await listAll(store, "list/in/0000"), { names: names.slice(0, 10), pages: 1 }, "the first ten");
      equal(await listAll(store, "list/nothing"), { names: [], pages: 1 }, "the listing of nothing");
      const all = ["list/i", "list/in", ...names, "list/ina"];
      const { names: found } = await listAll(store, "list/i");
      const differs = all.findIndex((name, i) => name !== found[i]);
      must(differs < 0, `the name at ${differs} must be ${all[differs]}: current value is ${found[differs]}`);
      equal(found.length, all.length, "the number of listed names");
      if (can("hasKeys")) {
        equal(
          (await store.hasKeys([...names, "list/in/x"])).filter((has) => has === true).length,
          names.length,
          "those there",
        );
      }
      if (!can("deleteKeys")) return;
      await store.deleteKeys(names);
      equal(await listAll(store, "list/in/"), { names: [], pages: 1 }, "the listing, after all are deleted");
    },
  },
];
