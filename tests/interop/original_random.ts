// Meshes drawn at random, and dials to all that is in them: where each would go. Nobody answers there, so that the access
// line says all. A service has one endpoint at most, since which of two is drawn cannot be compared.
//   ORIGINAL_SEED=n draws the same again
import { SeededRandom } from "../../src/base/random.ts";
import type { Fields } from "../support/protobuf.ts";
import { ipBytes } from "../support/xds_resources.ts";
import { type Push, responseOf } from "../support/xds_pushes.ts";
import { dial, Peers, quiet } from "./original_peers.ts";
import { client } from "./original_routes.ts";
import { startSubject } from "./original_subject.ts";

const WORKLOADS = 40;
const SERVICES = 50;
const ROUNDS = 3;

type Named = readonly [string, Fields];

class Draw {
  readonly #random: SeededRandom;

  constructor(seed: number) {
    this.#random = new SeededRandom(seed);
  }

  below(limit: number): number {
    return this.#random.uint32() % limit;
  }

  of<Value>(values: readonly Value[]): Value {
    return values[this.below(values.length)]!;
  }

  /** One time in `times`. */
  once<Value>(times: number, value: Value): Value | undefined {
    return this.below(times) === 0 ? value : undefined;
  }
}

const NETWORKS = ["network1", "network1", "network1", "network2", ""];
const NAMESPACES = ["ns", "ns", "other"];
const SCOPES = ["NETWORK", "REGION", "ZONE", "SUBZONE", "NODE", "CLUSTER"];
const ipOf = (index: number) => `10.5.40.${index + 1}`;
const ip6Of = (index: number) => `fd05::40:${(index + 1).toString(16)}`;
/** Fewer VIPs than services: some share one. */
const vipOf = (index: number) => `10.5.41.${index % 40 + 1}`;

/** Without what is undefined. */
function defined(fields: Fields): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

function drawMesh(draw: Draw): { readonly workloads: Named[]; readonly services: Named[] } {
  const hostnames = Array.from({ length: SERVICES }, (_, index) => `s${index % 45}.svc`);
  const reference = () => ({
    hboneMtlsPort: draw.of([15008, 15008, 80, 15009]),
    ...draw.below(2) === 0
      ? {
        hostname: { namespace: draw.of(NAMESPACES), hostname: draw.of([...hostnames, "w3.name"]) },
      }
      : {
        address: {
          network: draw.of(NETWORKS),
          address: ipBytes(
            draw.below(2) === 0 ? ipOf(draw.below(WORKLOADS)) : vipOf(draw.below(40)),
          ),
        },
      },
  });
  // An endpoint that maps to port 0 is nobody's promise: the original dials it, ours does not choose it.
  const ports = (targets: readonly number[]) =>
    [80, 81, 15008].filter(() => draw.below(3) > 0)
      .map((servicePort) => ({ servicePort, targetPort: draw.of([...targets, servicePort]) }));
  const taken = new Set<string>();
  const workloads = Array.from({ length: WORKLOADS }, (_, index): Named => {
    const uid = `c//Pod/ns/w${index}`;
    const backed = Array.from({ length: draw.below(4) }, () => {
      const key = `${draw.of(NAMESPACES)}/${draw.of(hostnames)}`;
      if (taken.has(key)) return null;
      taken.add(key);
      return key;
    }).filter((key) => key !== null);
    const addresses = [ipOf(index), ip6Of(index)].filter(() => draw.below(4) > 0);
    return [uid, {
      workload: defined({
        uid,
        name: `w${index}`,
        namespace: draw.of(NAMESPACES),
        serviceAccount: `w${index}`,
        addresses: addresses.map(ipBytes),
        network: draw.of(NETWORKS),
        tunnelProtocol: draw.of(["HBONE", "NONE"]),
        waypoint: draw.once(4, reference()),
        networkGateway: draw.once(2, reference()),
        hostname: draw.once(8, `w${index}.name`),
        status: draw.of(["HEALTHY", "HEALTHY", "HEALTHY", "UNHEALTHY"]),
        networkMode: draw.of(["STANDARD", "STANDARD", "STANDARD", "HOST_NETWORK"]),
        capacity: draw.once(10, { value: 0 }),
        node: draw.of(["n1", "n2", ""]),
        clusterId: draw.of(["c1", "c2"]),
        locality: { region: draw.of(["r1", ""]), zone: draw.of(["z1", "z2", ""]) },
        applicationTunnel: draw.once(6, {
          protocol: draw.of(["PROXY", "NONE"]),
          port: draw.of([0, 99]),
        }),
        services: Object.fromEntries(backed.map((key) => [key, { ports: ports([8080, 8081]) }])),
      }),
    }];
  });
  const services = hostnames.map((hostname, index): Named => {
    const namespace = index < 45 ? draw.of(NAMESPACES) : "third";
    return [`${namespace}/${hostname}`, {
      service: defined({
        name: hostname,
        namespace,
        hostname,
        addresses: [
          { network: draw.of(NETWORKS), address: ipBytes(vipOf(index)) },
          ...draw.below(6) === 0
            ? [{
              network: draw.of(NETWORKS),
              address: ipBytes("10.5.41.0"),
              length: 24 + draw.below(6),
            }]
            : [],
        ],
        ports: ports([8080, 0]),
        subjectAltNames: draw.below(4) === 0 ? [`spiffe://cluster.local/ns/x/sa/${index}`] : [],
        waypoint: draw.once(3, reference()),
        weightedWaypoints: draw.below(8) === 0
          ? [{ destination: reference(), weight: draw.of([0, 1]) }]
          : [],
        loadBalancing: draw.once(2, {
          mode: draw.of(["UNSPECIFIED_MODE", "STRICT", "FAILOVER", "PASSTHROUGH"]),
          routingPreference: SCOPES.filter(() => draw.below(3) === 0),
          healthPolicy: draw.of(["ONLY_HEALTHY", "ALLOW_ALL"]),
        }),
        ipFamilies: draw.of(["AUTOMATIC", "IPV4_ONLY", "IPV6_ONLY", "DUAL"]),
        canonical: draw.below(3) === 0,
        visibility: draw.of(["PUBLIC", "PUBLIC", "NAMESPACE"]),
      }),
    }];
  });
  return { workloads, services };
}

export async function watchRandom(binary: string | null): Promise<unknown> {
  const seed = Number(Deno.env.get("ORIGINAL_SEED") ?? 1);
  await using _peers = await Peers.open();
  await using subject = await startSubject({
    binary,
    env: { NETWORK: "network1", NODE_NAME: "n1" },
    workload: "ns/client/client",
  });
  const { server } = subject;
  await server.settled();
  const push = async (set: readonly Named[], removed: readonly string[] = []) => {
    const before = server.heard.length;
    const message: Push = { what: "", type: "Address", set, removed };
    server.say(responseOf(message));
    await server.until(() => server.heard.length > before, "a reply");
    const { kind, request } = server.heard[before]!;
    if (kind !== "ack") throw new Error(request["error"].message);
  };
  const access = () => subject.lines.filter((line) => line.includes('"scope":"access"'));
  await push([client({ services: {} })]);
  const dials = [];
  for (let round = 0; round < ROUNDS; round++) {
    const { workloads, services } = drawMesh(new Draw(seed * 1_000 + round));
    // Endpoints that come after their service change its place among those that share its VIP, in the original.
    await push(workloads);
    await push(services);
    const targets = [
      ...Array.from({ length: 40 }, (_, index) => vipOf(index)),
      ...Array.from({ length: WORKLOADS }, (_, index) => ipOf(index)),
      ...Array.from({ length: 10 }, (_, index) => ip6Of(index * 4)),
      "10.5.41.63",
      "10.5.41.250",
    ];
    for (const target of targets) {
      for (const port of [80, 81]) {
        const lines = access().length;
        const ends = () =>
          access().slice(lines).filter((line) => !line.includes("connection opened")).length;
        await dial(target, port);
        await quiet(ends, 1);
        dials.push({
          what: `seed ${seed}, round ${round}, ${target} ${port}`,
          access: access().slice(lines).map((line) => JSON.parse(line)),
        });
      }
    }
    await push([], [...workloads, ...services].map(([name]) => name));
  }
  return { dials };
}
