// Resources and responses drawn at random: good ones from few names, so that they meet, and bad ones of every kind.
import { type Random, randomBelow } from "../../src/base/random.ts";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from "../../src/xds/types.ts";
import type { Fields } from "../support/protobuf.ts";
import { concat } from "../support/h2_raw.ts";
import { field } from "../support/protobuf_bytes.ts";
import { XDS_PROTOBUF } from "../support/xds_schema.ts";
import { mutate, randomBytes } from "./frame_sender.ts";

const NAMES = 40;
const HOSTS = 10;
const POLICIES = 12;
const ADDRESSES = 30;
/** Names that a program may trip over. */
const ODD_NAMES = [
  "__proto__",
  "constructor",
  "toString",
  "",
  "\x000",
  "a\nb: c; d",
  "\u202e\u2028",
  "x".repeat(3_000),
  "a/b/c/d",
  "/",
  "..",
  "%00",
  "𝒳".repeat(40),
];
const UNKNOWN_TYPES = ["", "x", "type.googleapis.com/istio.workload.Workload", "__proto__", "\n\n"];

export interface DrawnResource {
  readonly name: string;
  readonly version: string;
  readonly payload: Uint8Array | null;
}

/** Draws from one source of randomness. */
export class Drawer {
  readonly #random: Random;
  #nonces = 0;
  #versions = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  below(count: number): number {
    return randomBelow(this.#random, count);
  }

  /** True in `percent` of 100 cases. */
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }

  of<Item>(items: readonly Item[]): Item {
    return items[this.below(items.length)]!;
  }

  bytes(count: number): Uint8Array<ArrayBuffer> {
    return randomBytes(this.#random, count);
  }

  mutated(bytes: Uint8Array): Uint8Array {
    return bytes.length === 0 ? this.bytes(1) : mutate(this.#random, bytes);
  }

  /** A response, mostly readable, mostly good. */
  response(): Uint8Array {
    const message = this.#response();
    return this.chance(3) ? this.mutated(message) : message;
  }

  #response(): Uint8Array {
    const nonce = this.chance(5) ? this.of(["", "n", "\n"]) : `n${++this.#nonces}`;
    if (this.chance(4)) {
      const resources = this.chance(50) ? [this.#encode(this.workload())] : [];
      return responseOf({ typeUrl: this.of(UNKNOWN_TYPES), nonce, resources, removed: ["a"] });
    }
    const isAddress = this.chance(70);
    const typeUrl = isAddress ? ADDRESS_TYPE : AUTHORIZATION_TYPE;
    const resources: Uint8Array[] = [];
    const count = this.chance(10) ? 0 : this.chance(10) ? 60 : 1 + this.below(8);
    for (let left = count; left > 0; left--) {
      const drawn = isAddress ? this.chance(70) ? this.workload() : this.service() : this.policy();
      const spoilt = this.chance(8) ? this.#spoil(drawn) : drawn;
      const bytes = this.#encode(spoilt);
      resources.push(this.chance(1) ? this.mutated(bytes) : bytes);
      // A name twice in one response: the last one counts.
      if (this.chance(3)) resources.push(bytes);
    }
    const removed = Array.from(
      { length: this.chance(40) ? this.below(6) : 0 },
      () =>
        this.chance(5)
          ? this.of(ODD_NAMES)
          : isAddress
          ? this.chance(70) ? this.#uid() : this.#serviceKey()
          : this.#policyKey(),
    );
    return responseOf({ typeUrl, nonce, resources, removed });
  }

  #encode({ name, version, payload }: DrawnResource): Uint8Array {
    return XDS_PROTOBUF.encode("Resource", {
      name,
      version,
      aliases: this.chance(10) ? ["a", "b"] : [],
      resource: payload === null ? undefined : { typeUrl: this.of(["", "t"]), value: payload },
    });
  }

  #spoil(drawn: DrawnResource): DrawnResource {
    const { name, version, payload } = drawn;
    switch (this.below(6)) {
      case 0:
        return { ...drawn, payload: null };
      case 1:
        return { ...drawn, payload: this.bytes(this.below(40)) };
      case 2:
        return { name: this.of(ODD_NAMES), version, payload };
      case 3:
        return { name, version: this.of(ODD_NAMES), payload };
      default:
        return { ...drawn, payload: this.mutated(payload!) };
    }
  }

  #uid(): string {
    const at = this.below(NAMES);
    return at % 3 === 0 ? `c//VM/ns${at % 2}/w${at}` : `c//Pod/ns${at % 2}/w${at}`;
  }

  #serviceKey(): string {
    const at = this.below(HOSTS);
    return `ns${at % 3}/h${at % 5}.example`;
  }

  #policyKey(): string {
    const at = this.below(POLICIES);
    return `ns${at % 3}/p${at}`;
  }

  #address(): Fields {
    return {
      network: this.#network(),
      address: this.#ip(),
      ...this.chance(25) ? { length: this.of([0, 8, 24, 31, 32]) } : {},
    };
  }

  #network(): string {
    return this.chance(80) ? "" : this.of(["n1", "n2", "a/b"]);
  }

  #ip(): Uint8Array {
    const host = this.below(ADDRESSES);
    if (this.chance(2)) return this.bytes(this.below(20));
    return this.chance(85)
      ? Uint8Array.of(10, 0, 0, host)
      : Uint8Array.of(0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host);
  }

  #gateway(): Fields | undefined {
    if (this.chance(75)) return undefined;
    const hboneMtlsPort = this.of([0, 15_008, 80_000]);
    if (this.chance(5)) return { hboneMtlsPort };
    if (this.chance(50)) return { address: this.#address(), hboneMtlsPort };
    const [namespace, hostname] = this.#serviceKey().split("/");
    return { hostname: { namespace, hostname }, hboneMtlsPort };
  }

  #ports(): Fields[] {
    return Array.from({ length: this.below(4) }, () => ({
      servicePort: this.of([80, 443, 8080, 70_000]),
      targetPort: this.of([0, 80, 8080, 65_535]),
    }));
  }

  #version(): string {
    return `v${++this.#versions}`;
  }

  workload(): DrawnResource {
    const uid = this.#uid();
    const name = uid.split("/").at(-1)!;
    const namespace = uid.split("/").at(-2)!;
    const services: Record<string, Fields> = {};
    for (let left = this.below(4); left > 0; left--) {
      services[this.chance(2) ? "noslash" : this.#serviceKey()] = { ports: this.#ports() };
    }
    const fields = {
      uid,
      name: this.chance(3) ? this.of(ODD_NAMES) : name,
      namespace,
      addresses: Array.from({ length: this.below(3) }, () => this.#ip()),
      network: this.#network(),
      tunnelProtocol: this.chance(3) ? this.below(4) : this.of(["NONE", "HBONE"]),
      trustDomain: this.of(["", "td"]),
      serviceAccount: this.of(["", "sa"]),
      waypoint: this.#gateway(),
      networkGateway: this.#gateway(),
      node: this.of(["", "node1", "node2"]),
      canonicalName: this.chance(5) ? this.of(ODD_NAMES) : "app",
      workloadType: this.below(6),
      nativeTunnel: this.chance(20),
      authorizationPolicies: Array.from(
        { length: this.chance(30) ? this.below(4) : 0 },
        () => this.chance(5) ? this.of(ODD_NAMES) : this.#policyKey(),
      ),
      status: this.chance(2) ? 7 : this.of(["HEALTHY", "HEALTHY", "UNHEALTHY"]),
      clusterId: this.of(["", "c2"]),
      hostname: this.chance(15) ? this.#serviceKey().split("/")[1] : "",
      services,
      locality: this.chance(50) ? { region: this.of(["", "r1", "r2"]), zone: "z" } : undefined,
      networkMode: this.chance(10) ? "HOST_NETWORK" : "STANDARD",
      capacity: this.chance(20) ? { value: this.of([0, 1, 7, 0xffff_ffff]) } : undefined,
    };
    return {
      // The control plane's name and the message's own are the same, nearly always.
      name: this.chance(2) ? this.#uid() : uid,
      version: this.#version(),
      payload: XDS_PROTOBUF.encode("Address", { workload: fields }),
    };
  }

  service(): DrawnResource {
    const key = this.#serviceKey();
    const [namespace, hostname] = key.split("/");
    const fields = {
      name: hostname!.split(".")[0],
      namespace,
      hostname,
      addresses: Array.from({ length: this.below(4) }, () => this.#address()),
      ports: this.#ports(),
      subjectAltNames: Array.from(
        { length: this.below(3) },
        () => this.of(["spiffe://td/ns/a/sa/b", "no", "spiffe://td/ns/a", ...ODD_NAMES]),
      ),
      waypoint: this.#gateway(),
      loadBalancing: this.chance(60) ? undefined : {
        routingPreference: Array.from({ length: this.below(4) }, () => this.below(8)),
        mode: this.below(4),
        healthPolicy: this.below(2),
      },
      ipFamilies: this.chance(2) ? 9 : this.below(4),
      canonical: this.chance(30),
      weightedWaypoints: this.chance(10)
        ? [0, 1].map(() => ({ destination: this.#gateway(), weight: this.below(3) }))
        : [],
      visibility: this.below(3),
    };
    return {
      name: key,
      version: this.#version(),
      payload: XDS_PROTOBUF.encode("Address", { service: fields }),
    };
  }

  policy(): DrawnResource {
    const key = this.#policyKey();
    const [namespace, name] = key.split("/");
    const match = () => ({
      namespaces: this.chance(30) ? [{ exact: this.of(["ns0", "x"]) }, {}] : [],
      sourceIps: this.chance(30) ? [{ address: this.#ip(), length: this.below(40) }] : [],
      destinationPorts: this.chance(30) ? [80, 70_000] : [],
    });
    const fields = {
      name,
      namespace,
      scope: this.chance(3) ? 5 : this.below(3),
      action: this.chance(3) ? 5 : this.below(2),
      dryRun: this.chance(10),
      rules: Array.from({ length: this.below(3) }, () => ({ clauses: [{ matches: [match()] }] })),
    };
    return { name: key, version: "", payload: XDS_PROTOBUF.encode("Authorization", fields) };
  }
}

/** A whole response around resources that are encoded already. */
export function responseOf(
  { typeUrl, nonce, resources = [], removed = [] }: {
    readonly typeUrl: string;
    readonly nonce: string;
    readonly resources?: readonly Uint8Array[];
    readonly removed?: readonly string[];
  },
): Uint8Array {
  return concat(
    ...resources.map((bytes) => field(2, bytes)),
    field(4, typeUrl),
    field(5, nonce),
    ...removed.map((name) => field(6, name)),
  );
}
