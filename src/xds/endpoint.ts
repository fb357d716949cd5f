// Where the control plane is, out of its URI: TLS, or plaintext to this host only.
import { isLoopback, parseIp } from "../base/address.ts";
import { GrpcError } from "./grpc_error.ts";

export interface Endpoint {
  /** Scheme, host and port, without a slash at the end. */
  readonly origin: string;
  /** Name, or IP address without brackets: what the certificate must say. */
  readonly host: string;
  readonly port: number;
  readonly secure: boolean;
}

/**
 * @param uri With its scheme, as the configuration checked it.
 * @throws {GrpcError} GRPC_PLAINTEXT for anything but https, or http to a loopback literal or `localhost`; GRPC_CONNECT for
 *   what is no URI.
 */
export function parseEndpoint(uri: string): Endpoint {
  let url: URL;
  try {
    url = new URL(uri);
  } catch (error) {
    throw new GrpcError("GRPC_CONNECT", {
      code: "Internal",
      message: `invalid uri: ${uri}`,
    }, { cause: error });
  }
  const scheme = url.protocol.slice(0, -1);
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  const secure = scheme === "https";
  const ip = parseIp(host);
  const isHere = host === "localhost" || ip !== null && isLoopback(ip);
  if (!secure && !(scheme === "http" && isHere)) {
    // The original's sentence (spec/config-and-observability §2.2).
    throw new GrpcError("GRPC_PLAINTEXT", {
      code: "Unavailable",
      message: `unsupported scheme ${scheme}`,
    });
  }
  const port = url.port === "" ? (secure ? 443 : 80) : Number(url.port);
  return { origin: `${scheme}://${url.host}`, host, port, secure };
}
