// What a data plane is made of: listeners with everything they accepted, driven alike (spec/data-path §6).
import type { SocketAddress } from "../base/address.ts";
import type { ProxyError } from "../base/errors.ts";

/** One listener of a data plane with everything it accepted, as the data plane drives it. */
export interface Component {
  readonly name: "inbound" | "outbound" | "socks5";
  /** Where it listens. */
  readonly local: SocketAddress;
  /** Application connections it holds; with `busy`, what a drain waits for. */
  readonly connections: number;
  /** True while anything it accepted is not over. */
  readonly busy: boolean;
  /** Closes the listener and lets what lives end by itself; `onQuiet` follows, in a later turn. Once. */
  drain(onQuiet: () => void): void;
  /** Ends everything now. After `drain`. */
  force(reason: ProxyError): void;
}
