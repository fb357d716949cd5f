// One connection that came in plain and was captured: routed, judged, connected, copied (spec/data-path §3.7).
//
// state        what it waits for          what ends it early
// routing      the Router's answer        its refusal, its limit, the peer's reset, drain
// dialing      the application            failure, the peer's reset, drain, policy
// copying      both directions' ends      drain, policy
// dismissing   the peer to close          its limit
// over         -                          -
//
// Between routing and dialing, in one turn: registered, opened, judged. A peer that is denied hears nothing but the end.
import type { SocketAddress } from "../base/address.ts";
import { assert } from "../base/assert.ts";
import {
  type Cancel,
  type Channel,
  type ChannelHandler,
  NOTHING_TO_CANCEL,
} from "../base/channel.ts";
import { ProxyError } from "../base/errors.ts";
import { Listed } from "../base/roster.ts";
import { dismiss, type Dismissal } from "../hbone/dismiss.ts";
import { ApplicationUnreachable, flagOf } from "../hbone/errors.ts";
import { joinChannels, type Joined } from "../hbone/joined.ts";
import type { DataPlaneParts } from "../hbone/parts.ts";
import { OpenRecord } from "../hbone/record.ts";
import { askInTime } from "../hbone/route_step.ts";
import { newTraceParent } from "../hbone/traceparent.ts";
import { PolicyDeniedError } from "../rbac/judge.ts";
import type { ConnectionFacts, ResponseFlag } from "../seam/events.ts";
import type { InboundRoute } from "../seam/route.ts";
import { RouteError } from "../seam/router.ts";
import { dialApplication } from "./application_dial.ts";
import type { ConnectionManager, Registration } from "./connection_manager.ts";

/** An accepted connection; its `local` is where its peer wanted to go (I20). */
export interface PlaintextStart {
  /** Owned by the connection from here on. */
  readonly channel: Channel;
  /** The application is to see the peer's address (I24). */
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
  | { readonly kind: "copying"; readonly joined: Joined }
  | { readonly kind: "dismissing"; readonly dismissal: Dismissal }
  | { readonly kind: "over" };

export class PlaintextConnection extends Listed implements ChannelHandler {
  readonly #parts: DataPlaneParts;
  readonly #manager: ConnectionManager;
  readonly #channel: Channel;
  readonly #spoof: boolean;
  readonly #onOver: (connection: PlaintextConnection) => void;
  readonly #acceptedAtMs: number;
  #state: State = { kind: "over" };

  /** @param onOver Called once, in a later turn, when nothing of it is left. */
  constructor(
    { channel, spoof }: PlaintextStart,
    manager: ConnectionManager,
    parts: DataPlaneParts,
    onOver: (connection: PlaintextConnection) => void,
  ) {
    super();
    this.#channel = channel;
    this.#spoof = spoof;
    this.#manager = manager;
    this.#parts = parts;
    this.#onOver = onOver;
    this.#acceptedAtMs = parts.clock.nowMs();
    channel.attach(this);
    channel.pause();
    this.#guarded(() => this.#route());
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
        this.#closeDialing(state, reason);
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
    this.#state = { kind: "over" };
    this.#channel.reset(reason); // Its onClose() says that it is over.
  }

  /** Paused from the start: the peer's bytes wait until there is somebody to take them. */
  onData(): void {
    assert(false, "A paused channel delivers nothing");
  }

  onEnd(): void {
    assert(false, "A paused channel delivers nothing");
  }

  onWritable(): void {}

  /** The peer went away before there was anybody to talk to: not an error of ours (C6). */
  onClose(_error: ProxyError | null): void {
    const state = this.#state;
    if (state.kind === "routing") state.step.cancel();
    if (state.kind === "dialing") {
      state.step.cancel();
      this.#closeDialing(state, null);
    }
    this.#over();
  }

  /** What is captured twice would come back for ever: own ports are refused whatever the address (I21). */
  #route(): void {
    const { settings, router, local } = this.#parts;
    const { peer, local: destination } = this.#channel;
    if (settings.internalPorts.has(destination.port)) {
      this.#refuse(new RouteError("SELF_CALL", "attempted recursive call to ourselves"));
      return;
    }
    const step = askInTime<InboundRoute>(
      (done) => router.inboundPlaintext({ local, peerIp: peer.ip, destination }, done),
      this.#parts,
      (outcome) => this.#guarded(() => this.#onRoute(outcome)),
    );
    this.#state = { kind: "routing", step };
  }

  #onRoute(outcome: InboundRoute | ProxyError): void {
    assert(this.#state.kind === "routing", "A cancelled step calls nobody");
    if (outcome instanceof ProxyError) this.#refuse(outcome);
    else this.#authorize(outcome);
  }

  /** Nobody has shown an identity, so none is judged (I23). */
  #authorize(route: InboundRoute): void {
    const { peer } = this.#channel;
    const registration = this.#manager.register({ source: peer, identity: null, route }, this);
    const record = new OpenRecord(this.#facts(route), this.#acceptedAtMs, this.#parts);
    this.#state = { kind: "dialing", step: NOTHING_TO_CANCEL, record, registration };
    const verdict = registration.judge();
    if (verdict.kind === "deny") {
      this.#fail(new PolicyDeniedError(verdict.text), "DENY");
      return;
    }
    this.#dial(route.dial, record, registration);
  }

  #dial(target: SocketAddress, record: OpenRecord, registration: Registration): void {
    const step = dialApplication(
      {
        target,
        fromIp: null,
        clientIp: this.#spoof ? this.#channel.peer.ip : null,
        logScope: "ztunnel::proxy::inbound_passthrough",
      },
      this.#parts,
      (outcome) => this.#guarded(() => this.#onDialed(outcome)),
    );
    this.#state = { kind: "dialing", step, record, registration };
  }

  #onDialed(outcome: Channel | ProxyError): void {
    assert(this.#state.kind === "dialing", "A cancelled step calls nobody");
    if (outcome instanceof ProxyError) {
      this.#fail(new ApplicationUnreachable(outcome));
      return;
    }
    const { record, registration } = this.#state;
    try {
      const joined = joinChannels(this.#channel, outcome, record, this.#parts, (error) => {
        registration.release();
        record.close(error, this.#parts.clock.nowMs());
        this.#over();
      });
      this.#state = { kind: "copying", joined };
    } catch (thrown) {
      outcome.reset(null); // It is ours already, and no state knows it yet.
      throw thrown;
    }
  }

  /** Before it was opened: one line, no metrics. */
  #refuse(error: ProxyError): void {
    this.#report(error);
    this.#dismiss();
  }

  /** After it was opened: a whole record. */
  #fail(error: ProxyError, flag?: ResponseFlag): void {
    assert(this.#state.kind === "dialing", "Only an opened connection fails so");
    this.#closeDialing(this.#state, error, flag);
    this.#dismiss();
  }

  #report(error: ProxyError): void {
    this.#parts.events.failedEarly({
      direction: "inbound",
      sourceAddress: this.#channel.peer,
      destinationAddress: this.#channel.local,
      error,
    });
  }

  #dismiss(): void {
    const dismissal = dismiss(this.#channel, this.#parts, () => this.#over());
    this.#state = { kind: "dismissing", dismissal };
  }

  #closeDialing(
    { record, registration }: State & { readonly kind: "dialing" },
    error: ProxyError | null,
    flag: ResponseFlag = flagOf(error),
  ): void {
    registration.release();
    record.close(error, this.#parts.clock.nowMs(), flag);
  }

  #over(): void {
    this.#state = { kind: "over" };
    this.#onOver(this);
  }

  /** What is known when it opens (spec/config-and-observability §6.3, reporter destination, 15006). */
  #facts(route: InboundRoute): ConnectionFacts {
    return {
      direction: "inbound",
      protocol: "TCP",
      listener: "inbound plaintext",
      sourceAddress: this.#channel.peer,
      destinationAddress: this.#channel.local,
      hboneAuthority: null,
      source: route.source,
      sourceIdentity: null,
      sourceBaggage: null,
      destination: route.destination,
      destinationIdentity: route.destination.identity,
      destinationBaggage: null,
      service: route.service,
      mutualTls: false,
      traceId: newTraceParent(this.#parts.random).traceId,
    };
  }

  /** Runs one step; a bug in it ends this connection only. */
  #guarded(step: () => void): void {
    try {
      step();
    } catch (thrown) {
      const error = this.#parts.faults.caught(thrown, "inbound/plaintext_connection");
      this.terminate(error);
      this.#channel.reset(error); // Also where no state was reached yet.
    }
  }
}
