// A service of another network by the real Router, both sides, on the memory network (spec/data-path §2.4 rows 7, 10, 11).
import { assertEquals } from "@std/assert";
import type { DataPlane } from "../../src/dataplane.ts";
import { MeshState } from "../../src/state/mesh_state.ts";
import { parseMeshFile } from "../../src/state/mesh_file.ts";
import { StateRouter } from "../../src/state/state_router.ts";
import {
  CLIENT,
  CLIENT_IP,
  DataPlaneWorld,
  identityOf,
  SERVER,
  SERVER_IP,
} from "../support/data_plane_world.ts";
import { GatewayPeer } from "../support/gateway_peer.ts";

const GATEWAY_IP = "10.22.1.1";
const GATEWAY = { namespace: "istio-system", name: "gateway", serviceAccount: "gateway" };
const VIP = { ip: "10.96.0.3", port: 80 };
const AUTHORITY = "example.com:80";
const INTERNAL_PORTS: ReadonlySet<number> = new Set([15001, 15006, 15008, 15080]);

interface MeshOptions {
  readonly gateway?: boolean;
  /** What the client's network knows of the server's address. */
  readonly farIp?: string | null;
}

/** What a proxy of `network` is told: of the other network's workloads only that they are behind the gateway. */
function meshOf(network: "home" | "far", { gateway = true, farIp = null }: MeshOptions) {
  const workload = (local: typeof CLIENT, ip: string | null, where: string, more: object = {}) => ({
    uid: `c//Pod/${local.namespace}/${local.name}`,
    name: local.name,
    namespace: local.namespace,
    serviceAccount: local.serviceAccount,
    trustDomain: "cluster.local",
    workloadName: local.name,
    workloadType: "deployment",
    canonicalName: local.name,
    clusterId: where,
    network: where,
    workloadIps: ip === null ? [] : [ip],
    protocol: "HBONE",
    services: {},
    ...more,
  });
  const toGateway = {
    networkGateway: { destination: `far/${GATEWAY_IP}`, hboneMtlsPort: 15009 },
  };
  const endpoint = { "default/example.com": { 80: 8080 } };
  const far = network === "home"
    ? workload(SERVER, farIp, "far", { ...gateway ? toGateway : {}, services: endpoint })
    : workload(SERVER, SERVER_IP, "far", { services: endpoint });
  return new MeshState(parseMeshFile(
    JSON.stringify({
      workloads: [
        workload(CLIENT, CLIENT_IP, "home"),
        far,
        workload(GATEWAY, GATEWAY_IP, "far"),
      ],
      services: [{
        name: "example",
        namespace: "default",
        hostname: "example.com",
        vips: [`home/${VIP.ip}`, `far/${VIP.ip}`],
        ports: { 80: 8080 },
        subjectAltNames: [identityOf(SERVER).uri],
      }],
      policies: [],
    }),
    { source: "test" },
  ));
}

async function twoNetworks(options: MeshOptions = {}) {
  const world = await DataPlaneWorld.create({
    workloads: [
      { ...CLIENT, ip: CLIENT_IP },
      { ...SERVER, ip: SERVER_IP },
      { ...GATEWAY, ip: GATEWAY_IP },
    ],
  });
  for (const ip of [CLIENT_IP, SERVER_IP, GATEWAY_IP]) world.network(ip);
  const routerOf = (network: "home" | "far") =>
    new StateRouter({
      state: meshOf(network, options),
      settings: {
        network,
        hbonePort: 15008,
        nodeName: null,
        clusterDomain: "cluster.local",
        internalPorts: INTERNAL_PORTS,
      },
      clock: world.clock,
      log: () => {},
    });
  const client = world.client({
    router: routerOf("home"),
    settings: { network: "home", internalPorts: INTERNAL_PORTS },
  });
  const server = world.server({
    router: routerOf("far"),
    settings: { network: "far", internalPorts: INTERNAL_PORTS },
  });
  const gateway = new GatewayPeer({
    network: world.network(GATEWAY_IP),
    clock: world.clock,
    certificates: world.sources.get(GATEWAY.name)!,
    address: { ip: GATEWAY_IP, port: 15009 },
    targets: new Map([[AUTHORITY, { ip: SERVER_IP, port: 15008 }]]),
  });
  world.clock.runUntilIdle();
  return { world, client, server, gateway };
}

function streamsOf(plane: DataPlane): number {
  return plane.statsNow().streams;
}

Deno.test("a service of another network is reached through its gateway, and both logs say who is who", async () => {
  const { world, client, server, gateway } = await twoNetworks();
  const app = world.app({ ip: SERVER_IP, port: 8080 });
  for (const text of ["hello", "again"]) {
    const user = world.captured(VIP);
    user.send(text);
    world.drive(() => user.text === text || user.closed);
    assertEquals([client.events.refusals, server.events.refusals, user.text], [[], [], text]);
    user.channel.endWrite();
    world.drive(() => user.closed);
  }
  world.clock.advance(10);
  assertEquals([app.conversations.length, gateway.connections.length, gateway.requests.length], [
    2,
    1,
    2,
  ]);
  assertEquals([...client.events.ends, ...server.events.ends], Array(4).fill("-: ok"));
  const out = client.events.openedRecords[0]!.facts;
  assertEquals([out.protocol, out.hboneAuthority, out.destinationAddress], [
    "DOUBLEHBONE",
    AUTHORITY,
    { ip: GATEWAY_IP, port: 15009 },
  ]);
  assertEquals([out.service!.hostname, out.destinationBaggage!.clusterId], ["example.com", "far"]);
  assertEquals(out.destinationIdentity!.uri, identityOf(SERVER).uri);
  const into = server.events.openedRecords[0]!.facts;
  assertEquals([into.source, into.sourceBaggage!.clusterId], [null, "home"]);
  assertEquals([into.service!.hostname, into.hboneAuthority], ["example.com", AUTHORITY]);
  assertEquals([streamsOf(client.plane), gateway.spliced], [0, 0]);
  gateway.close();
  world.dispose();
});

Deno.test.each([
  {
    name: "whose address is known (row 11)",
    farIp: SERVER_IP,
    refusal: "no valid routing destination for workload: Workload{server with uid " +
      "c//Pod/default/server (HBONE)}",
  },
  {
    name: "that has no address (L3)",
    farIp: null,
    refusal: `no healthy upstream: ${VIP.ip}:${VIP.port}`,
  },
])(
  "a workload of another network $name is refused without a gateway, and nothing opened",
  async ({ farIp, refusal }) => {
    const { world, client, gateway } = await twoNetworks({ gateway: false, farIp });
    const user = world.captured(VIP);
    world.drive(() => user.closed);
    assertEquals([client.events.openedRecords.length, client.events.refusals], [0, [refusal]]);
    gateway.close();
    world.dispose();
  },
);
