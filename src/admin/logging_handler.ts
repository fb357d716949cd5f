// POST /logging: reads and changes the log filter (spec/config-and-observability §5.5).
import { LogFilterError } from "../telemetry/log_filter.ts";
import type { LogControl } from "../telemetry/logger.ts";
import type { HttpHandler } from "./http_server.ts";
import { textResponse } from "./responses.ts";

const USAGE = `usage: POST /logging                           (show the filter in force)
usage: POST /logging?level=<level>             (set the default level)
usage: POST /logging?level=<scope>=<level>,... (set the level of single scopes)
usage: POST /logging?reset                     (back to the filter of RUST_LOG)

levels: error|warn|info|debug|trace|off
`;

export function loggingHandler(log: LogControl): HttpHandler {
  return ({ method, query }) => {
    if (method !== "POST") return textResponse(405, `Invalid HTTP method\n ${USAGE}`);
    const parameters = new URLSearchParams(query);
    const spec = parameters.getAll("level").at(-1) ?? "";
    const reset = parameters.has("reset");
    try {
      log.changeFilter({ reset, spec });
    } catch (error) {
      if (!(error instanceof LogFilterError)) throw error;
      return textResponse(400, `Invalid level provided: ${spec}\n${USAGE}`);
    }
    return textResponse(200, `current log level is ${log.filter}\n`);
  };
}
