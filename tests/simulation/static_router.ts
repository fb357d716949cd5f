// A Router that answers from a table, after a delay drawn from the seed.
import type { SocketAddress } from "../../src/base/address.ts";
import type { Cancel, Done } from "../../src/base/channel.ts";
import type { Clock } from "../../src/base/clock.ts";
import type { Policy, PolicyMatch } from "../../src/rbac/policy.ts";
import type {
  Candidate,
  InboundRoute,
  NextHop,
  PolicySelection,
  Route,
} from "../../src/seam/route.ts";
import {
  type HostQuestion,
  type InboundQuestion,
  type OutboundQuestion,
  type PlaintextQuestion,
  RouteError,
  type Router,
  type StateChange,
} from "../../src/seam/router.ts";
import type { LocalWorkloadName, WorkloadFacts } from "../../src/seam/workload.ts";
import type { SpiffeId } from "../../src/tls/spiffe_id.ts";
import type { Draws } from "./draws.ts";
import type { Way } from "./scenario.ts";

/** A host of the table; with a proxy of its own unless `plain`. */
export interface Host {
  readonly ip: string;
  readonly name: string;
  readonly identity: SpiffeId;
  readonly plain: boolean;
}

/** How conversations cross to another network. */
export interface Gateway {
  readonly peer: SocketAddress;
  readonly identity: SpiffeId;
}

/** The authority of a host's port behind the gateway. */
export function farAuthority({ name }: Host, port: number): string {
  return `${name}.far:${port}`;
}

/** A destination port nobody can be routed to. */
export const UNROUTABLE_PORT = 7_999;

const NO_MATCH: PolicyMatch = {
  namespaces: [],
  notNamespaces: [],
  principals: [],
  notPrincipals: [],
  serviceAccounts: [],
  notServiceAccounts: [],
  sourceIps: [],
  notSourceIps: [],
  destinationIps: [],
  notDestinationIps: [],
  destinationPorts: [],
  notDestinationPorts: [],
};

export class StaticRouter implements Router {
  readonly #clock: Clock;
  readonly #draws: Draws;
  readonly #hosts: ReadonlyMap<string, Host>;
  readonly #listeners = new Set<(change: StateChange) => void>();
  readonly #gateway: Gateway;
  readonly #wayOf: (port: number) => Way;
  #generation = 1;
  #deniedPorts: readonly number[];

  constructor(
    clock: Clock,
    draws: Draws,
    hosts: readonly Host[],
    options: {
      readonly deniedPorts: readonly number[];
      readonly gateway: Gateway;
      readonly wayOf: (port: number) => Way;
    },
  ) {
    this.#clock = clock;
    this.#draws = draws;
    this.#hosts = new Map(hosts.map((host) => [host.ip, host]));
    this.#deniedPorts = options.deniedPorts;
    this.#gateway = options.gateway;
    this.#wayOf = options.wayOf;
  }

  /** A push of policies: no connection to these ports may live. */
  deny(ports: readonly number[]): void {
    this.#deniedPorts = ports;
    this.#generation++;
    for (const listener of [...this.#listeners]) {
      listener({ generation: this.#generation, policies: true, touched: null });
    }
  }

  localWorkload(local: LocalWorkloadName, done: Done<WorkloadFacts>): Cancel {
    const host = [...this.#hosts.values()].find(({ name }) => name === local.name)!;
    return this.#answer(() => done(factsOf(host)));
  }

  outbound(question: OutboundQuestion, done: Done<Route>): Cancel {
    return this.#answer(() => done(this.#route(question)));
  }

  inbound(question: InboundQuestion, done: Done<InboundRoute>): Cancel {
    return this.#answer(() => done(this.#inboundRoute(question)));
  }

  inboundPlaintext(question: PlaintextQuestion, done: Done<InboundRoute>): Cancel {
    const { destination, peerIp } = question;
    const answer = destination.port === UNROUTABLE_PORT
      ? new RouteError("WORKLOAD_UNKNOWN", "nobody knows it")
      : this.#inboundRouteTo(destination, peerIp);
    return this.#answer(() => done(answer));
  }

  policies(_selection: PolicySelection, done: Done<readonly Policy[]>): Cancel {
    return this.#answer(() => done(this.#policies()));
  }

  resolve(
    _local: LocalWorkloadName,
    name: string,
    _family: 4 | 6,
    done: Done<string>,
  ): Cancel {
    return this.#resolve(name, done);
  }

  resolveHost({ hostname }: HostQuestion, done: Done<string>): Cancel {
    return this.#resolve(hostname, done);
  }

  #resolve(name: string, done: Done<string>): Cancel {
    const host = [...this.#hosts.values()].find((each) => each.name === name);
    const failure = new RouteError("NAME_NOT_RESOLVED", `no such name: ${name}`);
    return this.#answer(() => done(host?.ip ?? failure));
  }

  onChange(listener: (change: StateChange) => void): Cancel {
    this.#listeners.add(listener);
    return { cancel: () => void this.#listeners.delete(listener) };
  }

  #answer(tell: () => void): Cancel {
    return this.#clock.after(this.#draws.oneIn(3) ? this.#draws.below(50) : 0, tell);
  }

  #route({ source, destination }: OutboundQuestion): Route | RouteError {
    const to = this.#hosts.get(destination.ip);
    const from = this.#hosts.get(source.ip) ?? [...this.#hosts.values()][0]!;
    if (to === undefined || destination.port === UNROUTABLE_PORT) {
      return new RouteError("NO_HEALTHY_UPSTREAM", "no healthy upstream");
    }
    return {
      generation: this.#generation,
      source: factsOf(from),
      candidates: [{ weight: 1, hop: this.#hop(to, destination), destination: factsOf(to) }],
      service: null,
      dependsOn: [],
    };
  }

  #hop(to: Host, destination: SocketAddress): Candidate["hop"] {
    const { ip, port } = destination;
    const expected = [to.identity];
    const authority = `${ip}:${port}`;
    const direct: NextHop = to.plain
      ? { protocol: "TCP", peer: destination }
      : { protocol: "HBONE", peer: { ip: to.ip, port: 15008 }, authority, expected };
    switch (this.#wayOf(port)) {
      case "direct":
        return direct;
      case "named":
        return {
          protocol: "NAMED",
          hostname: to.name,
          workloadUid: to.name,
          family: 4,
          hop: { ...direct, peer: { ip: "", port: direct.peer.port } },
          authorityPort: port,
        };
      case "double":
        return {
          protocol: "DOUBLEHBONE",
          peer: this.#gateway.peer,
          authority: farAuthority(to, port),
          expected: [this.#gateway.identity],
          innerExpected: expected,
        };
    }
  }

  #inboundRoute({ localIp, peerIp, authority }: InboundQuestion): InboundRoute | RouteError {
    if (authority.kind === "hostname") {
      const { hostname, port } = authority;
      if (farAuthority(this.#hosts.get(localIp)!, port) === `${hostname}:${port}`) {
        return this.#inboundRouteTo({ ip: localIp, port }, peerIp);
      }
    }
    if (authority.kind !== "address" || authority.address.ip !== localIp) {
      return new RouteError(
        "IP_MISMATCH",
        `ip mismatch: ${localIp} != ${JSON.stringify(authority)}`,
      );
    }
    return this.#inboundRouteTo(authority.address, peerIp);
  }

  #inboundRouteTo(target: SocketAddress, peerIp: string): InboundRoute {
    const source = this.#hosts.get(peerIp);
    return {
      generation: this.#generation,
      dialFrom: null,
      proxyTarget: null,
      dependsOn: [],
      policyTarget: target,
      dial: target,
      destination: factsOf(this.#hosts.get(target.ip)!),
      source: source === undefined ? null : factsOf(source),
      service: null,
      policies: this.#policies(),
      selection: { namespace: "default", listed: [] },
    };
  }

  #policies(): readonly Policy[] {
    if (this.#deniedPorts.length === 0) return [];
    return [{
      name: "closed-ports",
      namespace: "default",
      scope: "Namespace",
      action: "Deny",
      dryRun: false,
      rules: [[[{ ...NO_MATCH, destinationPorts: this.#deniedPorts }]]],
    }];
  }
}

function factsOf({ name, identity }: Host): WorkloadFacts {
  return {
    uid: `sim//Pod/default/${name}`,
    name,
    namespace: "default",
    trustDomain: "cluster.local",
    serviceAccount: name,
    identity,
    workloadType: "pod",
    workloadName: name,
    canonicalName: name,
    canonicalRevision: "latest",
    clusterId: "Kubernetes",
    region: "",
    zone: "",
  };
}
