// One application connection on its way out: routed, connected, copied, recorded (spec/data-path §2.1, O3-O7).
//
// state        what it waits for          what ends it early
// routing      the Router's answers       its refusal, its limit, the application's reset, drain
// connecting   TCP, or a tunnel's 200     failure, the application's reset, drain
// copying      both directions' ends      drain
// dismissing   the application to close   its limit
// over         -                          -
import { isLoopback, type SocketAddress } from "../base/address.ts";
import { assert } from "../base/assert.ts";
import type { Block } from "../base/block.ts";
import {
  type Cancel,
  type Channel,
  type ChannelHandler,
  NOTHING_TO_CANCEL,
} from "../base/channel.ts";
import { ProxyError } from "../base/errors.ts";
import { Listed } from "../base/roster.ts";
import { encodeBaggage, parseBaggage } from "../hbone/baggage.ts";
import { connectHeaders, type ConnectRequest } from "../hbone/client.ts";
import { type InnerRequest, openDoubleTunnel } from "../hbone/double_tunnel.ts";
import { IoFailure } from "../hbone/errors.ts";
import { encodeForwarded } from "../hbone/forwarded.ts";
import { joinChannels, type Joined } from "../hbone/joined.ts";
import { type DataPlaneParts, sourceFor } from "../hbone/parts.ts";
import type { HbonePool, Tunnel, TunnelRequest } from "../hbone/pool.ts";
import { OpenRecord } from "../hbone/record.ts";
import { askInTime } from "../hbone/route_step.ts";
import { newTraceParent } from "../hbone/traceparent.ts";
import type { ConnectionFacts } from "../seam/events.ts";
import {
  atAddress,
  type DoubleHboneHop,
  type HboneHop,
  type NamedHop,
  type NextHop,
  type Route,
} from "../seam/route.ts";
import { RouteError } from "../seam/router.ts";
import type { WorkloadFacts } from "../seam/workload.ts";
import { drawCandidate } from "./candidate.ts";
import { dismiss, type Dismissal } from "../hbone/dismiss.ts";

/** An accepted connection and where it wants to go. */
export interface OutboundStart {
  /** Owned by the connection from here on. */
  readonly channel: Channel;
  /** Canonical. */
  readonly destination: SocketAddress;
  readonly listener: "outbound" | "socks5";
  readonly acceptedAtMs: number;
  /** Payload that came with the negotiation, retained for the connection; null where none. */
  readonly early: EarlyBytes | null;
}

/** A retained range of a block. */
export interface EarlyBytes {
  readonly block: Block;
  readonly start: number;
  readonly end: number;
}

/**
 * What is known of a connection that has a way to go. It counts as opened before it connects; with two tunnels only
 * when both stand, or failed (spec/config-and-observability §6.4).
 */
interface Opening {
  readonly facts: ConnectionFacts;
  readonly record: OpenRecord | null;
}

type State =
  | { readonly kind: "routing"; readonly step: Cancel }
  | { readonly kind: "connecting"; readonly step: Cancel; readonly opening: Opening }
  | { readonly kind: "copying"; readonly joined: Joined; readonly record: OpenRecord }
  | { readonly kind: "dismissing"; readonly dismissal: Dismissal }
  | { readonly kind: "over" };

export class OutboundConnection extends Listed implements ChannelHandler {
  readonly #parts: DataPlaneParts;
  readonly #pool: HbonePool;
  readonly #start: OutboundStart;
  readonly #onOver: (connection: OutboundConnection) => void;
  #early: EarlyBytes | null;
  #state: State = { kind: "over" };

  /** @param onOver Called once, in a later turn, when nothing of it is left. */
  constructor(
    start: OutboundStart,
    pool: HbonePool,
    parts: DataPlaneParts,
    onOver: (connection: OutboundConnection) => void,
  ) {
    super();
    this.#start = start;
    this.#early = start.early;
    this.#pool = pool;
    this.#parts = parts;
    this.#onOver = onOver;
    start.channel.attach(this);
    start.channel.pause();
    this.#guarded(() => this.#route());
  }

  /** Ends it now, whatever it does: forced drain, stop. */
  terminate(reason: ProxyError): void {
    const state = this.#state;
    switch (state.kind) {
      case "routing":
        state.step.cancel();
        this.#report(reason);
        break;
      case "connecting":
        state.step.cancel();
        this.#close(this.#opened(state.opening), reason);
        break;
      case "copying":
        state.joined.terminate(reason);
        return;
      case "dismissing":
        state.dismissal.now(reason);
        return;
      case "over":
        return;
    }
    this.#end(reason);
  }

  /** Paused from the start: the application's bytes wait until there is somebody to take them. */
  onData(): void {
    assert(false, "A paused channel delivers nothing");
  }

  onEnd(): void {
    assert(false, "A paused channel delivers nothing");
  }

  onWritable(): void {}

  /** The application went away before there was anybody to talk to: not an error of ours (C6). */
  onClose(_error: ProxyError | null): void {
    const state = this.#state;
    if (state.kind === "routing") state.step.cancel();
    if (state.kind === "connecting") {
      state.step.cancel();
      this.#close(this.#opened(state.opening), null);
    }
    this.#over();
  }

  #route(): void {
    const { destination, channel } = this.#start;
    const { settings, router, local } = this.#parts;
    if (isThisHost(destination.ip) && settings.internalPorts.has(destination.port)) {
      this.#refuse(new RouteError("SELF_CALL", "attempted recursive call to ourselves"));
      return;
    }
    const step = askInTime<Route>(
      (done) => router.outbound({ local, source: channel.peer, destination }, done),
      this.#parts,
      (outcome) => this.#guarded(() => this.#onRoute(outcome)),
    );
    this.#state = { kind: "routing", step };
  }

  #onRoute(outcome: Route | ProxyError): void {
    assert(this.#state.kind === "routing", "A cancelled step calls nobody");
    if (outcome instanceof ProxyError) {
      this.#refuse(outcome);
      return;
    }
    const { hop, destination } = drawCandidate(outcome.candidates, this.#parts.random);
    switch (hop.protocol) {
      case "REFUSED":
        this.#refuse(new RouteError(hop.code, hop.message));
        return;
      case "NAMED":
        this.#resolve(hop, outcome, destination);
        return;
      default:
        this.#connect(hop, outcome, destination);
    }
  }

  /** The name is resolved for this connection alone. */
  #resolve(named: NamedHop, route: Route, destination: WorkloadFacts | null): void {
    const { router, local } = this.#parts;
    const { hostname, workloadUid, family } = named;
    const step = askInTime<string>(
      (done) => router.resolveHost({ local, hostname, workloadUid, family }, done),
      this.#parts,
      (outcome) =>
        this.#guarded(() => {
          if (outcome instanceof ProxyError) this.#refuse(outcome);
          else this.#connect(atAddress(named, outcome), route, destination);
        }),
    );
    this.#state = { kind: "routing", step };
  }

  #connect(hop: NextHop, route: Route, destination: WorkloadFacts | null): void {
    if (this.#comesBack(hop)) {
      this.#refuse(new RouteError("SELF_CALL", "attempted recursive call to ourselves"));
      return;
    }
    const trace = newTraceParent(this.#parts.random);
    const facts = outboundFacts(this.#start, route, hop, destination, trace.traceId);
    const record = hop.protocol === "DOUBLEHBONE" ? null : this.#open(facts);
    const opening: Opening = { facts, record };
    this.#state = { kind: "connecting", step: NOTHING_TO_CANCEL, opening };
    const step = hop.protocol === "TCP"
      ? this.#dial(hop.peer)
      : this.#openTunnel(hop, route, trace.header);
    this.#state = { kind: "connecting", step, opening };
  }

  #openTunnel(hop: HboneHop | DoubleHboneHop, route: Route, traceparent: string): Cancel {
    const { peer } = this.#start.channel;
    const { authority, expected } = hop;
    const request: ConnectRequest = {
      authority,
      baggage: encodeBaggage(route.source),
      forwarded: encodeForwarded(peer, route.service?.hostname ?? null),
      traceparent,
    };
    const outer: TunnelRequest = {
      peer: hop.peer,
      expected,
      sourceIp: peer.ip,
      headers: connectHeaders(request),
    };
    const done = (outcome: Tunnel | ProxyError) => this.#guarded(() => this.#onConnected(outcome));
    if (hop.protocol === "HBONE") return this.#pool.connect(outer, done);
    const { network } = this.#parts.settings;
    const inner: InnerRequest = {
      expected: hop.innerExpected,
      headers: connectHeaders({ ...request, forwardedNetwork: network }),
    };
    return openDoubleTunnel({ outer, inner }, this.#pool, this.#parts, done);
  }

  /**
   * A plain connection to one of our ports at the caller's own address would be accepted right here again, for ever.
   * In a tunnel it is refused at the other end (I14); O3 knows loopback only.
   */
  #comesBack(hop: NextHop): boolean {
    return hop.protocol === "TCP" && hop.peer.ip === this.#start.channel.peer.ip &&
      this.#parts.settings.internalPorts.has(hop.peer.port);
  }

  #dial(peer: SocketAddress): Cancel {
    const { network, limits, settings } = this.#parts;
    return network.dial(
      peer,
      {
        timeoutMs: limits.connectMsMax,
        keepalive: settings.keepalive,
        userTimeoutMs: settings.userTimeoutMs,
        sourceIp: sourceFor(settings, peer.ip),
      },
      (outcome) =>
        this.#guarded(() =>
          this.#onConnected(outcome instanceof ProxyError ? new IoFailure(outcome) : outcome)
        ),
    );
  }

  #onConnected(outcome: Channel | Tunnel | ProxyError): void {
    assert(this.#state.kind === "connecting", "A cancelled step calls nobody");
    if (outcome instanceof ProxyError) {
      this.#failConnect(outcome);
      return;
    }
    const target: Channel = "stream" in outcome ? outcome.stream : outcome;
    const { facts, record: known } = this.#state.opening;
    try {
      const record = known ?? this.#open(farFacts(facts, outcome as Tunnel));
      this.#sendEarly(target, record);
      const joined = joinChannels(this.#start.channel, target, record, this.#parts, (error) => {
        this.#close(record, error);
        this.#over();
      });
      this.#state = { kind: "copying", joined, record };
    } catch (thrown) {
      target.reset(null); // It is ours already, and no state knows it yet.
      throw thrown;
    }
  }

  /** Bytes that came behind the negotiation go first. */
  #sendEarly(target: Channel, record: OpenRecord): void {
    if (this.#early === null) return;
    const { block, start, end } = this.#early;
    target.write(block, start, end);
    record.bytesToServer += end - start;
    this.#releaseEarly();
  }

  #releaseEarly(): void {
    this.#early?.block.release();
    this.#early = null;
  }

  #failConnect(error: ProxyError): void {
    assert(this.#state.kind === "connecting", "Only a connect fails so");
    this.#close(this.#opened(this.#state.opening), error);
    this.#dismiss();
  }

  /** Before it was opened: one line, no metrics. */
  #refuse(error: ProxyError): void {
    this.#report(error);
    this.#dismiss();
  }

  #report(error: ProxyError): void {
    const { channel, destination } = this.#start;
    this.#parts.events.failedEarly({
      direction: "outbound",
      sourceAddress: channel.peer,
      destinationAddress: destination,
      error,
    });
  }

  #dismiss(): void {
    this.#releaseEarly();
    const dismissal = dismiss(this.#start.channel, this.#parts, () => this.#over());
    this.#state = { kind: "dismissing", dismissal };
  }

  #open(facts: ConnectionFacts): OpenRecord {
    return new OpenRecord(facts, this.#start.acceptedAtMs, this.#parts);
  }

  /** What fails was opened, at the latest now. */
  #opened({ facts, record }: Opening): OpenRecord {
    return record ?? this.#open(facts);
  }

  #close(record: OpenRecord, error: ProxyError | null): void {
    record.close(error, this.#parts.clock.nowMs());
  }

  /** Resets the application's side; its `onClose` then says that it is over. */
  #end(reason: ProxyError): void {
    this.#state = { kind: "over" };
    this.#start.channel.reset(reason);
  }

  #over(): void {
    this.#releaseEarly();
    this.#state = { kind: "over" };
    this.#onOver(this);
  }

  /** Runs one step; a bug in it ends this connection only. */
  #guarded(step: () => void): void {
    try {
      step();
    } catch (thrown) {
      const error = this.#parts.faults.caught(thrown, "outbound/connection");
      this.terminate(error);
      this.#start.channel.reset(error); // Also where no state was reached yet.
    }
  }
}

/** What is known when it opens (spec/config-and-observability §6.3, reporter source). */
function outboundFacts(
  start: OutboundStart,
  route: Route,
  hop: NextHop,
  destination: WorkloadFacts | null,
  traceId: string,
): ConnectionFacts {
  return {
    direction: "outbound",
    protocol: hop.protocol,
    listener: start.listener,
    sourceAddress: start.channel.peer,
    destinationAddress: hop.peer,
    hboneAuthority: hop.protocol === "TCP" ? null : hop.authority,
    source: route.source,
    sourceIdentity: hop.protocol === "TCP" ? null : route.source.identity,
    sourceBaggage: null,
    destination,
    destinationIdentity: destination?.identity ?? null,
    destinationBaggage: null,
    service: route.service,
    mutualTls: hop.protocol !== "TCP",
    traceId,
  };
}

/**
 * Behind a gateway only the far proxy knows who answers: what it says of the destination, and who it showed to be, is
 * told in place of the gateway's (spec/data-path §1.11 step 7). What it says unreadably is not.
 */
function farFacts(facts: ConnectionFacts, { headers, connection }: Tunnel): ConnectionFacts {
  const destinationBaggage = parseBaggage(headers);
  if (destinationBaggage === null) return facts;
  return {
    ...facts,
    destinationBaggage,
    destinationIdentity: connection.security.peerIdentities[0]!,
  };
}

/** Loopback; and the unspecified address, on which a kernel connects to loopback. */
function isThisHost(ip: string): boolean {
  return isLoopback(ip) || ip === "0.0.0.0" || ip === "::";
}
