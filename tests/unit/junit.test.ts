import { describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { parseJunit, type TestResult } from "../junit.ts";

const all = (tests: TestResult[]): string[] =>
  tests.map(({ name, outcome, why }) => `${outcome} ${name}${why === undefined ? "" : `: ${why}`}`);

describe("parseJunit counts tests, not suites", () => {
  it("in what Deno writes: the path in the name, suites as tests of their own", () => {
    const xml = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="deno test" tests="6" failures="3" errors="0" time="0.020">
    <testsuite name="./tests/x.test.ts" tests="3" disabled="0" errors="0" failures="2">
        <testcase name="outer &lt;&amp;&gt;" classname="./tests/x.test.ts" time="0.013" line="7" col="1">
            <failure message="1 test step failed">1 test step failed.</failure>
        </testcase>
        <testcase name="top" classname="./tests/x.test.ts" time="0.000" line="17" col="1">
        </testcase>
        <testcase name="later" classname="./tests/x.test.ts" time="0.000" line="17" col="1">
            <skipped/>
        </testcase>
        <testcase name="hook fails" classname="./tests/x.test.ts" time="0.000" line="18" col="1">
            <failure message="Uncaught Error: hook">Error: hook</failure>
        </testcase>
    </testsuite>
    <testsuite name="ext:deno_node/testing.ts" tests="4" disabled="0" errors="0" failures="1">
        <testcase name="outer &lt;&amp;&gt; &gt; one" classname="ext:deno_node/testing.ts" time="0.001" line="1" col="2">
        </testcase>
        <testcase name="outer &lt;&amp;&gt; &gt; inner" classname="ext:deno_node/testing.ts" time="0.001" line="1" col="2">
            <failure message="1 test step failed">1 test step failed.</failure>
        </testcase>
        <testcase name="outer &lt;&amp;&gt; &gt; inner &gt; deep" classname="ext:deno_node/testing.ts" time="0" line="1" col="2">
            <failure message="Uncaught AssertionError">&lt;testcase name="not one"&gt;</failure>
        </testcase>
    </testsuite>
</testsuites>`;
    assertEquals(all(parseJunit(xml)), [
      "passed top",
      "skipped later",
      "failed hook fails: Uncaught Error: hook",
      "passed outer <&> > one",
      "failed outer <&> > inner > deep: Uncaught AssertionError",
    ]);
  });

  it("in what Deno writes if a hook fails after the tests passed: one failed test more", () => {
    const xml = `<testsuites name="deno test"><testsuite name="./x.test.ts">
      <testcase name="suite"><failure message="Uncaught Error: after">Error: after</failure></testcase>
      <testcase name="suite &gt; one"></testcase>
    </testsuite></testsuites>`;
    assertEquals(all(parseJunit(xml)), ["failed suite: Uncaught Error: after", "passed suite > one"]);
  });

  it("in what Bun writes: nested suites, the file outermost", () => {
    const xml = `<testsuites name="bun test" tests="3" assertions="0" failures="1" skipped="1" time="0.09">
  <testsuite name="tests/x.test.ts" file="tests/x.test.ts" tests="3" failures="1" skipped="1" hostname="vm">
    <testsuite name="outer" file="tests/x.test.ts" line="7" tests="2" failures="1" skipped="0">
      <testcase name="fails" classname="outer" time="0.006" file="tests/x.test.ts" line="12" assertions="0">
        <failure type="AssertionError" message="not &lt;equal&gt;&#10;at">AssertionError&#10;</failure>
      </testcase>
      <testsuite name="inner" file="tests/x.test.ts" line="13" tests="1">
        <testcase name="deep" classname="inner &gt; outer" time="0.000319" assertions="0" />
      </testsuite>
    </testsuite>
    <testcase name="top" classname="" time="0.000057" assertions="0" />
    <testcase name="later" classname="" time="0"><skipped message="TODO" /></testcase>
  </testsuite>
</testsuites>`;
    assertEquals(all(parseJunit(xml)), [
      "failed outer > fails: not <equal>\nat",
      "passed outer > inner > deep",
      "passed top",
      "skipped later",
    ]);
  });

  it("in what Node writes: nested suites without the file, > unescaped, comments", () => {
    const xml = `<?xml version="1.0" encoding="utf-8"?>
<testsuites>
	<testsuite name="outer &lt;&amp;>" time="0.009453" disabled="0" errors="0" tests="3" failures="1" skipped="0">
		<testcase name="a > b" time="0.001519" classname="test"/>
		<testcase name="fails" time="0.005936" classname="test" failure="Values > differ">
			<failure type="testCodeFailure" message="Values > differ">
[Error] { cause: &lt;testcase name="no test"/> }
			</failure>
		</testcase>
	</testsuite>
	<testcase name="top" time="0.000401" classname="test"/>
	<testcase name="later" time="0.000255" classname="test">
		<skipped type="todo" message="true"/>
	</testcase>
	<!-- <testcase name="a comment"/> -->
	<!-- tests 4 -->
</testsuites>`;
    assertEquals(all(parseJunit(xml)), [
      "passed outer <&> > a > b",
      "failed outer <&> > fails: Values > differ",
      "passed top",
      "skipped later",
    ]);
  });

  it("finds none in an empty or broken report", () => {
    for (const xml of ["", "<testsuites></testsuites>", "<testsuites><testsuite name="]) {
      assertEquals(parseJunit(xml), []);
    }
  });
});
