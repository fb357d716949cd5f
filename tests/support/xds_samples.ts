// The byte samples of spec/xds-state-and-dns §1.13 and §2.4, checked with protoc, and what they say.
import type { Fields } from "./protobuf.ts";

export interface XdsSample {
  readonly what: string;
  readonly message: string;
  readonly fields: Fields;
  readonly hex: string;
}

const AUTHORIZATION = "type.googleapis.com/istio.security.Authorization";
const ACK =
  "1230747970652e676f6f676c65617069732e636f6d2f697374696f2e73656375726974792e417574686f72697a6174696f6e32026e31";

/** §1.13: what goes over a stream. */
export const STREAM_SAMPLES = {
  ack: {
    what: "an ACK",
    message: "DeltaDiscoveryRequest",
    fields: { typeUrl: AUTHORIZATION, nonce: "n1" },
    hex: ACK,
  },
  nack: {
    what: "a NACK",
    message: "DeltaDiscoveryRequest",
    fields: { typeUrl: AUTHORIZATION, nonce: "n1", error: { message: "bad: x" } },
    hex: `${ACK}3a0812066261643a2078`,
  },
  initial: {
    what: "an initial request",
    message: "DeltaDiscoveryRequest",
    fields: {
      node: {
        id: "ztunnel~1.1.1.1~p.n~n.svc.cluster.local",
        metadata: { fields: { NODE_NAME: { string: "n1" } } },
      },
      typeUrl: "t",
      subscribe: ["*"],
      unsubscribe: ["*"],
      initialVersions: { foo0: "0.0.1" },
    },
    hex: "0a3e0a277a74756e6e656c7e312e312e312e317e702e6e7e6e2e7376632e636c75737465722e6c6f63616c" +
      "1a130a110a094e4f44455f4e414d4512041a026e311201741a012a22012a2a0d0a04666f6f301205302e302e31",
  },
  response: {
    what: "a response",
    message: "DeltaDiscoveryResponse",
    fields: {
      systemVersion: "v",
      resources: [{
        version: "ab",
        resource: { typeUrl: "t", value: new Uint8Array([1]) },
        name: "c//Pod/ns/p",
        aliases: ["/10.0.0.1"],
      }],
      typeUrl: "t",
      nonce: "n1",
      removed: ["ns/h"],
    },
    hex: "0a017612240a02616212060a01741201011a0b632f2f506f642f6e732f7022092f31302e302e302e31" +
      "2201742a026e3132046e732f68",
  },
} as const satisfies Record<string, XdsSample>;

/** §2.4: resources. */
export const RESOURCE_SAMPLES = {
  workload: {
    what: "a workload",
    message: "Address",
    fields: {
      workload: {
        name: "p",
        namespace: "ns",
        addresses: [new Uint8Array([10, 0, 0, 1])],
        tunnelProtocol: "HBONE",
        uid: "c//Pod/ns/p",
        services: { "ns/h": { ports: [{ servicePort: 80, targetPort: 8080 }] } },
        capacity: { value: 3 },
      },
    },
    hex: "0a340a017012026e731a040a0000012801a2010b632f2f506f642f6e732f70" +
      "b2010f0a046e732f6812070a05085010903fda01020803",
  },
  service: {
    what: "a service",
    message: "Address",
    fields: {
      service: {
        name: "s",
        namespace: "ns",
        hostname: "h",
        addresses: [
          { network: "n", address: new Uint8Array([10, 0, 0, 0]), length: 24 },
          { address: new Uint8Array([10, 1, 0, 1]) },
        ],
        waypoint: { hostname: { namespace: "ns", hostname: "wp" }, hboneMtlsPort: 15_008 },
        loadBalancing: { routingPreference: ["NETWORK", "REGION", "ZONE"], mode: "FAILOVER" },
        canonical: true,
        visibility: "NAMESPACE",
      },
    },
    hex: "123b0a017312026e731a0168220b0a016e12040a0000001818220612040a010001" +
      "3a0d0a080a026e731202777018a07542070a03060102100258017001",
  },
  authorization: {
    what: "a policy",
    message: "Authorization",
    fields: {
      name: "p",
      namespace: "ns",
      scope: "WORKLOAD_SELECTOR",
      action: "DENY",
      rules: [{
        clauses: [{
          matches: [{ notPrincipals: [{ presence: {} }], destinationPorts: [80, 443] }],
        }],
      }],
    },
    hex: "0a017012026e73180220012a0d0a0b1209220222004a0350bb03",
  },
  match: {
    what: "a match",
    message: "Match",
    fields: {
      sourceIps: [{ address: new Uint8Array([10, 0, 0, 0]), length: 8 }],
      serviceAccounts: [{ namespace: "n", serviceAccount: "s" }],
    },
    hex: "2a080a040a00000010085a060a016e120173",
  },
} as const satisfies Record<string, XdsSample>;

/** §2.4: a workload whose capacity is present, and 0. */
export const ZERO_CAPACITY_SAMPLE = {
  what: "a workload of capacity 0",
  message: "Address",
  fields: { workload: { uid: "u", capacity: {} } },
  hex: "0a07a2010175da0100",
} as const satisfies XdsSample;

export const XDS_SAMPLES: readonly XdsSample[] = [
  ...Object.values(STREAM_SAMPLES),
  ...Object.values(RESOURCE_SAMPLES),
  ZERO_CAPACITY_SAMPLE,
];

/** §1.13: the gRPC frame of {type_url `t`, nonce `n1`}. */
export const FRAME_SAMPLE_HEX = "000000000712017432026e31";
