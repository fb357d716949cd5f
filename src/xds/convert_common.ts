// What workloads and services have in common: gateways, ports, empty things.
import type { istio } from "../proto/messages.js";
import type { GatewayAddress, PortMap } from "../state/resources.ts";
import { ipText } from "./ip_text.ts";
import { keyPart, Pool } from "./pool.ts";
import { cannotConvert } from "./resource_error.ts";

/** Ports are written with 32 bits and have 16. */
const PORT_BITS = 0xffff;

/** The one empty list. */
export const NOTHING: readonly never[] = Object.freeze([]);

const portMaps = new Pool<PortMap>();
const gateways = new Pool<GatewayAddress>();

/**
 * Addresses, services or policies that one resource lists, and waypoints it weighs. A real one has a few; each costs a µs or
 * two where the resource is put in its place, in one piece.
 */
export const ITEMS_MAX = 16_384;

/** @throws {ResourceError} if there are more than {@link ITEMS_MAX}. */
export function checkCount(count: number, what: string): void {
  if (count > ITEMS_MAX) throw cannotConvert(`${count} ${what}, limit is ${ITEMS_MAX}`);
}

/** The items converted; without any, an array that all share. */
export function convertAll<Item, Value>(
  items: readonly Item[],
  convert: (item: Item) => Value,
): readonly Value[] {
  return items.length === 0 ? NOTHING : items.map(convert);
}

/** Cuts a number to a port's 16 bits. */
export function portOf(number: number): number {
  return number & PORT_BITS;
}

/** Says all about a list of ports; the order counts. */
export function portsKey(ports: readonly istio.workload.Port[]): string {
  let key = "";
  for (const { servicePort, targetPort } of ports) key += `${servicePort}>${targetPort},`;
  return key;
}

/** Service port → target port; the last entry of a service port counts. */
export function portMapOf(ports: readonly istio.workload.Port[]): PortMap {
  return portMaps.get(portsKey(ports), () => {
    const map = new Map<number, number>();
    for (const { servicePort, targetPort } of ports) {
      map.set(portOf(servicePort), portOf(targetPort));
    }
    return map;
  });
}

/**
 * @param gateway Null where the message has none.
 * @throws {ResourceError} if it says neither a host name nor an address.
 */
export function gatewayOf(gateway: istio.workload.GatewayAddress | null): GatewayAddress | null {
  return gateway === null ? null : requiredGateway(gateway);
}

/** As {@link gatewayOf}, where there must be one. */
export function requiredGateway(gateway: istio.workload.GatewayAddress | null): GatewayAddress {
  const port = portOf(gateway?.hboneMtlsPort ?? 0);
  const named = gateway?.hostname ?? null;
  if (named !== null) {
    const { namespace, hostname } = named;
    const key = `n${port},${keyPart(namespace)}${hostname}`;
    return gateways.get(key, () => ({ kind: "hostname", namespace, hostname, port }));
  }
  const address = gateway?.address ?? null;
  if (address === null) throw cannotConvert("nonempty gateway address is missing address");
  const { network } = address;
  const ip = ipText(address.address);
  return gateways.get(
    `a${port},${keyPart(network)}${ip}`,
    () => ({ kind: "address", network, ip, port }),
  );
}
