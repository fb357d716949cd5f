// The reading of h2spec's reports: a suite that passes because nothing was understood would be worse than none.
import { assertEquals } from "@std/assert";
import { judge, parseReport } from "./h2spec_report.ts";

const REPORT = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites>
  <testsuite name="5.1. Stream States" package="http2/5.1" id="5.1" tests="3" skipped="1" failures="0" errors="1">
    <testcase package="http2/5.1" classname="idle: Sends a DATA frame" time="0.0003"></testcase>
    <testcase package="http2/5.1" classname="closed: Sends a DATA &#34;frame&#34;" time="2.0011">
      <error>Connection closed
Timeout</error>
    </testcase>
    <testcase package="http2/5.1" classname="closed: Sends a HEADERS frame" time="0.0010">
      <skipped></skipped>
    </testcase>
  </testsuite>
</testsuites>`;

const IDLE = "http2/5.1: idle: Sends a DATA frame";
const CLOSED_DATA = 'http2/5.1: closed: Sends a DATA "frame"';
const CLOSED_HEADERS = "http2/5.1: closed: Sends a HEADERS frame";

Deno.test("parseReport() reads each case with its outcome", () => {
  assertEquals(parseReport(REPORT), [
    { name: IDLE, outcome: "passed", detail: "" },
    { name: CLOSED_DATA, outcome: "failed", detail: "Connection closed\nTimeout" },
    { name: CLOSED_HEADERS, outcome: "skipped", detail: "h2spec skipped it" },
  ]);
});

Deno.test("judge() counts failed and skipped cases as failed", () => {
  const verdict = judge(parseReport(REPORT), []);
  assertEquals(verdict.passed, 1);
  assertEquals(verdict.failed.map(({ name }) => name), [CLOSED_DATA, CLOSED_HEADERS]);
  assertEquals([verdict.excepted, verdict.stale], [[], []]);
});

Deno.test("judge() lets exceptions pass, and names those that are not needed", () => {
  const allowed = { name: CLOSED_DATA, reason: "RFC 9113 §5.1: …" };
  const passes = { name: IDLE, reason: "RFC 9113 §5.1: …" };
  const unknown = { name: "http2/9: gone", reason: "RFC 9113 §9: …" };
  const verdict = judge(parseReport(REPORT), [allowed, passes, unknown]);
  assertEquals(verdict.failed.map(({ name }) => name), [CLOSED_HEADERS]);
  assertEquals(verdict.excepted.map(({ name }) => name), [CLOSED_DATA]);
  assertEquals(verdict.stale, [passes, unknown]);
});
