// gRPC on node:http2, for a server whose certificate may have another name than its URI (`ALT_XDS_HOSTNAME`).
import { CallTransport } from "./call_transport.ts";
import { parseEndpoint } from "./endpoint.ts";
import type { FetchTransportOptions } from "./fetch_transport.ts";
import { Http2Connection } from "./http2_connection.ts";
import { readTrustRoots } from "./trust_roots.ts";

export interface Http2TransportOptions extends FetchTransportOptions {
  /** Accepted instead of the URI's name; null: only that. */
  readonly altHostname: string | null;
}

/** What `fetch` cannot do, it can: trailers, PING, a second name. It trusts the given roots alone, whatever the process says. */
export class Http2Transport extends CallTransport {
  readonly #options: Http2TransportOptions;

  constructor(options: Http2TransportOptions) {
    super(options.clock);
    this.#options = options;
  }

  protected override async connect(signal: AbortSignal): Promise<Http2Connection> {
    const { address, root, altHostname, clock, readFile } = this.#options;
    const endpoint = parseEndpoint(address);
    const roots = endpoint.secure ? await readTrustRoots(root, readFile) : [];
    return await Http2Connection.open({ endpoint, roots, altHostname, clock, signal });
  }
}
