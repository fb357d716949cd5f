// One CONNECT from a peer: authority, route, policy, application, answer, copy (spec/data-path §3.2).
//
// state      what it waits for         failure answered          what ends it early
// routing    the Router's answer       400 or 503                the peer's reset, drain
// dialing    the application           503                       the peer's reset, drain, policy
// copying    both directions' ends     -                         drain, policy, revocation
// over       -                         -                         -
//
// Between routing and dialing, in one turn: registered, opened, judged (401). The 200 never precedes the
// application's connect. The peer's DATA waits in the stream's window until then.
import type { SocketAddress } from "../base/address.ts";
import { assert } from "../base/assert.ts";
import { adoptBlock } from "../base/block.ts";
import type { Cancel, Channel, ChannelHandler } from "../base/channel.ts";
import { ProxyError } from "../base/errors.ts";
import { Listed } from "../base/roster.ts";
import { H2Error } from "../h2/errors.ts";
import type { H2Stream, HeaderList } from "../h2/types.ts";
import { formatAuthority, parseAuthority } from "../hbone/authority.ts";
import { encodeBaggage, NO_BAGGAGE, parseBaggage } from "../hbone/baggage.ts";
import type { ConnectionBudget } from "../hbone/budget.ts";
import {
  ApplicationUnreachable,
  BadRequest,
  flagOf,
  Http2Failure,
  LimitReached,
  PathError,
} from "../hbone/errors.ts";
import { forwardedHost } from "../hbone/forwarded.ts";
import { headerValue } from "../hbone/header_text.ts";
import { joinChannels, type Joined } from "../hbone/joined.ts";
import type { DataPlaneParts } from "../hbone/parts.ts";
import { OpenRecord } from "../hbone/record.ts";
import { askInTime } from "../hbone/route_step.ts";
import { newTraceParent, receivedTraceId } from "../hbone/traceparent.ts";
import type { SecureChannel } from "../net/network.ts";
import { PolicyDeniedError } from "../rbac/judge.ts";
import type { ConnectionFacts, ResponseFlag } from "../seam/events.ts";
import type { InboundAuthority, InboundRoute } from "../seam/route.ts";
import { RouteError } from "../seam/router.ts";
import { dialApplication } from "./application_dial.ts";
import type { ConnectionManager, Registration } from "./connection_manager.ts";
import { encodeProxyHeader } from "./proxy_header.ts";

/** A request as it came, on a connection whose peer is known. */
export interface InboundStart {
  /** The HBONE connection; its identity is the request's (I4). */
  readonly connection: SecureChannel;
  /** Owned by the tunnel from here on. */
  readonly stream: H2Stream;
  readonly headers: HeaderList;
  /** The application is to see the peer's address (spec/data-path T1). */
  readonly spoof: boolean;
}

type State =
  | { readonly kind: "routing"; readonly step: Cancel }
  | {
    readonly kind: "dialing";
    readonly step: Cancel;
    readonly record: OpenRecord;
    readonly registration: Registration;
  }
  | {
    readonly kind: "copying";
    readonly joined: Joined;
    readonly registration: Registration;
  }
  /** The answer is given; the stream's own end follows. */
  | { readonly kind: "answered" }
  | { readonly kind: "over" };

export class InboundTunnel extends Listed implements ChannelHandler {
  readonly #parts: DataPlaneParts;
  readonly #manager: ConnectionManager;
  readonly #start: InboundStart;
  readonly #onOver: (tunnel: InboundTunnel) => void;
  readonly #startedAtMs: number;
  #state: State = { kind: "answered" };

  /** @param onOver Called once, in a later turn, when nothing of it is left. */
  constructor(
    start: InboundStart,
    manager: ConnectionManager,
    parts: DataPlaneParts,
    onOver: (tunnel: InboundTunnel) => void,
  ) {
    super();
    this.#start = start;
    this.#manager = manager;
    this.#parts = parts;
    this.#onOver = onOver;
    this.#startedAtMs = parts.clock.nowMs();
    start.stream.attach(this);
    start.stream.pause();
  }

  /** Starts the pipeline. `budget` says whether there is room; it was asked by the caller. */
  begin(budget: ConnectionBudget, hasRoom: boolean): void {
    this.#guarded(() => {
      if (hasRoom) this.#route();
      else this.#refuse(503, new LimitReached("CONNECTIONS_FULL", fullText(budget.max)));
    });
  }

  /** Ends it now, whatever it does: policy, forced drain, stop. */
  terminate(reason: ProxyError): void {
    const state = this.#state;
    switch (state.kind) {
      case "routing":
        state.step.cancel();
        this.#report(reason);
        break;
      case "dialing":
        state.step.cancel();
        this.#close(state.record, state.registration, reason);
        break;
      case "copying":
        state.joined.terminate(reason);
        return;
      case "answered":
      case "over":
        break;
    }
    this.#state = { kind: "answered" };
    this.#start.stream.reset(reason);
  }

  /** Paused until there is an application to take them. */
  onData(): void {
    assert(false, "A paused stream delivers nothing");
  }

  onEnd(): void {
    assert(false, "A paused stream delivers nothing");
  }

  onWritable(): void {}

  /** The peer gave up, its connection ended, or our own answer ended the stream. */
  onClose(error: ProxyError | null): void {
    const state = this.#state;
    const failure = streamFailure(error);
    if (state.kind === "routing") {
      state.step.cancel();
      if (failure !== null) this.#report(failure);
    }
    if (state.kind === "dialing") {
      state.step.cancel();
      this.#close(state.record, state.registration, failure);
    }
    this.#over();
  }

  #route(): void {
    const { headers, connection } = this.#start;
    const method = headerValue(headers, ":method") ?? "";
    if (method !== "CONNECT") {
      const text = `expected method CONNECT, got ${method}`;
      this.#refuse(400, new BadRequest("METHOD_NOT_CONNECT", text));
      return;
    }
    const authorityText = headerValue(headers, ":authority") ?? "";
    const authority = parseAuthority(authorityText);
    if (authority === null) {
      const text = `no valid authority pseudo header: ${authorityText}`;
      this.#refuse(400, new BadRequest("NO_AUTHORITY", text));
      return;
    }
    const { router, local, settings } = this.#parts;
    const network = headerValue(headers, "x-forwarded-network");
    const step = askInTime<InboundRoute>(
      (done) =>
        router.inbound({
          local,
          localIp: connection.local.ip,
          peerIp: connection.peer.ip,
          authority,
          forwardedHost: forwardedHost(headerValue(headers, "forwarded")),
          fromGateway: network !== null &&
            network.toLowerCase() !== settings.network.toLowerCase(),
        }, done),
      this.#parts,
      (outcome) => this.#guarded(() => this.#onRoute(authority, outcome)),
    );
    this.#state = { kind: "routing", step };
  }

  #onRoute(authority: InboundAuthority, outcome: InboundRoute | ProxyError): void {
    assert(this.#state.kind === "routing", "A cancelled step calls nobody");
    if (outcome instanceof ProxyError) {
      this.#refuse(routeStatus(outcome), outcome);
      return;
    }
    // The Router refuses own ports already (I14); never dialling one is this side's promise.
    const { internalPorts } = this.#parts.settings;
    const asked = authority.kind === "address" ? authority.address.port : outcome.dial.port;
    if (internalPorts.has(asked) || internalPorts.has(outcome.dial.port)) {
      this.#refuse(503, new RouteError("SELF_CALL", "attempted recursive call to ourselves"));
      return;
    }
    this.#authorize(authority, outcome);
  }

  #authorize(authority: InboundAuthority, route: InboundRoute): void {
    const { connection } = this.#start;
    const identity = connection.security.peerIdentities[0]!;
    const registration = this.#manager.register(
      { source: connection.peer, identity, route },
      this,
    );
    const record = new OpenRecord(
      this.#facts(authority, route),
      this.#startedAtMs,
      this.#parts,
    );
    this.#state = { kind: "dialing", step: { cancel() {} }, record, registration };
    const verdict = registration.judge();
    if (verdict.kind === "deny") {
      this.#answerFailure(401, new PolicyDeniedError(verdict.text), "DENY");
      return;
    }
    const step = dialApplication(
      {
        target: route.dial,
        fromIp: route.dialFrom,
        clientIp: this.#start.spoof ? connection.peer.ip : null,
        logScope: "ztunnel::proxy::inbound",
      },
      this.#parts,
      (outcome) => this.#guarded(() => this.#onDialed(route, outcome)),
    );
    this.#state = { kind: "dialing", step, record, registration };
  }

  #onDialed(route: InboundRoute, outcome: Channel | ProxyError): void {
    assert(this.#state.kind === "dialing", "A cancelled step calls nobody");
    if (outcome instanceof ProxyError) {
      this.#answerFailure(503, new ApplicationUnreachable(outcome), "CONNECT");
      return;
    }
    const { record, registration } = this.#state;
    const { stream } = this.#start;
    try {
      stream.respond(this.#acceptance(route), { endStream: false });
      if (route.proxyTarget !== null) this.#announce(outcome, route.proxyTarget);
      const joined = joinChannels(stream, outcome, record, this.#parts, (error) => {
        registration.release();
        record.close(error, this.#parts.clock.nowMs());
        this.#over();
      });
      this.#state = { kind: "copying", joined, registration };
    } catch (thrown) {
      outcome.reset(null); // It is ours already, and no state knows it yet.
      throw thrown;
    }
  }

  /** The application of a tunnel hears first whom it talks to (§3.5, §5.2): not the user's octets, so not counted. */
  #announce(application: Channel, destination: SocketAddress): void {
    const { peer: source, security } = this.#start.connection;
    const identity = security.peerIdentities[0]!;
    const header = encodeProxyHeader({ source, destination, identity });
    const block = adoptBlock(header);
    application.write(block, 0, header.length);
    block.release();
  }

  #acceptance(route: InboundRoute): HeaderList {
    const status = { name: ":status", value: "200" };
    if (!this.#parts.settings.responseBaggage) return [status];
    return [status, { name: "baggage", value: encodeBaggage(route.destination) }];
  }

  /** Refused before it was opened: one line, no metrics. */
  #refuse(status: number, error: ProxyError): void {
    this.#report(error);
    this.#answer(status);
  }

  /** Refused after it was opened: a whole record. */
  #answerFailure(status: number, error: ProxyError, flag: ResponseFlag): void {
    assert(this.#state.kind === "dialing", "Only an opened connection fails so");
    this.#close(this.#state.record, this.#state.registration, error, flag);
    this.#answer(status);
  }

  #answer(status: number): void {
    this.#state = { kind: "answered" };
    const { stream } = this.#start;
    stream.respond([{ name: ":status", value: String(status) }], { endStream: true });
    // A peer that has reset the stream gets no answer; then this is what ends it here.
    stream.reset(null);
  }

  #report(error: ProxyError): void {
    const { connection } = this.#start;
    this.#parts.events.failedEarly({
      direction: "inbound",
      sourceAddress: connection.peer,
      destinationAddress: connection.local,
      error,
    });
  }

  #close(
    record: OpenRecord,
    registration: Registration,
    error: ProxyError | null,
    flag: ResponseFlag = flagOf(error),
  ): void {
    registration.release();
    record.close(error, this.#parts.clock.nowMs(), flag);
  }

  #over(): void {
    if (this.#state.kind === "over") return;
    this.#state = { kind: "over" };
    this.#onOver(this);
  }

  /** What is known when it opens (spec/data-path §3.6; spec/config-and-observability §6.3). */
  #facts(authority: InboundAuthority, route: InboundRoute): ConnectionFacts {
    const { connection, headers } = this.#start;
    const readsBaggage = this.#parts.settings.responseBaggage;
    return {
      direction: "inbound",
      protocol: "HBONE",
      listener: "inbound",
      sourceAddress: connection.peer,
      destinationAddress: connection.local,
      hboneAuthority: formatAuthority(authority),
      source: route.source,
      sourceIdentity: connection.security.peerIdentities[0]!,
      sourceBaggage: readsBaggage ? parseBaggage(headers) ?? NO_BAGGAGE : null,
      destination: route.destination,
      destinationIdentity: route.destination.identity,
      destinationBaggage: null,
      service: route.service,
      mutualTls: true,
      traceId: receivedTraceId(headerValue(headers, "traceparent")) ??
        newTraceParent(this.#parts.random).traceId,
    };
  }

  /** Runs one step; a bug in it ends this stream only. */
  #guarded(step: () => void): void {
    try {
      step();
    } catch (thrown) {
      this.terminate(this.#parts.faults.caught(thrown, "inbound/tunnel"));
    }
  }
}

/** Why a stream ended before its 200; null where the peer, or its connection, just went away (C6). */
function streamFailure(error: ProxyError | null): ProxyError | null {
  if (error instanceof PathError) return error;
  const fault = error instanceof H2Error && error.code !== "NO_ERROR" && error.code !== "CANCEL";
  return fault ? new Http2Failure(error) : null;
}

/** The HTTP status of a refusal by the Router (spec/data-path §1.7). */
function routeStatus(error: ProxyError): number {
  return error.code === "IP_MISMATCH" ? 400 : 503;
}

function fullText(max: number): string {
  return `no room for another connection: ${max} are open`;
}
