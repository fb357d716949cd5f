// LogFilter as RUST_LOG and /logging see it (spec/config-and-observability §5.5, §7.1).
import { assertEquals, assertThrows } from "@std/assert";
import type { LogLevel } from "../seam/events.ts";
import { FILTER_SCOPES_CACHED_MAX, LogFilter, LogFilterError } from "./log_filter.ts";

const LEVELS: readonly LogLevel[] = ["error", "warn", "info", "debug", "trace"];

/** The levels that `filter` lets through for `scope`. */
function levelsOf(filter: LogFilter, scope: string): string {
  return LEVELS.filter((level) => filter.enabled(level, scope)).join(" ");
}

Deno.test.each([
  { text: undefined, widest: "info" },
  { text: "warn,access=debug", widest: "debug" },
  { text: "trace,access=error", widest: "trace" },
  { text: "off", widest: "error" },
])("LogFilter.parse($text).widest is $widest", ({ text, widest }) => {
  assertEquals(LogFilter.parse(text).widest, widest);
});

Deno.test.each([
  { text: undefined, scope: "ztunnel::app", expected: "error warn info" },
  { text: "", scope: "ztunnel::app", expected: "error" },
  { text: "debug", scope: "access", expected: "error warn info debug" },
  { text: "WARN", scope: "access", expected: "error warn" },
  { text: "0", scope: "access", expected: "" },
  { text: "5", scope: "access", expected: "error warn info debug trace" },
  { text: "access=debug", scope: "access", expected: "error warn info debug" },
  { text: "access=debug", scope: "ztunnel::app", expected: "" },
  { text: "access=off,info", scope: "access", expected: "" },
  { text: "access=off,info", scope: "ztunnel::app", expected: "error warn info" },
  { text: "access=,info", scope: "access", expected: "error" },
  { text: "access=4,info", scope: "access", expected: "error warn info debug" },
  { text: "access=DeBuG,info", scope: "access", expected: "error warn info debug" },
  { text: "access", scope: "access", expected: "error warn info debug trace" },
  { text: "error,ztunnel::proxy=warn", scope: "ztunnel::proxy::pool", expected: "error warn" },
  { text: "error,ztunnel::proxy=warn", scope: "ztunnel::xds::client", expected: "error" },
  {
    text: "ztunnel=warn,ztunnel::xds=trace",
    scope: "ztunnel::proxy::pool",
    expected: "error warn",
  },
  { text: "info, access=debug", scope: "access", expected: "error warn info debug" },
  { text: "info,", scope: "access", expected: "error" },
  { text: "info,debug", scope: "access", expected: "error warn info debug" },
  { text: "info", scope: "hickory_server::server", expected: "" },
  { text: "info,access[{error}]=debug", scope: "access", expected: "error warn info debug" },
])("LogFilter.parse($text) lets $scope through at [$expected]", ({ text, scope, expected }) => {
  assertEquals(levelsOf(LogFilter.parse(text), scope), expected);
});

Deno.test("LogFilter matches the longest scope, by prefix of the text", () => {
  const filter = LogFilter.parse("info,ztunnel::proxy=debug,ztunnel::proxy::pool=warn");
  assertEquals(levelsOf(filter, "ztunnel::proxy::pool"), "error warn");
  assertEquals(levelsOf(filter, "ztunnel::proxyfactory"), "error warn info debug");
  assertEquals(levelsOf(filter, "ztunnel::app"), "error warn info");
});

Deno.test.each([
  { text: "access=debug=info", clause: "access=debug=info" },
  { text: "info,access=nope", clause: "access=nope" },
  { text: "access=6", clause: "access=6" },
  { text: "access[{error=info", clause: "access[{error=info" },
])("LogFilter.parse($text) refuses the clause", ({ text, clause }) => {
  const error = assertThrows(() => LogFilter.parse(text), LogFilterError);
  assertEquals(error.clause, clause);
  assertEquals(error.code, "INVALID_LOG_FILTER");
});

Deno.test("LogFilter.toString() names the most specific clause first and the default last", () => {
  const built = (text?: string) => LogFilter.parse(text).toString();
  assertEquals(built(), "hickory_server::server=off,info");
  assertEquals(
    built("warn,access=debug,ztunnel::a=info,ztunnel::b"),
    "hickory_server::server=off,ztunnel::b=trace,ztunnel::a=info,access=debug,warn",
  );
  assertEquals(built("access=debug"), "hickory_server::server=off,access=debug");
});

Deno.test("LogFilter.merge() puts clauses over the present ones", () => {
  const started = LogFilter.parse(undefined);
  const first = started.merge("access=debug,info");
  assertEquals(first.toString(), "hickory_server::server=off,access=debug,info");
  const second = first.merge("warn");
  assertEquals(second.toString(), "hickory_server::server=off,access=debug,warn");
  assertEquals(started.toString(), "hickory_server::server=off,info");
});

Deno.test.each([
  { spec: "access:debug,info", expected: "access=debug,info" },
  { spec: "ztunnel::xds:debug", expected: "ztunnel::xds=debug,info" },
  { spec: "ztunnel::xds=5", expected: "ztunnel::xds=trace,info" },
  { spec: "access=", expected: "access=error,info" },
  { spec: "access=OFF", expected: "access=off,info" },
])("LogFilter.merge($spec) accepts", ({ spec, expected }) => {
  const text = LogFilter.parse(undefined).merge(spec).toString();
  assertEquals(text, `hickory_server::server=off,${expected}`);
});

Deno.test.each(
  [
    "nope",
    "INFO",
    "3",
    "access",
    "ztunnel::xds",
    "access:",
    "access=nope",
    "=info",
    "",
    "info,",
    "a=b=c",
  ]
    .map((spec) => ({ spec })),
)("LogFilter.merge($spec) refuses", ({ spec }) => {
  assertThrows(() => LogFilter.parse(undefined).merge(spec), LogFilterError);
});

Deno.test.each([
  {
    name: "just under",
    scopes: FILTER_SCOPES_CACHED_MAX - 1,
    cached: FILTER_SCOPES_CACHED_MAX - 1,
  },
  { name: "at", scopes: FILTER_SCOPES_CACHED_MAX, cached: FILTER_SCOPES_CACHED_MAX },
  { name: "over", scopes: FILTER_SCOPES_CACHED_MAX + 1, cached: FILTER_SCOPES_CACHED_MAX },
])("LogFilter remembers scopes up to its limit: $name", ({ scopes, cached }) => {
  const filter = LogFilter.parse("info");
  for (let index = 0; index < scopes; index++) filter.enabled("info", `scope${index}`);
  assertEquals(filter.scopesCached, cached);
  assertEquals(filter.enabled("info", `scope${scopes}`), true);
});
