// /metrics: text rules and content negotiation of spec/config-and-observability §6.1.
import { assertEquals } from "@std/assert";
import {
  chooseEncoding,
  COMPRESSED_BYTES_MIN,
  escapeLabel,
  metricsContentType,
  renderMetrics,
} from "./metrics_page.ts";

Deno.test("renderMetrics() has the build info and ends with EOF", () => {
  const lines = renderMetrics({ istioVersion: "1.30.0" }).split("\n");
  assertEquals(lines.includes('istio_build{component="ztunnel",tag="1.30.0"} 1'), true);
  assertEquals(lines.slice(-2), ["# EOF", ""]);
  assertEquals(lines.some((line) => line.includes("istio_tcp_")), false);
  assertEquals(lines.join("\n").length >= COMPRESSED_BYTES_MIN, true);
});

Deno.test("renderMetrics() escapes a version with quotes", () => {
  const text = renderMetrics({ istioVersion: 'a"b\\c\nd' });
  assertEquals(text.includes(String.raw`tag="a\"b\\c\nd"`), true, text);
  assertEquals(escapeLabel("plain"), "plain");
});

const OPEN_METRICS = "application/openmetrics-text;charset=utf-8;version=1.0.0";
const PLAIN = "text/plain; charset=utf-8";

Deno.test.each([
  { accept: null, expected: PLAIN },
  { accept: "application/json", expected: PLAIN },
  { accept: "*/*", expected: PLAIN },
  {
    accept:
      "application/vnd.google.protobuf;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1",
    expected: OPEN_METRICS,
  },
  { accept: "a/b, application/openmetrics-text", expected: OPEN_METRICS },
  { accept: "Application/OpenMetrics-Text ; q=0", expected: OPEN_METRICS },
  { accept: "application/openmetrics-textual", expected: PLAIN },
])("metricsContentType($accept) is $expected", ({ accept, expected }) => {
  assertEquals(metricsContentType(accept), expected);
});

Deno.test.each([
  { accept: null, expected: "identity" },
  { accept: "gzip", expected: "gzip" },
  { accept: "x-gzip", expected: "gzip" },
  { accept: "GZIP;q=0.5, deflate", expected: "deflate" },
  { accept: "deflate, gzip", expected: "gzip" },
  { accept: "br, zstd", expected: "identity" },
  { accept: "br, gzip;q=0.1", expected: "gzip" },
  { accept: "gzip;q=0", expected: "identity" },
  { accept: "gzip;q=nope", expected: "identity" },
  { accept: "identity, gzip;q=0.5", expected: "identity" },
])("chooseEncoding($accept) is $expected", ({ accept, expected }) => {
  assertEquals(chooseEncoding(accept), expected);
});
