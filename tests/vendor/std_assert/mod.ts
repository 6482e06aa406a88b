import assertNode from "node:assert/strict";
export function assertEquals(a: unknown, b: unknown): void { assertNode.deepStrictEqual(a, b); }
