// Calls to a proxy's 15008, and what its workload, waypoints and policies are meanwhile.
import type { Fields } from "../support/protobuf.ts";
import { ipBytes as ip } from "../support/xds_resources.ts";
import { POD_IP, POD_IP6 } from "./original_peers.ts";
import type { Push } from "../support/xds_pushes.ts";
import { client } from "./original_routes.ts";

/** A call; without `authority` alone, CONNECT as `two` from a peer's address. */
export interface Call {
  readonly authority: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** The service account of its certificate; null shows none. */
  readonly as?: string | null;
  readonly ip?: string;
}

export interface Phase {
  readonly what: string;
  readonly pushes: readonly Push[];
  readonly calls: readonly Call[];
}

const to = (...authorities: string[]): Call[] => authorities.map((authority) => ({ authority }));
const address = (set: Push["set"], removed: readonly string[] = []): Push => ({
  what: "",
  type: "Address",
  removed,
  ...set === undefined ? {} : { set },
});
const policies = (set: Push["set"], removed: readonly string[] = []): Push => ({
  ...address(set, removed),
  type: "Authorization",
});
const at = (address: string, network = "network1") => ({
  address: { network, address: ip(address) },
  hboneMtlsPort: 15008,
});
const own = { hostname: { namespace: "ns", hostname: "own.svc" }, hboneMtlsPort: 15008 };

/** Somebody whose waypoint may be this pod. */
function behind(name: string, where: string, fields: Fields): readonly [string, Fields] {
  const uid = `c//Pod/ns/${name}`;
  return [uid, {
    workload: {
      uid,
      name,
      namespace: "ns",
      addresses: [ip(where)],
      network: "network1",
      tunnelProtocol: "HBONE",
      ...fields,
    },
  }];
}

function fronted(name: string, vip: string, fields: Fields): readonly [string, Fields] {
  const hostname = `${name}.svc`;
  return [`ns/${hostname}`, {
    service: {
      name,
      namespace: "ns",
      hostname,
      addresses: [{ network: "network1", address: ip(vip) }],
      ports: [{ servicePort: 80, targetPort: 8080 }],
      ...fields,
    },
  }];
}

const policy = (name: string, fields: Fields): readonly [string, Fields] => [
  `ns/${name}`,
  { name, namespace: "ns", scope: "NAMESPACE", ...fields },
];
const rule = (match: Fields) => [{ clauses: [{ matches: [match] }] }];

export const PHASES: readonly Phase[] = [
  {
    what: "a plain pod",
    pushes: [],
    calls: [
      ...to(
        `${POD_IP}:8080`,
        `${POD_IP}:9999`,
        `${POD_IP}:15001`,
        `${POD_IP}:15006`,
        `${POD_IP}:15008`,
        `${POD_IP}:15080`,
        `${POD_IP}:15000`,
        "10.5.0.2:8080",
        "10.5.0.250:8080",
        "10.5.10.100:80",
        "own.svc:80",
        "own.svc:81",
        "own.svc:82",
        "own.svc:83",
        "own.svc:84",
        "own.svc:85",
        "own.svc:0",
        "own-named.svc:80",
        "own-named.svc:85",
        "hbone.svc:80",
        "hbone.svc:81",
        "nobody.svc:80",
        "OWN.SVC:80",
        "own.svc.:80",
        "vis.svc:80",
        "shared.svc:80",
        "shared2.svc:80",
        "dual.example:80",
        "010.006.000.001:8080",
        "[::ffff:10.6.0.1]:8080",
        `[${POD_IP6}]:8080`,
        "server",
        "server:",
        `${POD_IP}`,
        `${POD_IP}:`,
        `${POD_IP}:70000`,
        `${POD_IP}:65536`,
        `${POD_IP}:0`,
        `${POD_IP}:080`,
        `${POD_IP}:+80`,
        "[::1]",
        "[::1]:80",
        ":80",
        "user@own.svc:80",
        "own.svc:80/path",
        "localhost:8080",
        "127.0.0.1:8080",
        "0.0.0.0:8080",
      ),
      { authority: `${POD_IP}:8080`, method: "GET" },
      { authority: `${POD_IP}:8080`, method: "POST" },
      { authority: `[${POD_IP6}]:8080`, ip: POD_IP6 },
      { authority: `${POD_IP}:8080`, ip: POD_IP6 },
      { authority: `${POD_IP}:8080`, as: null },
      { authority: `${POD_IP}:8080`, as: "elsewhere" },
      { authority: `${POD_IP}:8080`, as: "stranger" },
      {
        authority: `${POD_IP}:8080`,
        headers: {
          baggage:
            "k8s.cluster.name=K1,k8s.namespace.name=NS1,k8s.deployment.name=N1,service.name=N2,service.version=V1",
          forwarded: 'for="10.1.1.1:1";host=own.svc',
        },
      },
      { authority: `${POD_IP}:8080`, headers: { forwarded: "host=nobody.svc", baggage: "=,,x" } },
      { authority: `${POD_IP}:8080`, headers: { "x-forwarded-network": "network2" } },
      {
        authority: `${POD_IP}:8080`,
        headers: {
          "x-forwarded-network": "network2",
          baggage:
            "k8s.cluster.name=K1,k8s.namespace.name=NS1,k8s.deployment.name=N1,service.name=N2,service.version=V1",
        },
      },
      { authority: `${POD_IP}:8080`, headers: { traceparent: "junk" } },
      { authority: `${POD_IP}:8080`, as: "unknown-account" },
      { authority: `${POD_IP}:8080`, as: "client" },
    ],
  },
  {
    what: "an app tunnel by PROXY",
    pushes: [address([client({ applicationTunnel: { protocol: "PROXY", port: 15088 } })])],
    calls: [
      ...to(
        `${POD_IP}:8080`,
        "10.5.0.2:8080",
        "10.5.10.2:80",
        "10.5.250.1:1",
        "own.svc:80",
        "own.svc:85",
        "own.svc:82",
        "own-named.svc:85",
        "hbone.svc:80",
        "hbone.svc:81",
        "tcp.svc:80",
        "ew.svc:15009",
        "cidr.svc:80",
        "nobody.svc:80",
        "[fd05::3]:80",
        `${POD_IP}:15001`,
        "10.5.0.2:15008",
        "10.5.0.2:0",
      ),
      { authority: "[fd05::3]:80", ip: POD_IP6 },
      { authority: "10.5.0.2:80", ip: POD_IP6 },
      { authority: "10.5.0.2:80", as: "unknown-account" },
    ],
  },
  {
    what: "an app tunnel by PROXY without a port",
    pushes: [address([client({ applicationTunnel: { protocol: "PROXY" } })])],
    calls: to(`${POD_IP}:15088`, "10.5.0.2:15088", "own.svc:80", "own-named.svc:85"),
  },
  {
    what: "an app tunnel of kind NONE",
    pushes: [address([client({ applicationTunnel: { protocol: "NONE", port: 15089 } })])],
    calls: to(`${POD_IP}:8080`, "10.5.0.2:8080", "own.svc:80", "own-named.svc:85", "hbone.svc:80"),
  },
  {
    what: "a waypoint without a tunnel",
    pushes: [address([
      client(),
      behind("b-ip", "10.5.30.1", { waypoint: at(POD_IP) }),
      behind("b-vip", "10.5.30.2", { waypoint: at("10.5.10.100") }),
      behind("b-host", "10.5.30.3", { waypoint: own }),
      behind("b-other", "10.5.30.4", { waypoint: at("10.5.0.5") }),
      behind("b-missing", "10.5.30.5", { waypoint: at("10.5.99.99") }),
      behind("b-net", "10.5.30.6", { waypoint: at(POD_IP, "") }),
      behind("b-away", "10.5.30.7", { network: "network2", waypoint: at(POD_IP) }),
      behind("b-service", "10.5.30.8", {
        services: { "ns/f-ip.svc": { ports: [{ servicePort: 80, targetPort: 8080 }] } },
      }),
      fronted("f-ip", "10.5.31.1", { waypoint: at(POD_IP) }),
      fronted("f-vip", "10.5.31.2", { waypoint: at("10.5.10.100") }),
      fronted("f-host", "10.5.31.3", { waypoint: own }),
      fronted("f-weighted", "10.5.31.4", { weightedWaypoints: [{ destination: own, weight: 1 }] }),
      fronted("f-cidr", "10.5.31.5", {
        addresses: [{ network: "network1", address: ip("10.5.32.0"), length: 24 }],
        waypoint: own,
      }),
      fronted("f-both", "10.5.30.1", {}),
    ])],
    calls: to(
      ...[1, 2, 3, 4, 5, 6, 7, 8].map((host) => `10.5.30.${host}:8080`),
      ...[1, 2, 3, 4].map((host) => `10.5.31.${host}:8080`),
      "10.5.31.1:80",
      "10.5.32.9:8080",
      "10.5.31.1:15006",
      "f-host.svc:80",
      "f-vip.svc:80",
    ),
  },
  {
    what: "policies: an ALLOW that does not match",
    pushes: [
      policies([
        policy("allow", { rules: rule({ namespaces: [{ exact: "nobody" }] }) }),
        policy("dry-deny", {
          action: "DENY",
          dryRun: true,
          rules: rule({ destinationPorts: [8080] }),
        }),
      ]),
    ],
    calls: to(`${POD_IP}:8080`, `${POD_IP}:9999`, "own.svc:80", "10.5.0.2:8080"),
  },
  {
    what: "policies: a DENY of a port, an ALLOW of a service account",
    pushes: [
      policies([
        policy("allow", {
          rules: rule({ serviceAccounts: [{ namespace: "ns", serviceAccount: "two" }] }),
        }),
        policy("deny", { action: "DENY", rules: rule({ destinationPorts: [9999] }) }),
        policy("dry-allow", { dryRun: true, rules: rule({ namespaces: [{ presence: {} }] }) }),
      ]),
    ],
    calls: [
      ...to(`${POD_IP}:8080`, `${POD_IP}:9999`, "own.svc:80", "own.svc:82"),
      { authority: `${POD_IP}:8080`, as: "three" },
    ],
  },
  {
    what: "policies: by selector, and one that is not there",
    pushes: [
      policies([
        policy("selected", {
          scope: "WORKLOAD_SELECTOR",
          action: "DENY",
          rules: rule({ principals: [{ suffix: "/sa/two" }] }),
        }),
      ], ["ns/allow", "ns/deny", "ns/dry-allow", "ns/dry-deny"]),
      address([client({ authorizationPolicies: ["ns/selected", "ns/unknown"] })]),
    ],
    calls: [...to(`${POD_IP}:8080`), { authority: `${POD_IP}:8080`, as: "three" }],
  },
  {
    what: "policies: destination addresses and ports behind an app tunnel",
    pushes: [
      address([client({ applicationTunnel: { protocol: "PROXY", port: 15088 } })]),
      policies([
        policy("tunnel", {
          action: "DENY",
          rules: [
            ...rule({ destinationIps: [{ address: ip("127.0.0.1"), length: 32 }] }),
            ...rule({ destinationPorts: [8081] }),
          ],
        }),
      ]),
    ],
    calls: to("10.5.0.2:8080", "10.5.0.2:8081", `${POD_IP}:8081`),
  },
  {
    what: "the same with the tunnel's port and the pod's address",
    pushes: [
      policies([
        policy("tunnel", {
          action: "DENY",
          rules: rule({
            destinationPorts: [15088],
            destinationIps: [{ address: ip(POD_IP), length: 32 }],
          }),
        }),
      ]),
    ],
    calls: to("10.5.0.2:8080"),
  },
];
