// The `forwarded` header: who called, and which service was meant (spec/data-path §1.5). Pure.
import { formatAddress, type SocketAddress } from "../base/address.ts";
import { isVisibleAscii } from "./header_text.ts";

/** `for="ip:port"`, and `;host=<service>` where a service was meant. */
export function encodeForwarded(source: SocketAddress, serviceHostname: string | null): string {
  const forPart = `for="${formatAddress(source)}"`;
  if (serviceHostname === null || !isVisibleAscii(serviceHostname)) return forPart;
  return `${forPart};host=${serviceHostname}`;
}

/**
 * The service name in a received header, for telemetry only: it never changes the source address or
 * the input of policy. Null where there is none or the value is not visible ASCII.
 */
export function forwardedHost(value: string | null): string | null {
  if (value === null || !isVisibleAscii(value)) return null;
  for (const part of value.split(";")) {
    const trimmed = part.trim();
    if (!trimmed.startsWith("host=")) continue;
    let host = trimmed.slice("host=".length);
    if (host.startsWith('"')) host = host.slice(1);
    if (host.endsWith('"')) host = host.slice(0, -1);
    return host === "" ? null : host;
  }
  return null;
}
