// Logger: the filter before anything else, spans by level, changes at runtime.
import { assertEquals, assertThrows } from "@std/assert";
import type { LogEvent, LogSpan } from "./log_event.ts";
import { LogFilter, LogFilterError } from "./log_filter.ts";
import { Logger } from "./logger.ts";

function setUp(rustLog?: string): { readonly logger: Logger; readonly events: LogEvent[] } {
  const events: LogEvent[] = [];
  const filter = LogFilter.parse(rustLog);
  return {
    logger: new Logger({ filter, sink: (event) => events.push(event), wallMs: () => 7 }),
    events,
  };
}

Deno.test("Logger.log() hands on what the filter lets through, stamped", () => {
  const { logger, events } = setUp();
  logger.log("info", "ztunnel::app", "hello", { k: 1 });
  logger.log("debug", "ztunnel::app", "dropped");
  assertEquals(events, [{
    wallMs: 7,
    level: "info",
    scope: "ztunnel::app",
    message: "hello",
    fields: { k: 1 },
    spans: [],
  }]);
});

Deno.test("Logger.log() reads neither clock nor fields of a dropped line", () => {
  const logger = new Logger({
    filter: LogFilter.parse("error"),
    sink: () => assertEquals("reached", "not reached"),
    wallMs: () => {
      throw new Error("The clock was read");
    },
  });
  const fields = {
    get costly(): string {
      throw new Error("A field was read");
    },
  };
  logger.log("info", "access", "hello", fields);
  assertEquals(logger.enabled("info", "access"), false);
});

Deno.test.each([
  { rustLog: "info", shown: 1 },
  { rustLog: "warn", shown: 0 },
  { rustLog: "info,ztunnel::proxy=warn", shown: 0 },
])("Logger.log() shows spans only where infos pass: $rustLog", ({ rustLog, shown }) => {
  const { logger, events } = setUp(rustLog);
  const spans: LogSpan[] = [{ name: "proxy", fields: { wl: { unquoted: "default/echo-1" } } }];
  logger.log("error", "ztunnel::proxy::inbound", "x", {}, spans);
  assertEquals(events.map((event) => event.spans.length), [shown]);
});

Deno.test("Logger.changeFilter() merges, resets and says so under the old filter", () => {
  const { logger, events } = setUp("info,access=off");
  const filters: string[] = [];
  for (
    const change of [
      { reset: false, spec: "" },
      { reset: false, spec: "access=debug,warn" },
      { reset: false, spec: "error" },
      { reset: true, spec: "" },
      { reset: true, spec: "debug" },
    ]
  ) {
    logger.changeFilter(change);
    filters.push(logger.filter.toString());
  }
  assertEquals(filters, [
    "hickory_server::server=off,access=off,info",
    "hickory_server::server=off,access=debug,warn",
    "hickory_server::server=off,access=debug,error",
    "hickory_server::server=off,access=off,info",
    "hickory_server::server=off,access=off,debug",
  ]);
  // The second to fourth changes ran under warn and error, which drop the line.
  assertEquals(events.map(({ scope, message }) => `${scope} ${message}`), [
    "ztunnel::telemetry new log filter is hickory_server::server=off,access=debug,warn",
    "ztunnel::telemetry new log filter is hickory_server::server=off,access=off,debug",
  ]);
});

Deno.test("Logger.changeFilter() changes nothing when the text is wrong", () => {
  const { logger } = setUp("warn");
  assertThrows(() => logger.changeFilter({ reset: true, spec: "info,nope" }), LogFilterError);
  assertEquals(logger.filter.toString(), "hickory_server::server=off,warn");
});
