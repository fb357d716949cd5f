// An HTTP/2 connection for CONNECT tunnels: joins reader, writer, streams and limits.
import type { ProxyError } from "../base/errors.ts";
import type { H2ConnectionOptions } from "./options.ts";
import type {
  H2Connection,
  H2ResponseHandler,
  H2Stream,
  HeaderList,
  PeerSettings,
} from "./types.ts";

/** Speaks HTTP/2 on `options.transport` from the moment it is made. */
export class Http2Connection implements H2Connection {
  constructor(_options: H2ConnectionOptions) {}

  get openStreams(): number {
    return 0;
  }

  get acceptsStreams(): boolean {
    return false;
  }

  get peerSettings(): PeerSettings | null {
    return null;
  }

  open(_headers: HeaderList, _handler: H2ResponseHandler): H2Stream {
    throw new Error("Not written yet");
  }

  ping(_opaque: Uint8Array): void {}

  drain(): void {}

  close(_code: number, _reason: ProxyError | null): void {}

  abort(_reason: ProxyError | null): void {}
}
