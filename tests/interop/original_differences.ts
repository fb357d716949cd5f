// Differences from the original that are known and meant, each with its reason.
import type { Difference } from "./original_compare.ts";

interface Known {
  /** Which watches. */
  readonly what: RegExp;
  readonly path: RegExp;
  /** Tells more, where the path does not. */
  readonly matches?: (difference: Difference) => boolean;
  readonly reason: string;
}

const text = (value: unknown) => JSON.stringify(value) ?? "";

const KNOWN: readonly Known[] = [
  {
    what: /state/,
    path: /\.endpoints\./,
    matches: ({ theirs }) => theirs === undefined,
    reason: "endpoints that are not healthy are kept, and chosen only where the service says so",
  },
  {
    what: /state/,
    path: /stagedServices\.ns\/late\.svc/,
    reason: "endpoints outlive their service and wait for it",
  },
  {
    what: /state/,
    path: /\.endpoints\.c\/\/Pod\/ns\/e1/,
    matches: ({ ours }) => ours === undefined,
    reason: "a workload set and removed in one response leaves no endpoint behind",
  },
  {
    what: /state/,
    path: /initialVersions/,
    matches: ({ ours }) => ours === undefined,
    reason: "what was set and removed in one response is not claimed on the next stream",
  },
  {
    what: /state/,
    path: /IPv4-mapped.*(workloadIps|vips)|\[mapped|mapped.*(workloadIps|vips)/,
    reason: "IPv4-mapped addresses are IPv4 addresses",
  },
  {
    what: /state/,
    path: /error\.message/,
    reason: "texts of decoders, and of networks with too long a prefix, are not specified",
  },
  {
    what: /state|starts|readiness/,
    path:
      /config\.(ca|xds)(Address|RootCert|Headers)|config\.(fakeCa|proxyArgs|fips|ioProvider|keyExchange|openssl|tunnelDialer|dnsResolver\w+)/,
    reason:
      "settings of the comparison itself, of ours alone, or hidden because they may be secret",
  },
  {
    what: /state/,
    path: /streams\[0\]\.(accept|accept-language|user-agent)/,
    reason: "headers that fetch adds",
  },
  {
    what: /state/,
    path: /\.metrics/,
    reason: "help texts; and statuses in trailers, which fetch does not show, count as Complete",
  },
  { what: /state|readiness/, path: /\.lines|\.all/, reason: "the log has other lines between" },
  {
    what: /outbound|plaintext/,
    path: /\.(went|answer)\.ended/,
    reason: "a close meets what the application has sent already, or does not",
  },
  {
    what: /outbound|random|demand/,
    path: /\.error$/,
    matches: ({ theirs }) => text(theirs).includes("GatewayAddress {"),
    reason: "a gateway's address is written plainly",
  },
  {
    what: /outbound/,
    path: /(double HBONE|another network|gateway by).*\.met/,
    reason: "the outer stream of a double tunnel ends in order, with END_STREAM and alerts",
  },
  { what: /outbound/, path: /CIDR service/, reason: "a CIDR VIP knows its endpoints at once" },
  {
    what: /outbound/,
    path: /VIP shared in one namespace/,
    reason: "of two services with one VIP the one sent last counts, whatever endpoints came after",
  },
  { what: /outbound/, path: /SOCKS5 by/, reason: "names of services need no DNS proxy" },
  {
    what: /inbound|plaintext/,
    path: /dst\.service$/,
    matches: ({ theirs, ours }) => /own/.test(text(theirs)) && /own/.test(text(ours)),
    reason: "of several services with the port, the original's guess is random",
  },
  {
    what: /inbound/,
    path: /\[(::ffff:|\[::ffff:|10\.6\.0\.1:\+80|:80\]|user@|own\.svc:80\/path)/,
    reason: "authorities that no peer sends: mapped addresses are understood, the rest is refused",
  },
  {
    what: /inbound/,
    path: /error$/,
    matches: ({ theirs }) => text(theirs).includes("SanTrustDomainError"),
    reason: "the debug form of a TLS error",
  },
  {
    what: /inbound/,
    path: /10\.5\.31\.4:8080/,
    reason: "a weighted waypoint is a waypoint (Q10)",
  },
  {
    what: /inbound/,
    path: /by selector, and one that is not there/,
    matches: ({ theirs, ours }) => /unknown/.test(text(theirs) + text(ours)),
    reason: "connections wait for a policy that is not there yet, which is said once",
  },
  {
    what: /demand/,
    path: /\.(heard|access|result)/,
    reason: "one request for each address, aliases wake who waits, and nobody logs them",
  },
  {
    what: /outbound|plaintext/,
    path: /\.(went|answer)\.text/,
    matches: ({ theirs }) => text(theirs).includes("HTTP/1.1 400"),
    reason: "the order of HTTP headers",
  },
  {
    what: /outbound/,
    path: /\[own address/,
    matches: ({ theirs, ours }) => /own/.test(text(theirs)) && /own/.test(text(ours)),
    reason: "of several services with the port, the original's guess is random",
  },
  {
    what: /starts/,
    path: /CONNECTION_WINDOW_SIZE=2000|XDS_ROOT_CA=(text|\.\/none)|AUTH_TOKEN=abc 123/,
    reason: "what could never work is refused at the start",
  },
  {
    what: /starts/,
    path: /PROXY_CONFIG=concurrency/,
    reason: "proxyMetadata may be missing",
  },
  {
    what: /starts/,
    path: /config\.(alt\w+|socketConfig\.keepalive)/,
    reason: "settings of what is off are not kept",
  },
  {
    what: /starts/,
    path: /\.error/,
    matches: ({ theirs, ours }) => (theirs === undefined) === (ours === undefined),
    reason: "reasons of parsers, and of failed connections, in our own words",
  },
];

/** Null: nobody knows. */
export function explanationOf(what: string, difference: Difference): string | null {
  const known = KNOWN.find((known) =>
    known.what.test(what) && known.path.test(difference.path) &&
    (known.matches?.(difference) ?? true)
  );
  return known?.reason ?? null;
}
