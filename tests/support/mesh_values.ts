// Any workload, service and policy a control plane can send, for property tests (spec/xds-state-and-dns §2.2, §2.3).
import fc from "fast-check";
import { parseIp } from "../../src/base/address.ts";
import type { Cidr, Policy, PolicyMatch, StringMatch } from "../../src/rbac/policy.ts";
import type { GatewayAddress, PortMap, Service, Workload } from "../../src/state/resources.ts";

const UINT32_MAX = 0xffff_ffff;

/** Texts of all kinds, "" too; a lone surrogate is no text on the wire. */
const text = fc.string({ unit: "grapheme", maxLength: 12 });
const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,8}$/);
const port = fc.nat(65_535);
const ipv4 = fc.ipV4();
/** Canonical; those that are an IPv4 address in other clothes are that address. */
const ipv6 = fc.ipV6().map((literal) => parseIp(literal)!)
  .filter((ip) => ip !== null && ip.includes(":"));
const ip = fc.oneof(ipv4, ipv6);
const portMap: fc.Arbitrary<PortMap> = fc.uniqueArray(fc.tuple(port, port), {
  maxLength: 4,
  selector: ([servicePort]) => servicePort,
}).map((entries) => new Map(entries));

const gateway: fc.Arbitrary<GatewayAddress> = fc.oneof(
  fc.record({ kind: fc.constant("address" as const), network: text, ip, port }),
  fc.record({ kind: fc.constant("hostname" as const), namespace: text, hostname: text, port }),
);

export const anyWorkload: fc.Arbitrary<Workload> = fc.record({
  uid: text,
  name: text,
  namespace: text,
  ips: fc.array(ip, { maxLength: 3 }),
  services: fc.uniqueArray(
    fc.tuple(fc.tuple(name, name).map(([namespace, host]) => `${namespace}/${host}`), portMap),
    { maxLength: 3, selector: ([key]) => key },
  ).map((entries) => new Map(entries)),
  protocol: fc.constantFrom("TCP", "HBONE"),
  networkMode: fc.constantFrom("Standard", "HostNetwork"),
  network: text,
  trustDomain: text,
  serviceAccount: text,
  waypoint: fc.option(gateway),
  networkGateway: fc.option(gateway),
  hostname: text,
  node: text,
  workloadName: text,
  workloadType: fc.constantFrom("deployment", "cronjob", "pod", "job"),
  canonicalName: text,
  canonicalRevision: text,
  nativeTunnel: fc.boolean(),
  applicationTunnel: fc.option(fc.record({
    protocol: fc.constantFrom("NONE", "PROXY"),
    port: fc.option(fc.integer({ min: 1, max: 65_535 })),
  })),
  authorizationPolicies: fc.array(text, { maxLength: 3 }),
  status: fc.constantFrom("Healthy", "Unhealthy"),
  clusterId: text,
  locality: fc.record({ region: text, zone: text, subzone: text }),
  capacity: fc.oneof(fc.constant(1), fc.nat(UINT32_MAX)),
});

/** A network as istiod sends it: masked, and never a single address. */
const maskedCidr: fc.Arbitrary<Cidr> = fc.tuple(ipv4, fc.nat(31)).map(([ip, prefixBits]) => {
  const bits = ip.split(".").reduce((sum, octet) => sum * 256 + Number(octet), 0);
  const span = 2 ** (32 - prefixBits);
  const masked = Math.floor(bits / span) * span;
  const octets = [24, 16, 8, 0].map((shift) => Math.floor(masked / 2 ** shift) % 256);
  return { ip: octets.join("."), prefixBits };
});

export const anyService: fc.Arbitrary<Service> = fc.record({
  name: text,
  namespace: text,
  hostname: text,
  vips: fc.array(fc.record({ network: text, ip }), { maxLength: 3 }),
  cidrVips: fc.array(fc.record({ network: text, cidr: maskedCidr }), { maxLength: 2 }),
  ports: portMap,
  endpoints: fc.constant([]),
  subjectAltNames: fc.array(text, { maxLength: 3 }),
  waypoint: fc.option(gateway),
  weightedWaypoints: fc.array(fc.record({ destination: gateway, weight: fc.nat(UINT32_MAX) }), {
    maxLength: 2,
  }),
  loadBalancer: fc.option(fc.record({
    routingPreferences: fc.array(
      fc.constantFrom("Region", "Zone", "Subzone", "Node", "Cluster", "Network"),
      { maxLength: 6 },
    ),
    mode: fc.constantFrom("Standard", "Strict", "Failover", "Passthrough"),
    healthPolicy: fc.constantFrom("OnlyHealthy", "AllowAll"),
  })),
  ipFamilies: fc.constantFrom(null, "Dual", "IPv4", "IPv6"),
  canonical: fc.boolean(),
  visibility: fc.constantFrom("Public", "Namespace"),
});

const stringMatch: fc.Arbitrary<StringMatch> = fc.oneof(
  fc.record({ kind: fc.constantFrom("exact", "prefix", "suffix"), text }),
  fc.constant({ kind: "presence" as const }),
);
const stringMatches = fc.array(stringMatch, { maxLength: 2 });
const cidrs = fc.array(maskedCidr, { maxLength: 2 });
const ports = fc.array(port, { maxLength: 3 });
const accounts = fc.array(fc.record({ namespace: text, serviceAccount: text }), { maxLength: 2 });

const match: fc.Arbitrary<PolicyMatch> = fc.record({
  namespaces: stringMatches,
  notNamespaces: stringMatches,
  principals: stringMatches,
  notPrincipals: stringMatches,
  serviceAccounts: accounts,
  notServiceAccounts: accounts,
  sourceIps: cidrs,
  notSourceIps: cidrs,
  destinationIps: cidrs,
  notDestinationIps: cidrs,
  destinationPorts: ports,
  notDestinationPorts: ports,
});

export const anyPolicy: fc.Arbitrary<Policy> = fc.record({
  name: text,
  namespace: text,
  scope: fc.constantFrom("Global", "Namespace", "WorkloadSelector"),
  action: fc.constantFrom("Allow", "Deny"),
  dryRun: fc.boolean(),
  rules: fc.array(fc.array(fc.array(match, { maxLength: 2 }), { maxLength: 2 }), { maxLength: 2 }),
});
