// Port 15020: the metrics page under its two names (spec/config-and-observability §6.1).
import {
  chooseEncoding,
  COMPRESSED_BYTES_MIN,
  metricsContentType,
} from "../telemetry/metrics_page.ts";
import type { HttpHandler } from "./http_server.ts";
import { emptyResponse } from "./responses.ts";

/** @param render The page's text at the time of the call. */
export function statsHandler(render: () => string): HttpHandler {
  return ({ path, headers }) => {
    if (path !== "/metrics" && path !== "/stats/prometheus") return emptyResponse(404);
    const body = new TextEncoder().encode(render());
    const answered = {
      "content-type": metricsContentType(headers.get("accept")),
      vary: "accept-encoding",
    };
    const encoding = chooseEncoding(headers.get("accept-encoding"));
    if (encoding === "identity" || body.length < COMPRESSED_BYTES_MIN) {
      return new Response(body, { headers: answered });
    }
    const compressed = new Blob([body]).stream().pipeThrough(new CompressionStream(encoding));
    return new Response(compressed, { headers: { ...answered, "content-encoding": encoding } });
  };
}
