// IP addresses and ports as values: parsed strictly where they enter, canonical everywhere after.

/** An IP address and a port. `ip` is canonical (see {@link parseIp}), `port` is 0 to 65535. */
export interface SocketAddress {
  /** Canonical text of an IPv4 or IPv6 address. */
  readonly ip: string;
  /** 0 to 65535; 0 asks the kernel to choose. */
  readonly port: number;
}

const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/;
const IPV6_TEXT = /^[0-9a-fA-F:.]{2,45}$/;

/**
 * Reads an IP address literal and gives its canonical text: dotted decimal without leading zeros, or
 * compressed lower-case IPv6 (RFC 5952); an IPv4-mapped IPv6 address becomes plain IPv4
 * (spec/data-path §0). Returns null for anything else; zones and brackets are not accepted.
 */
export function parseIp(text: string): string | null {
  if (IPV4.test(text)) return text;
  if (!IPV6_TEXT.test(text) || !text.includes(":")) return null;
  let canonical: string;
  try {
    canonical = new URL(`http://[${text}]/`).hostname.slice(1, -1);
  } catch {
    return null; // Not an IPv6 literal; the caller decides what that means.
  }
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(canonical);
  if (mapped === null) return canonical;
  const high = Number.parseInt(mapped[1]!, 16);
  const low = Number.parseInt(mapped[2]!, 16);
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
}

/** True for a canonical IPv6 address. */
export function isIpv6(ip: string): boolean {
  return ip.includes(":");
}

/** True for 127.0.0.0/8 and ::1, given canonical. */
export function isLoopback(ip: string): boolean {
  return ip.startsWith("127.") || ip === "::1";
}

/** Reads decimal digits as a port, 0 to 65535; null for anything else. */
export function parsePort(text: string): number | null {
  if (!/^\d{1,5}$/.test(text)) return null;
  const port = Number(text);
  return port <= 65535 ? port : null;
}

/** Reads `a.b.c.d:port` or `[v6]:port`; null for anything else, host names included. */
export function parseSocketAddress(text: string): SocketAddress | null {
  const colon = text.lastIndexOf(":");
  if (colon < 0) return null;
  const port = parsePort(text.slice(colon + 1));
  let host = text.slice(0, colon);
  const bracketed = host.startsWith("[") && host.endsWith("]");
  if (bracketed) host = host.slice(1, -1);
  if (port === null || host.includes(":") !== bracketed) return null;
  const ip = parseIp(host);
  return ip === null ? null : { ip, port };
}

/** `a.b.c.d:port` or `[v6]:port`. */
export function formatAddress(address: SocketAddress): string {
  return isIpv6(address.ip) ? `[${address.ip}]:${address.port}` : `${address.ip}:${address.port}`;
}
