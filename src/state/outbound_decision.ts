// What happens to an outbound connection (spec/data-path §2.2–2.7). Pure over a MeshView.
import { formatAddress, type SocketAddress } from "../base/address.ts";
import type { Candidate, Route } from "../seam/route.ts";
import { RouteError } from "../seam/router.ts";
import type { ServiceFacts } from "../seam/workload.ts";
import type { SpiffeId } from "../tls/spiffe_id.ts";
import type { CompiledServices, CompiledUpstreams } from "./compiled_services.ts";
import {
  isFromWaypoint,
  type Referred,
  resolveReference,
  serviceUpstreams,
  type Upstream,
} from "./gateway_reference.ts";
import { directHop, gatewayHop, noDestination, refusedHop, waypointHop } from "./hops.ts";
import type { Lookups } from "./lookups.ts";
import type { Found, KnownService, MeshView } from "./mesh_view.ts";
import { describeGateway, type GatewayAddress, type Service, type Workload } from "./resources.ts";
import type { OutboundRule, Recorder } from "./trace.ts";

export interface OutboundSettings {
  /** `NETWORK`: where "what is this IP?" is asked. */
  readonly network: string;
  /** Port of every HBONE peer in the same network: 15008. */
  readonly hbonePort: number;
}

/** One connection: who makes it, from which address, and to where. */
export interface OutboundCase {
  readonly source: Workload;
  readonly sourceIp: string;
  readonly dialled: SocketAddress;
}

/** A {@link Route} without its generation, or the refusal. */
export type OutboundDecision = Omit<Route, "generation"> | RouteError;

/** Decides for one connection; the loop guard was asked before. */
export function decideOutbound(
  look: Lookups,
  settings: OutboundSettings,
  compiled: CompiledServices,
  asked: OutboundCase,
): OutboundDecision {
  return new OutboundDecider(look, settings, compiled, asked).decide();
}

/** The parts that a decision for one connection shares. */
class OutboundDecider {
  readonly #look: Lookups;
  readonly #state: MeshView;
  readonly #settings: OutboundSettings;
  readonly #compiled: CompiledServices;
  readonly #source: Workload;
  readonly #asked: OutboundCase;
  readonly #dialled: SocketAddress;

  constructor(
    look: Lookups,
    settings: OutboundSettings,
    compiled: CompiledServices,
    asked: OutboundCase,
  ) {
    this.#look = look;
    this.#state = look.state;
    this.#settings = settings;
    this.#compiled = compiled;
    this.#asked = asked;
    this.#source = asked.source;
    this.#dialled = asked.dialled;
  }

  /** The steps of spec/data-path §2.3. */
  decide(): OutboundDecision {
    this.#look.local(this.#source);
    const meant = this.#look.byIp(
      "destination",
      this.#settings.network,
      this.#dialled.ip,
      this.#source.namespace,
    );
    const service = meant?.kind === "service" ? meant.known : null;
    if (service !== null) {
      const waypoints = this.#waypointsOf(service.service);
      if (waypoints.length > 0) return this.#throughServiceWaypoint(service, waypoints);
    }
    const upstream = this.#upstream(meant);
    if (upstream?.kind === "workload") return this.#toWorkload(upstream.workload, service);
    if (upstream !== null && !isPassthrough(upstream.known)) {
      const decision = this.#toService(upstream.known, service);
      if (decision !== null) return decision;
    }
    if (service !== null && !isPassthrough(service)) return this.#refuse(this.#noUpstream());
    return this.#settle("passthrough", null, [{
      weight: 1,
      hop: { protocol: "TCP", peer: this.#dialled },
      destination: null,
    }]);
  }

  /** Who takes the connection, asked in the source's network: a service before a workload. */
  #upstream(meant: Found | null): Found | null {
    const { network } = this.#source;
    // The same question as before, unless a workload was there first.
    if (network === this.#settings.network && meant?.kind !== "workload") return meant;
    return this.#look.upstreamByIp(network, this.#dialled.ip, this.#source.namespace);
  }

  /** Steps 3 to 5 for a workload that was dialled by its own IP. */
  #toWorkload(workload: Workload, service: KnownService | null): OutboundDecision {
    const upstream: Upstream = { weight: 1, workload, port: this.#dialled.port, known: null };
    const candidates: Candidate[] = [];
    const rule = this.#reach(candidates, upstream, service);
    return this.#settle(rule, null, candidates);
  }

  /** The same for the endpoints of a service. Null: it has none to offer. */
  #toService(known: KnownService, meant: KnownService | null): OutboundDecision | null {
    if (meant === null) {
      // A workload has this IP too, so its endpoints' own waypoints count (step 4).
      const upstreams = serviceUpstreams(
        this.#look,
        this.#source,
        known,
        this.#dialled.port,
        "standard",
      );
      if (upstreams.length === 0) return null;
      const candidates: Candidate[] = [];
      for (const upstream of upstreams) this.#reach(candidates, upstream, null);
      return this.#settle("service-endpoint", known.facts, candidates);
    }
    const { direct, remote } = this.#endpointsOf(known);
    if (direct.length === 0 && remote.length === 0) return null;
    if (remote.length === 0) return this.#settle("service-endpoint", known.facts, direct);
    const candidates = [...direct];
    for (const { weight, workload, gateway } of remote) {
      this.#throughGateway(candidates, weight, workload, gateway, {
        authority: this.#serviceAuthority(meant),
        innerExpected: known.subjectAltNames,
      });
    }
    return this.#settle("service-endpoint", meant.facts, candidates);
  }

  /** Compiled once for all who dial the service from the same place. */
  #endpointsOf(known: KnownService): CompiledUpstreams {
    const kept = this.#look.trace === null
      ? this.#compiled.get(known, this.#source, this.#dialled)
      : undefined;
    if (kept !== undefined) return kept;
    const direct: Candidate[] = [];
    const remote: CompiledUpstreams["remote"][number][] = [];
    const upstreams = serviceUpstreams(
      this.#look,
      this.#source,
      known,
      this.#dialled.port,
      "standard",
    );
    const byGateway = new Map<string, number>();
    for (const upstream of upstreams) {
      const { workload, weight } = upstream;
      const gateway = workload.networkGateway;
      if (workload.network === this.#source.network || gateway === null) {
        direct.push(this.#direct(upstream));
        continue;
      }
      // Behind one gateway they are one: it draws again.
      const key = JSON.stringify(gateway);
      const at = byGateway.get(key);
      if (at === undefined) {
        byGateway.set(key, remote.length);
        remote.push({ weight, workload, gateway });
      } else remote[at] = { ...remote[at]!, weight: remote[at]!.weight + weight };
    }
    const compiled = { direct, remote };
    this.#compiled.keep(known, this.#source, this.#dialled, compiled);
    return compiled;
  }

  /** One endpoint in the source's own network, or one in another that no gateway leads to (row 11). */
  #direct(upstream: Upstream): Candidate {
    const { workload, weight } = upstream;
    const hop = workload.network === this.#source.network
      ? directHop(this.#state, this.#settings.hbonePort, upstream, this.#dialled.ip)
      : refusedHop(noDestination(workload));
    return { weight, hop, destination: this.#state.facts(workload) };
  }

  /** Steps 3 to 5 for one upstream of a destination that is not `service`, unless it is. */
  #reach(
    candidates: Candidate[],
    upstream: Upstream,
    service: KnownService | null,
  ): OutboundRule {
    const { workload, weight } = upstream;
    if (workload.network !== this.#source.network) {
      if (service === null) {
        const hop = refusedHop(this.#noService());
        candidates.push({ weight, hop, destination: this.#state.facts(workload) });
      } else {
        this.#throughGateway(candidates, weight, workload, workload.networkGateway, {
          authority: this.#serviceAuthority(service),
          innerExpected: upstream.known?.subjectAltNames ?? [],
        });
      }
      return "workload";
    }
    const { waypoint } = workload;
    if (waypoint === null || !this.#isSentToWaypoint(waypoint, service)) {
      candidates.push(this.#direct(upstream));
      return "workload";
    }
    const referred = this.#resolve("waypoint", waypoint);
    if (referred instanceof RouteError) {
      candidates.push({ weight, hop: refusedHop(referred), destination: null });
      return "workload-waypoint";
    }
    const { upstreams, wantedIp } = referred;
    const sum = sumOf(upstreams);
    for (const one of upstreams) {
      candidates.push({
        weight: shareOf(weight, one, upstreams, sum),
        hop: waypointHop(this.#state, one, wantedIp, this.#dialled),
        destination: this.#state.facts(one.workload),
      });
    }
    return "workload-waypoint";
  }

  /** Step 4: not for a service's traffic (row 15), nor back to where it comes from (row 5). */
  #isSentToWaypoint(waypoint: GatewayAddress, service: KnownService | null): boolean {
    const fromIt = service === null &&
      isFromWaypoint(this.#look, waypoint, this.#source, this.#asked.sourceIp);
    const taken = service === null && !fromIt;
    this.#look.trace?.push({
      step: "waypoint",
      reference: describeGateway(waypoint),
      weight: 1,
      taken,
      reason: taken ? "only" : fromIt ? "source-is-waypoint" : "service-addressed",
    });
    return taken;
  }

  /** Step 1: rows 6, 7 and 13. */
  #throughServiceWaypoint(
    meant: KnownService,
    waypoints: readonly WeightedReference[],
  ): OutboundDecision {
    const candidates: Candidate[] = [];
    for (const { weight, destination } of waypoints) {
      const referred = this.#resolve("waypoint", destination);
      if (referred instanceof RouteError) {
        candidates.push({ weight, hop: refusedHop(referred), destination: null });
        continue;
      }
      const { upstreams, wantedIp } = referred;
      const sum = sumOf(upstreams);
      for (const one of upstreams) {
        const { workload, known } = one;
        const share = waypoints.length === 1 ? one.weight : shareOf(weight, one, upstreams, sum);
        if (workload.network !== this.#source.network) {
          this.#throughGateway(candidates, share, workload, workload.networkGateway, {
            authority: this.#serviceAuthority(meant),
            innerExpected: known?.subjectAltNames ?? [],
          });
          continue;
        }
        candidates.push({
          weight: share,
          hop: waypointHop(this.#state, one, wantedIp, this.#dialled),
          destination: this.#state.facts(workload),
        });
      }
    }
    return this.#settle("service-waypoint", meant.facts, candidates);
  }

  /** Double HBONE to what is behind `gateway`; its own endpoints share the weight (§2.7). */
  #throughGateway(
    candidates: Candidate[],
    weight: number,
    workload: Workload,
    gateway: GatewayAddress | null,
    inner: { readonly authority: string; readonly innerExpected: readonly SpiffeId[] },
  ): void {
    if (gateway === null) {
      const hop = refusedHop(noDestination(workload));
      candidates.push({ weight, hop, destination: this.#state.facts(workload) });
      return;
    }
    const referred = this.#resolve("gateway", gateway);
    if (referred instanceof RouteError) {
      candidates.push({ weight, hop: refusedHop(referred), destination: null });
      return;
    }
    const { upstreams, wantedIp } = referred;
    const sum = sumOf(upstreams);
    for (const one of upstreams) {
      candidates.push({
        weight: shareOf(weight, one, upstreams, sum),
        hop: gatewayHop(this.#state, one, wantedIp, inner),
        destination: this.#state.facts(one.workload),
      });
    }
  }

  #resolve(role: "waypoint" | "gateway", reference: GatewayAddress): Referred | RouteError {
    return resolveReference(this.#look, role, reference, {
      source: this.#source,
      dialledIp: this.#dialled.ip,
    });
  }

  /** Those that may be drawn; weights that are all 0 are none (§2.6). */
  #waypointsOf({ weightedWaypoints, waypoint }: Service): readonly WeightedReference[] {
    const { trace } = this.#look;
    if (weightedWaypoints.length === 0 && waypoint === null) return [];
    const drawn = weightedWaypoints.filter(({ weight }) => weight > 0);
    if (trace !== null) {
      for (const { destination, weight } of weightedWaypoints) {
        const taken = weight > 0;
        const reason = taken ? "weighted" : "weight-zero";
        const reference = describeGateway(destination);
        trace.push({ step: "waypoint", reference, weight, taken, reason });
      }
      if (waypoint !== null) {
        const taken = drawn.length === 0;
        const reason = taken ? "only" : "weights-instead";
        const reference = describeGateway(waypoint);
        trace.push({ step: "waypoint", reference, weight: 1, taken, reason });
      }
    }
    if (drawn.length > 0) return drawn;
    return waypoint === null ? [] : [{ destination: waypoint, weight: 1 }];
  }

  /** The answer, unless nobody can be reached: then the first refusal, at once. */
  #settle(
    rule: OutboundRule,
    service: ServiceFacts | null,
    candidates: readonly Candidate[],
  ): OutboundDecision {
    const { trace } = this.#look;
    if (trace !== null) {
      trace.push({ step: "rule", rule, detail: null });
      traceCandidates(trace, candidates);
    }
    const { hop } = candidates[0]!;
    if (
      hop.protocol === "REFUSED" &&
      candidates.every((candidate) => candidate.hop.protocol === "REFUSED")
    ) return this.#refuse(new RouteError(hop.code, hop.message));
    return {
      source: this.#state.facts(this.#source),
      candidates,
      service,
      dependsOn: this.#look.dependsOn,
    };
  }

  #refuse(error: RouteError): RouteError {
    this.#look.trace?.push({ step: "rule", rule: "refused", detail: error.message });
    return error;
  }

  #serviceAuthority({ service }: KnownService): string {
    return `${service.hostname}:${this.#dialled.port}`;
  }

  #noUpstream(): RouteError {
    const message = `no healthy upstream: ${formatAddress(this.#dialled)}`;
    return new RouteError("NO_HEALTHY_UPSTREAM", message);
  }

  #noService(): RouteError {
    const message = `no service for target address: ${formatAddress(this.#dialled)}`;
    return new RouteError("NO_SERVICE_FOR_TARGET", message);
  }
}

interface WeightedReference {
  readonly destination: GatewayAddress;
  readonly weight: number;
}

function isPassthrough({ service }: KnownService): boolean {
  return service.loadBalancer?.mode === "Passthrough";
}

function sumOf(upstreams: readonly Upstream[]): number {
  let sum = 0;
  for (const { weight } of upstreams) sum += weight;
  return sum;
}

/** The part of `weight` that one of several gets in the next draw. */
function shareOf(
  weight: number,
  one: Upstream,
  upstreams: readonly Upstream[],
  sum: number,
): number {
  return upstreams.length === 1 ? weight : weight * one.weight / sum;
}

function traceCandidates(
  trace: NonNullable<Recorder>,
  candidates: readonly Candidate[],
): void {
  let sum = 0;
  for (const { weight } of candidates) sum += weight;
  for (const { hop, weight, destination } of candidates) {
    trace.push({
      step: "candidate",
      protocol: hop.protocol,
      ...traceHop(hop),
      workload: destination?.uid ?? null,
      share: weight / sum,
    });
  }
}

function traceHop(hop: Candidate["hop"]): { target: string; authority: string | null } {
  if (hop.protocol === "REFUSED") return { target: hop.message, authority: null };
  if (hop.protocol !== "NAMED") {
    const authority = hop.protocol === "TCP" ? null : hop.authority;
    return { target: formatAddress(hop.peer), authority };
  }
  const { hostname, authorityPort } = hop;
  const { authority } = traceHop(hop.hop);
  return {
    target: `${hostname}:${hop.hop.peer.port}`,
    authority: authorityPort === null ? authority : `${hostname}:${authorityPort}`,
  };
}
