// Which transport leads to a server: `fetch`, unless its certificate may have another name.
import type { Clock } from "../base/clock.ts";
import { FetchTransport } from "./fetch_transport.ts";
import { Http2Transport } from "./http2_transport.ts";
import type { GrpcTransport } from "./transport.ts";
import type { ReadFile, TrustRoot } from "./trust_roots.ts";

/**
 * The way to a server of the control plane, xDS or CA. Opens nothing yet.
 * @param server.address URI with its scheme.
 * @param server.altHostname A second name its certificate may have.
 */
export function openTransport(
  server: {
    readonly address: string;
    readonly root: TrustRoot;
    readonly altHostname: string | null;
  },
  clock: Clock,
  readFile?: ReadFile,
): GrpcTransport {
  const { address, root, altHostname } = server;
  const options = { address, root, clock, ...(readFile === undefined ? {} : { readFile }) };
  return altHostname === null
    ? new FetchTransport(options)
    : new Http2Transport({ ...options, altHostname });
}
