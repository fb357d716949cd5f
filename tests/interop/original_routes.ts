// A mesh with an entry for every way a connection can take, and the dials that take them.
import type { Fields } from "../support/protobuf.ts";
import { ipBytes as ip } from "../support/xds_resources.ts";
import { POD_IP, POD_IP6 } from "./original_peers.ts";
import type { Push } from "../support/xds_pushes.ts";

const HERE = "network1";
const AWAY = "network2";
type Named = readonly [string, Fields];

const ports = (...pairs: [number, number][]) =>
  pairs.map(([servicePort, targetPort]) => ({ servicePort, targetPort }));
const at = (address: string, port = 15008, network = HERE) => ({
  address: { network, address: ip(address) },
  hboneMtlsPort: port,
});
const host = (hostname: string, port = 15008) => ({
  hostname: { namespace: "ns", hostname },
  hboneMtlsPort: port,
});

function workload(name: string, addresses: readonly string[], fields: Fields = {}): Named {
  const uid = `c//Pod/ns/${name}`;
  return [uid, {
    workload: {
      uid,
      name,
      namespace: "ns",
      serviceAccount: name,
      addresses: addresses.map(ip),
      network: HERE,
      tunnelProtocol: "HBONE",
      ...fields,
    },
  }];
}

function service(name: string, vips: readonly string[], fields: Fields = {}): Named {
  const { namespace = "ns" } = fields;
  const hostname = `${name}.svc`;
  return [`${namespace}/${hostname}`, {
    service: {
      name,
      namespace,
      hostname,
      addresses: vips.map((vip) => ({ network: HERE, address: ip(vip) })),
      ports: ports([80, 8080]),
      ...fields,
    },
  }];
}

/** The `services` of a workload. */
const backs = (names: Record<string, [number, number][]>) => ({
  services: Object.fromEntries(
    Object.entries(names).map(([name, pairs]) => [
      name.includes("/") ? name : `ns/${name}.svc`,
      { ports: ports(...pairs) },
    ]),
  ),
});
const sa = (name: string) => `spiffe://cluster.local/ns/ns/sa/${name}`;
const prefer = (mode: string, ...routingPreference: string[]) => ({
  loadBalancing: { mode, routingPreference },
});

/** Where peers answer on 15008, by the service account of their certificate. */
export const HBONE_PEERS: readonly (readonly [string, string, Fields?])[] = [
  ["10.5.0.2", "two", {
    baggage:
      "k8s.cluster.name=B,k8s.namespace.name=bns,k8s.pod.name=bw,service.name=bs,service.version=bv",
  }],
  ["10.5.0.5", "wp"],
  ["10.5.0.6", "other"],
  ["10.5.0.8", "eight", { status: 503 }],
  ["10.5.0.9", "nine", { status: 401 }],
  ["10.5.0.10", "ten", { status: 201 }],
  ["10.5.0.15", "dualh"],
  ["fd05::15", "dualh"],
  ["10.5.0.16", "hostnet"],
  ["10.5.0.17", "wpt"],
  ["10.5.0.12", "four"],
  ["10.5.0.4", "gw", {
    port: 15009,
    forward: 16000,
    baggage: "k8s.cluster.name=gateways,service.name=gateway",
  }],
  ["10.5.0.4", "gw", { port: 15010, forward: 16001 }],
  ["10.5.0.4", "gw", { port: 15011, status: 503 }],
  ["127.0.0.1", "far", {
    port: 16000,
    baggage:
      "k8s.cluster.name=C2,k8s.namespace.name=fns,k8s.deployment.name=fw,service.name=fs,service.version=fv",
  }],
  ["127.0.0.1", "far", { port: 16001, status: 401 }],
];

export const APPS: readonly (readonly [string, number])[] = [
  "10.5.0.2",
  "10.5.0.3",
  "10.5.0.14",
  "fd05::14",
  "10.5.0.18",
  "10.5.0.19",
  "10.5.0.201",
  "10.5.0.16",
  "10.5.0.13",
].flatMap((address) => [80, 8080, 1234].map((port) => [address, port] as const));

/** The source; `fields` to change it. */
export function client(fields: Fields = {}): Named {
  return workload("client", [POD_IP, POD_IP6], {
    canonicalName: "client-app",
    canonicalRevision: "v1",
    workloadName: "client-deployment",
    workloadType: "DEPLOYMENT",
    clusterId: "c1",
    node: "n1",
    locality: { region: "r1", zone: "z1" },
    ...backs({ own: [[80, 8080], [81, 15001], [82, 9999]], "own-named": [[80, 8080]] }),
    ...fields,
  });
}

const REMOTE = { network: AWAY, addresses: [], serviceAccount: "" };

export const ROUTES: Push = {
  what: "routes",
  type: "Address",
  set: [
    client(),
    workload("two", ["10.5.0.2"], {
      canonicalName: "two-app",
      ...backs({
        hbone: [[80, 8080]],
        named: [],
        failover: [[80, 8080]],
        strict: [[80, 8080]],
        target: [[80, 1234]],
        "vip-a": [[80, 8080]],
        nomap: [],
        "ns/same-cidr.svc": [[80, 8080]],
      }),
    }),
    workload("three", ["10.5.0.3"], {
      tunnelProtocol: "NONE",
      ...backs({
        tcp: [[80, 8080]],
        named: [[80, 1234]],
        cidr: [[80, 8080]],
        "far-ns/vis.svc": [[80, 8080]],
        "b/shared.svc": [[80, 1234]],
        "z/shared.svc": [[80, 8080]],
        "z/shared2.svc": [[80, 1234]],
        "mixed": [[80, 8080]],
      }),
    }),
    workload("wp", ["10.5.0.5"], { ...backs({ wp: [[15008, 15008]] }), canonicalName: "wp-app" }),
    workload("wpt", ["10.5.0.17"], {
      applicationTunnel: { protocol: "PROXY", port: 15088 },
      ...backs({ wpt: [] }),
    }),
    workload("wpn", ["10.5.0.17"], { serviceAccount: "wpt", ...backs({ wpn: [] }) }),
    workload("six", ["10.5.0.6"], backs({ wrong: [[80, 8080]], san: [[80, 8080]] })),
    workload("seven", ["10.5.0.7"], backs({ closed: [[80, 8080]] })),
    workload("eight", ["10.5.0.8"]),
    workload("nine", ["10.5.0.9"]),
    workload("ten", ["10.5.0.10"]),
    workload("four", ["10.5.0.12"], { waypoint: at("10.5.0.5"), ...backs({ epwp: [[80, 8080]] }) }),
    workload("fourtcp", ["10.5.0.13"], { tunnelProtocol: "NONE", waypoint: host("wp.svc") }),
    workload("wpmissing", ["10.5.0.20"], { waypoint: host("nobody.svc") }),
    workload("wpmissingip", ["10.5.0.21"], { waypoint: at("10.5.99.99") }),
    workload("wpwl", ["10.5.0.22"], { waypoint: host("wp-workload") }),
    workload("wp2", ["10.5.0.5"], { serviceAccount: "wp", hostname: "wp-workload" }),
    workload("dual", ["10.5.0.14", "fd05::14"], {
      tunnelProtocol: "NONE",
      ...backs({ "v4only": [[80, 8080]], "v6only": [[80, 8080]], "dualsvc": [[80, 8080]] }),
    }),
    workload("dualh", ["10.5.0.15", "fd05::15"]),
    workload("dualwp", ["10.5.0.24", "fd05::24"], { waypoint: at("10.5.0.5") }),
    workload("hostnet", ["10.5.0.16"], {
      networkMode: "HOST_NETWORK",
      ...backs({ hostnet: [[80, 8080]] }),
    }),
    workload("noip", [], backs({ noip: [[80, 8080]] })),
    workload("noipgw", [], {
      networkGateway: at("10.5.0.4", 15009, AWAY),
      ...backs({ noipgw: [[80, 8080]] }),
    }),
    workload("named", [], {
      hostname: "localhost",
      tunnelProtocol: "NONE",
      ...backs({ dns: [[80, 8080]] }),
    }),
    workload("named2", [], { hostname: "nowhere.invalid", ...backs({ dnsfail: [[80, 8080]] }) }),
    workload("cap0", ["10.5.0.3"], {
      capacity: { value: 0 },
      tunnelProtocol: "NONE",
      ...backs({ cap0: [[80, 8080]] }),
    }),
    workload("sick", ["10.5.0.3"], {
      status: "UNHEALTHY",
      tunnelProtocol: "NONE",
      ...backs({ sick: [[80, 8080]], sickall: [[80, 8080]] }),
    }),
    workload("far", [], {
      ...REMOTE,
      networkGateway: at("10.5.0.4", 15009, AWAY),
      ...backs({
        remote: [[80, 80]],
        "remote-nosan": [[80, 80]],
        failover: [[80, 80]],
        strict: [[80, 80]],
        mixed: [[80, 80]],
      }),
    }),
    workload("far401", [], {
      ...REMOTE,
      networkGateway: at("10.5.0.4", 15010, AWAY),
      ...backs({ "remote401": [[80, 80]] }),
    }),
    workload("far503", [], {
      ...REMOTE,
      networkGateway: at("10.5.0.4", 15011, AWAY),
      ...backs({ "remote503": [[80, 80]] }),
    }),
    workload("farclosed", [], {
      ...REMOTE,
      networkGateway: at("10.5.0.4", 15012, AWAY),
      ...backs({ "remoteclosed": [[80, 80]] }),
    }),
    workload("farhost", [], {
      ...REMOTE,
      networkGateway: host("ew.svc", 15009),
      ...backs({ "remote-host": [[80, 80]] }),
    }),
    workload("farhostwl", [], {
      ...REMOTE,
      networkGateway: host("gw-workload", 15009),
      ...backs({ "remote-hostwl": [[80, 80]] }),
    }),
    workload("farhostno", [], {
      ...REMOTE,
      networkGateway: host("nobody.svc", 15009),
      ...backs({ "remote-nogwhost": [[80, 80]] }),
    }),
    workload("faripno", [], {
      ...REMOTE,
      networkGateway: at("10.5.88.88", 15009, AWAY),
      ...backs({ "remote-nogwip": [[80, 80]] }),
    }),
    workload("faraddr", ["10.5.0.30"], { network: AWAY, ...backs({ "remote-nogw": [[80, 80]] }) }),
    workload("farnone", [], { ...REMOTE, ...backs({ "remote-none": [[80, 80]] }) }),
    workload("farwp", ["10.5.0.31"], {
      network: AWAY,
      serviceAccount: "far",
      networkGateway: at("10.5.0.4", 15009, AWAY),
      ...backs({ farwp: [[15008, 15008]] }),
    }),
    ["NetworkGateway/network2/10.5.0.4/15009", {
      workload: {
        uid: "NetworkGateway/network2/10.5.0.4/15009",
        name: "gw",
        namespace: "ns",
        serviceAccount: "gw",
        addresses: [ip("10.5.0.4")],
        network: AWAY,
        tunnelProtocol: "HBONE",
        hostname: "gw-workload",
        services: { "ns/ew.svc": { ports: ports([15009, 15009]) } },
      },
    }],
    service("ew", [], { ports: ports([15009, 15009]) }),
    service("own", ["10.5.10.100"], {
      ports: ports([80, 8080], [81, 8081], [82, 0], [83, 15001], [84, 8080]),
    }),
    service("own-named", ["10.5.10.101"], { ports: ports([80, 0], [85, 0]) }),
    service("hbone", ["10.5.10.2"]),
    service("target", ["10.5.10.60"], { ports: ports([80, 8080]) }),
    service("nomap", ["10.5.10.61"]),
    service("tcp", ["10.5.10.3", "fd05::3"]),
    service("named", ["10.5.10.4"], { ports: ports([80, 0]) }),
    service("none", ["10.5.10.6"]),
    service("wp", ["10.5.10.5"], {
      ports: ports([15008, 15008]),
      subjectAltNames: [sa("wp-san"), "junk"],
    }),
    service("wpt", ["10.5.10.7"], { ports: [] }),
    service("wpn", ["10.5.10.59"], { ports: [] }),
    service("farwp", ["10.5.10.58"], {
      ports: ports([15008, 15008]),
      subjectAltNames: [sa("far")],
    }),
    service("wpnone", ["10.5.10.57"], { ports: ports([15008, 15008]) }),
    service("s-wp", ["10.5.10.11"], { waypoint: at("10.5.0.5") }),
    service("s-wph", ["10.5.10.12"], { waypoint: host("wp.svc") }),
    service("s-wpvip", ["10.5.10.13"], { waypoint: at("10.5.10.5") }),
    service("s-wpt", ["10.5.10.14"], { waypoint: host("wpt.svc") }),
    service("s-wptvip", ["10.5.10.62"], { waypoint: at("10.5.10.7") }),
    service("s-wpn", ["10.5.10.63"], { waypoint: host("wpn.svc") }),
    service("s-wp-missing", ["10.5.10.15"], { waypoint: host("nobody.svc") }),
    service("s-wp-missing-ip", ["10.5.10.16"], { waypoint: at("10.5.99.99") }),
    service("s-wp-other-ns", ["10.5.10.17"], {
      waypoint: { hostname: { namespace: "elsewhere", hostname: "wp.svc" }, hboneMtlsPort: 15008 },
    }),
    service("s-wp-none", ["10.5.10.18"], { waypoint: host("wpnone.svc") }),
    service("s-wp-wl", ["10.5.10.19"], { waypoint: host("wp-workload") }),
    service("s-wp-far", ["10.5.10.20"], { waypoint: host("farwp.svc") }),
    service("s-wp-farip", ["10.5.10.64"], { waypoint: at("10.5.0.31", 15008, AWAY) }),
    service("s-wp-net", ["10.5.10.65"], { waypoint: at("10.5.0.5", 15008, "") }),
    service("remote", ["10.5.10.21"], { subjectAltNames: [sa("far")] }),
    service("remote-nosan", ["10.5.10.22"]),
    service("remote401", ["10.5.10.23"], { subjectAltNames: [sa("far")] }),
    service("remote503", ["10.5.10.24"], { subjectAltNames: [sa("far")] }),
    service("remoteclosed", ["10.5.10.25"], { subjectAltNames: [sa("far")] }),
    service("remote-host", ["10.5.10.26"], { subjectAltNames: [sa("far")] }),
    service("remote-hostwl", ["10.5.10.27"], { subjectAltNames: [sa("far")] }),
    service("remote-nogwhost", ["10.5.10.28"]),
    service("remote-nogwip", ["10.5.10.29"]),
    service("remote-nogw", ["10.5.10.30"]),
    service("remote-none", ["10.5.10.31"]),
    service("failover", ["10.5.10.32"], {
      ...prefer("FAILOVER", "NETWORK"),
      subjectAltNames: [sa("far")],
    }),
    service("strict", ["10.5.10.33"], prefer("STRICT", "REGION", "ZONE")),
    service("pass", ["10.5.0.18"], prefer("PASSTHROUGH")),
    service("passwp", ["10.5.10.34"], { ...prefer("PASSTHROUGH"), waypoint: at("10.5.0.5") }),
    service("vis", ["10.5.0.19"], { namespace: "far-ns", visibility: "NAMESPACE" }),
    service("cidr", [], {
      addresses: [{ network: HERE, address: ip("10.5.20.0"), length: 24 }],
    }),
    service("shared", ["10.5.10.35"], { namespace: "b" }),
    service("shared", ["10.5.10.35"], { namespace: "z", canonical: true }),
    service("shared2", ["10.5.10.36"], { namespace: "z" }),
    service("vip-a", ["10.5.10.37"]),
    service("vip-b", ["10.5.10.37"]),
    service("hostnet", ["10.5.10.38"]),
    service("noip", ["10.5.10.39"]),
    service("noipgw", ["10.5.10.66"]),
    service("dns", ["10.5.10.40"]),
    service("dnsfail", ["10.5.10.41"]),
    service("cap0", ["10.5.10.42"]),
    service("sick", ["10.5.10.43"]),
    service("sickall", ["10.5.10.44"], {
      loadBalancing: { routingPreference: [], healthPolicy: "ALLOW_ALL" },
    }),
    service("epwp", ["10.5.10.45"]),
    service("weighted", ["10.5.10.46"], {
      waypoint: host("nobody.svc"),
      weightedWaypoints: [{ destination: host("nobody.svc"), weight: 0 }, {
        destination: host("wp.svc"),
        weight: 5,
      }],
    }),
    service("weighted0", ["10.5.10.47"], {
      waypoint: host("wp.svc"),
      weightedWaypoints: [{ destination: host("nobody.svc"), weight: 0 }],
    }),
    service("weightedno", ["10.5.10.48"], {
      waypoint: host("wp.svc"),
      weightedWaypoints: [{ destination: host("nobody.svc"), weight: 1 }],
    }),
    service("v4only", ["10.5.10.49", "fd05::49"], { ipFamilies: "IPV4_ONLY" }),
    service("v6only", ["10.5.10.50", "fd05::50"], { ipFamilies: "IPV6_ONLY" }),
    service("dualsvc", ["10.5.10.51", "fd05::51"], { ipFamilies: "DUAL" }),
    service("closed", ["10.5.10.52"]),
    service("wrong", ["10.5.10.53"]),
    service("san", ["10.5.10.54"], { subjectAltNames: [sa("other"), "junk", "spiffe://x"] }),
    service("mixed", ["10.5.10.55"], {
      ...prefer("FAILOVER", "NETWORK", "REGION"),
      subjectAltNames: [sa("far")],
    }),
  ],
};

/** What is dialled, in this order, and once each. */
export const DIALS: readonly (readonly [string, number, string])[] = [
  ["10.5.0.201", 80, "unknown"],
  ["10.5.0.200", 80, "unknown and closed"],
  ["10.5.0.2", 80, "HBONE workload"],
  ["10.5.0.2", 8080, "HBONE workload again: the pool"],
  ["10.5.0.3", 80, "TCP workload"],
  ["10.5.0.7", 80, "HBONE workload, closed"],
  ["10.5.0.8", 80, "503"],
  ["10.5.0.9", 80, "401"],
  ["10.5.0.10", 80, "201"],
  ["10.5.0.6", 80, "wrong identity"],
  ["10.5.0.12", 80, "workload with waypoint by address"],
  ["10.5.0.13", 80, "TCP workload with waypoint by host name"],
  ["10.5.0.20", 80, "workload waypoint missing, host"],
  ["10.5.0.21", 80, "workload waypoint missing, ip"],
  ["10.5.0.22", 80, "workload waypoint that is a workload by name"],
  ["fd05::24", 80, "dual stack with v4 waypoint"],
  ["10.5.0.14", 80, "dual TCP v4"],
  ["fd05::14", 80, "dual TCP v6"],
  ["fd05::15", 80, "dual HBONE v6"],
  ["10.5.0.16", 80, "host network by address"],
  ["10.5.10.38", 80, "host network by service"],
  ["10.5.10.2", 80, "service HBONE"],
  ["10.5.10.60", 80, "endpoint's own port"],
  ["10.5.10.61", 80, "endpoint maps nothing: the service's target"],
  ["10.5.10.2", 81, "service port that is not there"],
  ["10.5.10.3", 80, "service TCP"],
  ["fd05::3", 80, "service TCP by its v6 VIP"],
  ["10.5.10.4", 80, "named port"],
  ["10.5.10.6", 80, "no endpoints"],
  ["10.5.10.5", 15008, "the waypoint's own VIP"],
  ["10.5.10.11", 80, "service waypoint by address"],
  ["10.5.10.11", 81, "service waypoint, a port that is not in the service"],
  ["10.5.10.12", 80, "service waypoint by host"],
  ["10.5.10.13", 80, "service waypoint by VIP"],
  ["10.5.10.14", 80, "service waypoint with app tunnel and no ports"],
  ["10.5.10.62", 80, "the same by its VIP"],
  ["10.5.10.63", 80, "waypoint service without ports and without tunnel"],
  ["10.5.10.15", 80, "service waypoint missing, host"],
  ["10.5.10.16", 80, "service waypoint missing, ip"],
  ["10.5.10.17", 80, "service waypoint missing, namespace"],
  ["10.5.10.18", 80, "waypoint without endpoints"],
  ["10.5.10.19", 80, "waypoint that is a workload by name"],
  ["10.5.10.20", 80, "waypoint on another network"],
  ["10.5.10.64", 80, "waypoint on another network by address"],
  ["10.5.10.65", 80, "waypoint reference without network"],
  ["10.5.10.21", 80, "double HBONE"],
  ["10.5.10.21", 80, "double HBONE again: the pool"],
  ["10.5.10.22", 80, "double HBONE without SANs"],
  ["10.5.10.23", 80, "double HBONE, inner 401"],
  ["10.5.10.24", 80, "double HBONE, outer 503"],
  ["10.5.10.25", 80, "double HBONE, gateway closed"],
  ["10.5.10.26", 80, "gateway by service host name"],
  ["10.5.10.27", 80, "gateway by workload host name"],
  ["10.5.10.28", 80, "gateway host missing"],
  ["10.5.10.29", 80, "gateway ip missing"],
  ["10.5.10.30", 80, "remote with address and no gateway"],
  ["10.5.10.31", 80, "remote with nothing"],
  ["10.5.0.30", 80, "remote workload's address from here"],
  ["10.5.10.32", 80, "failover: local first"],
  ["10.5.10.55", 80, "failover over two scopes"],
  ["10.5.10.33", 80, "strict matches nothing"],
  ["10.5.0.18", 80, "passthrough"],
  ["10.5.0.18", 1234, "passthrough, port that is not in the service"],
  ["10.5.10.34", 80, "passthrough with waypoint"],
  ["10.5.0.19", 80, "invisible service"],
  ["10.5.20.77", 80, "CIDR service"],
  ["10.5.10.35", 80, "VIP shared: the canonical one"],
  ["10.5.10.36", 80, "service of another namespace"],
  ["10.5.10.37", 80, "VIP shared in one namespace"],
  ["10.5.10.39", 80, "endpoint without address"],
  ["10.5.10.66", 80, "endpoint without address, with gateway, here"],
  ["10.5.10.40", 80, "endpoint by name"],
  ["10.5.10.41", 80, "endpoint by name, no such name"],
  ["10.5.10.42", 80, "capacity 0"],
  ["10.5.10.43", 80, "unhealthy"],
  ["10.5.10.44", 80, "unhealthy, all allowed"],
  ["10.5.10.45", 80, "endpoint with a waypoint of its own"],
  ["10.5.10.46", 80, "weighted waypoint"],
  ["10.5.10.47", 80, "weights all zero"],
  ["10.5.10.48", 80, "drawn waypoint is missing"],
  ["10.5.10.49", 80, "IPv4 only, v4 VIP"],
  ["fd05::49", 80, "IPv4 only, v6 VIP"],
  ["10.5.10.50", 80, "IPv6 only, v4 VIP"],
  ["fd05::50", 80, "IPv6 only, v6 VIP"],
  ["10.5.10.51", 80, "dual, v4 VIP"],
  ["fd05::51", 80, "dual, v6 VIP"],
  ["10.5.10.52", 80, "endpoint closed"],
  ["10.5.10.53", 80, "endpoint of another identity"],
  ["10.5.10.54", 80, "endpoint of another identity, which the service names"],
  ["127.0.0.1", 15001, "loop guard"],
  ["127.0.0.1", 15080, "loop guard, SOCKS5"],
  ["127.0.0.1", 15000, "not internal"],
  [POD_IP, 8080, "own address"],
  [POD_IP, 15006, "own address, internal port"],
  ["10.5.10.100", 80, "own service"],
  ["hbone.svc", 80, "SOCKS5 by service name"],
  ["nobody.svc", 80, "SOCKS5 by unknown name"],
];
