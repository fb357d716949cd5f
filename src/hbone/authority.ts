// The target of a CONNECT as text and as value (spec/data-path §1.3, §3.2). Pure.
import { formatAddress, parsePort, parseSocketAddress } from "../base/address.ts";
import type { InboundAuthority } from "../seam/route.ts";

/** What may stand in a host name here: letters, digits and the unreserved marks (RFC 3986 §3.2.2). */
const HOSTNAME = /^[A-Za-z0-9._~!$&'()*+,;=%-]+$/;

/**
 * Reads `:authority`. An IP literal is canonicalised; anything else that looks like `host:port` is a
 * host name, so IPv4 with leading zeros is one too. Null without a valid host or port.
 */
export function parseAuthority(text: string): InboundAuthority | null {
  const address = parseSocketAddress(text);
  if (address !== null) return { kind: "address", address };
  const colon = text.lastIndexOf(":");
  if (colon <= 0) return null;
  const port = parsePort(text.slice(colon + 1));
  const hostname = text.slice(0, colon);
  if (port === null || !HOSTNAME.test(hostname)) return null;
  return { kind: "hostname", hostname, port };
}

/** As the access log has it: an address as it was understood, not as it was written. */
export function formatAuthority(authority: InboundAuthority): string {
  if (authority.kind === "address") return formatAddress(authority.address);
  return `${authority.hostname}:${authority.port}`;
}
