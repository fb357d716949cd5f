// What goes between control plane and proxy, octet by octet: the samples of spec/xds-state-and-dns §1.13 and §2.4 by the
// product, and whatever values by an encoder that shares nothing with it.
import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { Policy } from "../../src/rbac/policy.ts";
import type { Service, Workload } from "../../src/state/resources.ts";
import { decodeAddress, decodeAuthorization } from "../../src/xds/convert.ts";
import { encodeDeltaRequest } from "../../src/xds/delta_request.ts";
import { DeltaResponseReader } from "../../src/xds/delta_response.ts";
import { nodeIdentity } from "../../src/xds/node_identity.ts";
import { AUTHORIZATION_TYPE } from "../../src/xds/types.ts";
import { anyPolicy, anyService, anyWorkload } from "../support/mesh_values.ts";
import {
  encodePolicy,
  encodeService,
  encodeWorkload,
  serviceFields,
  workloadFields,
} from "../support/xds_resources.ts";
import { RESOURCE_SAMPLES, STREAM_SAMPLES, ZERO_CAPACITY_SAMPLE } from "../support/xds_samples.ts";
import { XDS_PROTOBUF } from "../support/xds_schema.ts";

const NODE = nodeIdentity({
  instanceIp: "1.1.1.1",
  podName: "p",
  podNamespace: "n",
  nodeName: "n1",
  metadata: new Map(),
  jsonMetadata: new Map(),
});

Deno.test.each([
  { sample: STREAM_SAMPLES.ack, request: { typeUrl: AUTHORIZATION_TYPE, nonce: "n1" } },
  {
    sample: STREAM_SAMPLES.nack,
    request: { typeUrl: AUTHORIZATION_TYPE, nonce: "n1", errorMessage: "bad: x" },
  },
  {
    sample: STREAM_SAMPLES.initial,
    request: {
      node: { id: NODE.id, metadata: { fields: { NODE_NAME: { stringValue: "n1" } } } },
      typeUrl: "t",
      subscribe: ["*"],
      unsubscribe: ["*"],
      initialVersions: new Map([["foo0", "0.0.1"]]),
    },
  },
])("encodeDeltaRequest() writes the octets of $sample.what", ({ sample, request }) => {
  assertEquals(encodeDeltaRequest(request).toHex(), sample.hex);
});

Deno.test("DeltaResponseReader reads the response that is given as octets", () => {
  const reader = new DeltaResponseReader(Uint8Array.fromHex(STREAM_SAMPLES.response.hex));
  assertEquals(reader.read(100), true);
  const [resource] = reader.resources;
  assertEquals([reader.typeUrl, reader.nonce, reader.removed], ["t", "n1", ["ns/h"]]);
  assertEquals(
    [resource!.name, resource!.version, resource!.aliases, resource!.payload],
    ["c//Pod/ns/p", "ab", ["/10.0.0.1"], new Uint8Array([1])],
  );
});

Deno.test("the proxy's first requests are read by a decoder of another making", () => {
  const json: unknown = JSON.parse('{"app":"foo","n":1,"l":[true,null]}');
  const node = nodeIdentity({
    instanceIp: "10.1.2.3",
    podName: "zt-1",
    podNamespace: "istio-system",
    nodeName: "n1",
    metadata: new Map([["CLUSTER_ID", "c1"]]),
    jsonMetadata: new Map([["LABELS", json]]),
  });
  const initialVersions = new Map([["ns/p", ""], ["c//Pod/ns/a", "0a"], ["__proto__", "1"]]);
  const bytes = encodeDeltaRequest({ typeUrl: AUTHORIZATION_TYPE, node, initialVersions });
  const { initialVersions: versions, ...rest } = XDS_PROTOBUF.decode(
    "DeltaDiscoveryRequest",
    bytes,
  );
  assertEquals(Object.entries(versions as Record<string, string>), [...initialVersions]);
  const text = (string: string) => ({ string });
  assertEquals(rest, {
    typeUrl: AUTHORIZATION_TYPE,
    subscribe: [],
    unsubscribe: [],
    node: {
      id: "ztunnel~10.1.2.3~zt-1.istio-system~istio-system.svc.cluster.local",
      metadata: {
        fields: {
          NAME: text("zt-1"),
          NAMESPACE: text("istio-system"),
          INSTANCE_IPS: text("10.1.2.3"),
          NODE_NAME: text("n1"),
          CLUSTER_ID: text("c1"),
          LABELS: {
            struct: {
              fields: {
                app: text("foo"),
                n: { number: 1 },
                l: { list: { values: [{ bool: true }, { null: "NULL_VALUE" }] } },
              },
            },
          },
        },
      },
    },
  });
});

/** The values of a mesh file that a message means: what it leaves out is filled in (§2.2). */
function asReceived(workload: Workload): Workload {
  return {
    ...workload,
    trustDomain: workload.trustDomain || "cluster.local",
    serviceAccount: workload.serviceAccount || "default",
    clusterId: workload.clusterId || "Kubernetes",
    workloadType: workload.workloadType || "deployment",
  };
}

function decodedWorkload(payload: Uint8Array): Workload {
  const decoded = decodeAddress(payload);
  if (decoded.kind !== "workload") throw new Error("Decoded as a service");
  return decoded.workload;
}

function decodedService(payload: Uint8Array): Service {
  const decoded = decodeAddress(payload);
  if (decoded.kind !== "service") throw new Error("Decoded as a workload");
  return decoded.service;
}

Deno.test("decodeAddress() gives back every workload that is encoded by tables of the spec", () => {
  fc.assert(fc.property(anyWorkload, (workload) => {
    assertEquals(decodedWorkload(encodeWorkload(workload)), asReceived(workload));
  }));
});

Deno.test("decodeAddress() gives back every service that is encoded by tables of the spec", () => {
  fc.assert(fc.property(anyService, (service) => {
    assertEquals(decodedService(encodeService(service)), service);
  }));
});

Deno.test("decodeAuthorization() gives back every policy that is encoded by tables of the spec", () => {
  fc.assert(fc.property(anyPolicy, (policy: Policy) => {
    assertEquals(decodeAuthorization(encodePolicy(policy)), policy);
  }));
});

Deno.test("decodeAddress() reads the workload that is given as octets", () => {
  const workload = decodedWorkload(Uint8Array.fromHex(RESOURCE_SAMPLES.workload.hex));
  const { uid, name, namespace, ips, protocol, services, capacity } = workload;
  assertEquals({ uid, name, namespace, ips, protocol, services, capacity }, {
    uid: "c//Pod/ns/p",
    name: "p",
    namespace: "ns",
    ips: ["10.0.0.1"],
    protocol: "HBONE",
    services: new Map([["ns/h", new Map([[80, 8080]])]]),
    capacity: 3,
  });
  assertEquals(encodeWorkload(workload).toHex(), encodeWorkload(asReceived(workload)).toHex());
});

Deno.test("decodeAddress() tells a capacity of 0 from none", () => {
  assertEquals(decodedWorkload(Uint8Array.fromHex(ZERO_CAPACITY_SAMPLE.hex)).capacity, 0);
  const none = XDS_PROTOBUF.encode("Address", { workload: { uid: "u" } });
  assertEquals(decodedWorkload(none).capacity, 1);
});

Deno.test("decodeAddress() reads the service that is given as octets, which encodes to the same", () => {
  const service = decodedService(Uint8Array.fromHex(RESOURCE_SAMPLES.service.hex));
  assertEquals(service, {
    name: "s",
    namespace: "ns",
    hostname: "h",
    vips: [{ network: "", ip: "10.1.0.1" }],
    cidrVips: [{ network: "n", cidr: { ip: "10.0.0.0", prefixBits: 24 } }],
    ports: new Map(),
    endpoints: [],
    subjectAltNames: [],
    waypoint: { kind: "hostname", namespace: "ns", hostname: "wp", port: 15_008 },
    weightedWaypoints: [],
    loadBalancer: {
      routingPreferences: ["Network", "Region", "Zone"],
      mode: "Failover",
      healthPolicy: "OnlyHealthy",
    },
    ipFamilies: null,
    canonical: true,
    visibility: "Namespace",
  });
});

Deno.test("decodeAuthorization() reads the policy that is given as octets, which encodes to the same", () => {
  const { hex } = RESOURCE_SAMPLES.authorization;
  const policy = decodeAuthorization(Uint8Array.fromHex(hex));
  assertEquals(encodePolicy(policy).toHex(), hex);
  assertEquals([policy.scope, policy.action, policy.dryRun], ["WorkloadSelector", "Deny", false]);
  const [match] = policy.rules[0]![0]!;
  assertEquals(match!.notPrincipals, [{ kind: "presence" }]);
  assertEquals(match!.destinationPorts, [80, 443]);
});

Deno.test("decodeAuthorization() reads the match that is given as octets", () => {
  const match = Uint8Array.fromHex(RESOURCE_SAMPLES.match.hex);
  const clause = XDS_PROTOBUF.encode("Clause", { matches: [XDS_PROTOBUF.decode("Match", match)] });
  const rule = XDS_PROTOBUF.encode("Rule", { clauses: [XDS_PROTOBUF.decode("Clause", clause)] });
  const policy = XDS_PROTOBUF.encode("Authorization", {
    name: "p",
    rules: [XDS_PROTOBUF.decode("Rule", rule)],
  });
  const [read] = decodeAuthorization(policy).rules[0]![0]!;
  assertEquals(read!.sourceIps, [{ ip: "10.0.0.0", prefixBits: 8 }]);
  assertEquals(read!.serviceAccounts, [{ namespace: "n", serviceAccount: "s" }]);
});

const [WORKLOAD] = fc.sample(anyWorkload, { numRuns: 1, seed: 5 });
const [SERVICE] = fc.sample(anyService, { numRuns: 1, seed: 5 });
const workloadBut = (fields: object) =>
  XDS_PROTOBUF.encode("Address", { workload: { ...workloadFields(WORKLOAD!), ...fields } });
const serviceBut = (fields: object) =>
  XDS_PROTOBUF.encode("Address", { service: { ...serviceFields(SERVICE!), ...fields } });
const badIp = { network: "", address: new Uint8Array(5) };
const unknownEnum = (number: number) => `decode error: unknown enumeration value ${number}`;

Deno.test.each([
  { what: "an empty address", payload: new Uint8Array(), text: "unknown address type" },
  {
    what: "a workload's IP of 3 octets",
    payload: workloadBut({ addresses: [new Uint8Array(3)] }),
    text: "failed to parse address, had 3 bytes",
  },
  {
    what: "a VIP of 5 octets",
    payload: serviceBut({ addresses: [badIp] }),
    text: "failed to parse address, had 5 bytes",
  },
  {
    what: "a gateway's IP of 5 octets",
    payload: workloadBut({ networkGateway: { address: badIp } }),
    text: "failed to parse address, had 5 bytes",
  },
  {
    what: "a waypoint without destination",
    payload: workloadBut({ waypoint: { hboneMtlsPort: 15_008 } }),
    text: "nonempty gateway address is missing address",
  },
  {
    what: "a weighted waypoint without destination",
    payload: serviceBut({ weightedWaypoints: [{ weight: 1 }] }),
    text: "nonempty gateway address is missing address",
  },
  {
    what: "a service key without a slash",
    payload: workloadBut({ services: { svc: {} } }),
    text: "failed to parse namespaced hostname: svc",
  },
  {
    what: "sidecars' tunnels",
    payload: workloadBut({ tunnelProtocol: "LEGACY_ISTIO_MTLS" }),
    text: "unknown enum: unsupported tunnel protocol: legacy istio mtls",
  },
  {
    what: "an unspecified scope",
    payload: serviceBut({ loadBalancing: { routingPreference: [0] } }),
    text: "unknown enum: invalid target",
  },
  { what: "tunnel_protocol 9", payload: workloadBut({ tunnelProtocol: 9 }), text: unknownEnum(9) },
  { what: "network_mode 8", payload: workloadBut({ networkMode: 8 }), text: unknownEnum(8) },
  { what: "status 7", payload: workloadBut({ status: 7 }), text: unknownEnum(7) },
  {
    what: "application_tunnel.protocol 6",
    payload: workloadBut({ applicationTunnel: { protocol: 6 } }),
    text: unknownEnum(6),
  },
  { what: "ip_families 5", payload: serviceBut({ ipFamilies: 5 }), text: unknownEnum(5) },
  {
    what: "routing_preference 77",
    payload: serviceBut({ loadBalancing: { routingPreference: [1, 77] } }),
    text: unknownEnum(77),
  },
  {
    what: "mode 4",
    payload: serviceBut({ loadBalancing: { mode: 4 } }),
    text: unknownEnum(4),
  },
  {
    what: "health_policy 3",
    payload: serviceBut({ loadBalancing: { healthPolicy: 3 } }),
    text: unknownEnum(3),
  },
])("decodeAddress() refuses $what", ({ payload, text }) => {
  assertEquals(assertThrows(() => decodeAddress(payload), Error).message, text);
});

Deno.test.each([
  { what: "scope", field: { scope: 3 }, number: 3 },
  { what: "action", field: { action: 2 }, number: 2 },
])("decodeAuthorization() refuses an unknown $what", ({ field, number }) => {
  const payload = XDS_PROTOBUF.encode("Authorization", { name: "p", namespace: "ns", ...field });
  const error = assertThrows(() => decodeAuthorization(payload), Error);
  assertEquals(error.message, unknownEnum(number));
});

Deno.test("decodeAddress() takes numbers of enums that cost nothing", () => {
  assertEquals(decodedService(serviceBut({ visibility: 7 })).visibility, "Public");
  assertEquals(decodedWorkload(workloadBut({ workloadType: 44 })).workloadType, "deployment");
});
