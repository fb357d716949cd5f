// Port 15021: what a kubelet asks (spec/config-and-observability §4.2).
import type { HttpHandler } from "./http_server.ts";
import type { Readiness } from "./readiness.ts";
import { emptyResponse, textResponse } from "./responses.ts";

export function readinessHandler(readiness: Pick<Readiness, "pending">): HttpHandler {
  return ({ method, path }) => {
    if (path !== "/healthz/ready") return emptyResponse(404);
    if (method !== "GET") return emptyResponse(405);
    const { pending } = readiness;
    return pending.length === 0
      ? textResponse(200, "ready\n")
      : textResponse(500, `not ready, pending: ${pending.join(", ")}\n`);
  };
}
