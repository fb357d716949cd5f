// What a measurement works on: two running proxies (or none), and the way in for the load.

/** Which kind of chain a cell wants. */
export type Variant =
  /** As an operator would run it: tunnels share pooled TLS connections. */
  | "pooled"
  /** One stream per TLS connection, so that each connection of a user costs a handshake. */
  | "unpooled";

/** Each proxy's environment, besides what the arm sets. */
export const VARIANT_ENV: Readonly<Record<Variant, Readonly<Record<string, string>>>> = {
  pooled: {},
  unpooled: { POOL_MAX_STREAMS_PER_CONNECTION: "1" },
};

/** Where load is made, and how it gets into the chain. */
export interface Entry {
  /** Put before each program: `ip netns exec NAME`, or nothing. */
  readonly within: readonly string[];
  /** `ip:port` of the SOCKS5 listener; null where the kernel redirects connections, or nothing is in between. */
  readonly socks: string | null;
  readonly targetIp: string;
  readonly iperfPort: number;
  readonly echoPort: number;
}

/** A running chain. Disposing it ends all of its processes. */
export interface Chain extends AsyncDisposable {
  readonly arm: string;
  readonly entry: Entry;
  /** Null for the row without a proxy. */
  readonly proxies: { readonly outboundPid: number; readonly inboundPid: number } | null;
  /** What each of its processes does, by pid: for the list of the busiest. */
  readonly roles: ReadonlyMap<number, string>;
  /** What its figures depend on: TLS library, way in, access log. */
  readonly facts: string;
  /** Version of the OpenSSL that its outbound proxy has mapped; null: another library. */
  readonly openSsl: string | null;
  /** What a proxy's admin port answers at `path`; absent where there is none. */
  admin?(side: "outbound" | "inbound", path: string): Promise<string>;
}

/** One column of the table. */
export interface Arm {
  readonly name: string;
  start(variant: Variant): Promise<Chain>;
}
