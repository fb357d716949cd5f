// grpc-js as a server on this runtime: what it keeps to itself, and what has to be kept from it.
import type * as grpc from "@grpc/grpc-js";
import type { Http2Server, ServerHttp2Session } from "node:http2";

/** Keeps the runtime's HTTP/2 (2.9.6) from ending the process. */
export function tame(session: ServerHttp2Session): void {
  // How a client's session ends is no error of ours; the runtime throws it if nobody listens.
  session.on("error", () => {});
  // A client's GOAWAY is answered with one of our own while the client's is still being read: seen to crash in 5 of 88 runs of
  // ca_client_test.ts, and a turn later in none of 117.
  const close = session.close;
  session.close = (ended?: () => void) => {
    const timer = setTimeout(() => close.call(session, ended), 0);
    session.once("close", () => clearTimeout(timer));
  };
}

/** What grpc-js keeps to itself. */
export interface GrpcServerInside {
  readonly http2Servers: ReadonlyMap<Http2Server, unknown>;
  readonly sessions: ReadonlyMap<unknown, unknown>;
}

export function insideOf(server: grpc.Server): GrpcServerInside {
  return server as unknown as GrpcServerInside;
}
