// Port 15000: the operator's endpoints (spec/config-and-observability §5.2).
import type { Logger } from "../telemetry/logger.ts";
import { type ConfigDump, renderConfigDump } from "./config_dump.ts";
import type { HttpHandler, HttpRequest } from "./http_server.ts";
import { renderIndexPage } from "./index_page.ts";
import { loggingHandler } from "./logging_handler.ts";
import { emptyResponse, textResponse } from "./responses.ts";

export interface AdminOptions {
  readonly logger: Logger;
  /** Makes a snapshot; called once per request. */
  readonly configDump: () => ConfigDump;
  /** Starts the shutdown; returns at once, and may be called again. */
  readonly requestShutdown: () => void;
  /** Says what would happen to a connection (ours). */
  readonly explain: HttpHandler;
}

const NO_PPROF = "this runtime cannot deliver pprof profiles";

export function adminHandler(options: AdminOptions): HttpHandler {
  const routes: Readonly<Record<string, HttpHandler>> = {
    "/": () => textResponse(200, renderIndexPage(), "text/html; charset=utf-8"),
    "/config_dump": () =>
      textResponse(200, renderConfigDump(options.configDump()), "application/json"),
    "/logging": loggingHandler(options.logger),
    "/quitquitquit": ({ method }) => quit(method, options),
    "/debug/route": options.explain,
    "/debug/pprof/profile": () => textResponse(500, NO_PPROF, null),
    "/debug/pprof/heap": () => textResponse(500, NO_PPROF, null),
    "/debug/pprof/heap/profiling": () => textResponse(500, NO_PPROF, null),
  };
  return (request) => {
    if (isFromOtherSite(request)) return emptyResponse(403);
    return Object.hasOwn(routes, request.path)
      ? routes[request.path]!(request)
      : emptyResponse(404);
  };
}

/** The answer says that the shutdown was triggered, not that it is over. */
function quit(method: string, { logger, requestShutdown }: AdminOptions): Response {
  if (method !== "POST") return emptyResponse(405);
  logger.log("info", "ztunnel::admin", "shutdown triggered");
  requestShutdown();
  return textResponse(200, "shutdown now\n");
}

/**
 * True if a browser says that another site's page makes this request. The port has no login, and loopback alone
 * does not keep a page from posting to it; the tools of this port are no browsers and send no such header.
 */
function isFromOtherSite({ headers }: HttpRequest): boolean {
  const site = headers.get("sec-fetch-site");
  return site === "cross-site" || site === "same-site";
}
