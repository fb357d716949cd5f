// gRPC on the runtime's `fetch`: the usual way to the control plane.
import type { Clock } from "../base/clock.ts";
import { CallTransport } from "./call_transport.ts";
import { parseEndpoint } from "./endpoint.ts";
import { FetchConnection } from "./fetch_connection.ts";
import { type ReadFile, readTrustRoots, type TrustRoot } from "./trust_roots.ts";

export interface FetchTransportOptions {
  /** URI with its scheme. */
  readonly address: string;
  readonly root: TrustRoot;
  readonly clock: Clock;
  /** Reads trust roots, for each connection. */
  readonly readFile?: ReadFile;
}

/**
 * TLS trusts the given roots alone only where the process started with `DENO_TLS_CA_STORE=` (set, empty) and without
 * `DENO_CERT`; and the server is reached directly only without proxy variables (`HTTPS_PROXY` …), which `fetch` obeys even
 * for loopback. Whoever starts the process sees to both.
 */
export class FetchTransport extends CallTransport {
  readonly #options: FetchTransportOptions;

  constructor(options: FetchTransportOptions) {
    super(options.clock);
    this.#options = options;
  }

  protected override async connect(): Promise<FetchConnection> {
    const { address, root, readFile } = this.#options;
    const endpoint = parseEndpoint(address);
    const roots = endpoint.secure ? await readTrustRoots(root, readFile) : [];
    return new FetchConnection(endpoint, roots);
  }
}
