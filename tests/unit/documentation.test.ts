/** The checks of the documentation can fail. */
import { describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { type DocJson, documentationProblems, lintProblems } from "../../dev/tools/documentation.ts";

const good = { doc: "What it is.", tags: [{ kind: "example" }] };
const symbol = (name: string, doc?: string) => ({
  name,
  declarations: [{ jsDoc: doc === undefined ? undefined : { doc } }],
});

describe("the checks of the documentation", () => {
  it("accept entry points with an introduction, an example and described symbols", () => {
    const json: DocJson = { nodes: { "file:///mod.ts": { module_doc: good, symbols: [symbol("a", "A.")] } } };
    assertEquals(documentationProblems(json), { problems: [], share: 1 });
  });

  it("name what is missing, and count the share of described symbols", () => {
    const symbols = [symbol("a", "A."), symbol("b"), symbol("c", " "), symbol("d", "D.")];
    const json: DocJson = { nodes: { "file:///a.ts": { symbols }, "file:///b.ts": { module_doc: good, symbols: [] } } };
    assertEquals(documentationProblems(json), {
      problems: [
        "a.ts has no module doc",
        "a.ts has no example",
        "a.ts: b is not described",
        "a.ts: c is not described",
      ],
      share: 0.5,
    });
    assertEquals(documentationProblems({ nodes: {} }).problems, ["no exported symbol was found"]);
  });

  it("count a symbol that two entry points export once", () => {
    const again = { name: "a", declarations: [{ kind: "reference" }] };
    const json: DocJson = {
      nodes: {
        "file:///a.ts": { module_doc: good, symbols: [symbol("a", "A.")] },
        "file:///b.ts": { module_doc: good, symbols: [again] },
      },
    };
    assertEquals(documentationProblems(json), { problems: [], share: 1 });
    json.nodes["file:///a.ts"]!.symbols = [symbol("a")];
    assertEquals(documentationProblems(json), { problems: ["a.ts: a is not described"], share: 0 });
  });

  it("let pass private types of other packages only", () => {
    const output = [
      "\x1b[1merror[private-type-ref]\x1b[0m: public type 'TundraStore[\"redis\"]' references private type 'Redis'",
      "   --> /src/store.ts:76:3",
      "error[private-type-ref]: public type 'a' references private type 'Own'",
      "error[missing-jsdoc]: exported symbol is missing JSDoc documentation",
    ].join("\n");
    assertEquals(lintProblems(output, ["Redis"]), [
      "error[private-type-ref]: public type 'a' references private type 'Own'",
      "error[missing-jsdoc]: exported symbol is missing JSDoc documentation",
    ]);
  });
});
