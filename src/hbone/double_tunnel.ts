// A tunnel inside a tunnel, through the gateway of another network (spec/data-path §1.11).
//
// state         what it waits for                       what it holds meanwhile
// outer         a stream to the gateway, and its 200    -
// certificate   our own certificate                     the outer stream
// handshake     TLS on the outer stream                 that (the network has it)
// inner         the far proxy's 200                     the inner connection
// over          -                                       -
//
// Each wait has its limit; a failure or a cancel ends what is held, and with it the outer stream. The gateway's
// connection stays in the pool.
import { assert } from "../base/assert.ts";
import { type Cancel, type Done, NOTHING_TO_CANCEL } from "../base/channel.ts";
import type { Timer } from "../base/clock.ts";
import { DeadlineError, ProxyError } from "../base/errors.ts";
import type { HeaderList } from "../h2/types.ts";
import type { SecureChannel } from "../net/network.ts";
import type { CertifiedKey } from "../tls/certificate.ts";
import { rejectedServer } from "../tls/errors.ts";
import type { SpiffeId } from "../tls/spiffe_id.ts";
import { type AcceptedConnect, openTunnel } from "./client.ts";
import type { ClientConnection } from "./client_connection.ts";
import { IdentityFailure, IoFailure, PathError, TlsSetupFailure } from "./errors.ts";
import type { DataPlaneParts } from "./parts.ts";
import type { HbonePool, Tunnel, TunnelRequest } from "./pool.ts";

/** What is asked of the far proxy. */
export interface InnerRequest {
  /** It must show one of these; empty: nobody can. */
  readonly expected: readonly SpiffeId[];
  /** See `connectHeaders`. */
  readonly headers: HeaderList;
}

export interface DoubleTunnelRequest {
  readonly outer: TunnelRequest;
  readonly inner: InnerRequest;
}

/**
 * Opens both tunnels. The outer one is a stream of the pool's; the inner one has a connection of its own, since a
 * shared one would pin all calls of a service to one far workload. `done` hears the inner stream, the far proxy's
 * answer and identity; errors are `PathError`.
 */
export function openDoubleTunnel(
  request: DoubleTunnelRequest,
  pool: HbonePool,
  parts: DataPlaneParts,
  done: Done<Tunnel>,
): Cancel {
  const opening = new DoubleTunnel(request.inner, pool, parts, done);
  opening.start(request.outer);
  return opening;
}

type State =
  | { readonly kind: "outer"; readonly step: Cancel }
  | {
    readonly kind: "certificate";
    readonly step: Cancel;
    readonly timer: Timer;
    readonly outer: Tunnel;
  }
  | { readonly kind: "handshake"; readonly step: Cancel }
  | { readonly kind: "inner"; readonly step: Cancel; readonly connection: ClientConnection }
  | { readonly kind: "over" };

class DoubleTunnel implements Cancel {
  readonly #request: InnerRequest;
  readonly #pool: HbonePool;
  readonly #parts: DataPlaneParts;
  readonly #done: Done<Tunnel>;
  #state: State = { kind: "outer", step: NOTHING_TO_CANCEL };

  constructor(
    request: InnerRequest,
    pool: HbonePool,
    parts: DataPlaneParts,
    done: Done<Tunnel>,
  ) {
    this.#request = request;
    this.#pool = pool;
    this.#parts = parts;
    this.#done = done;
  }

  start(outer: TunnelRequest): void {
    const step = this.#pool.connect(
      outer,
      (outcome) => this.#guarded(() => this.#onOuter(outcome)),
    );
    this.#state = { kind: "outer", step };
  }

  cancel(): void {
    this.#letGo(null);
  }

  /** The gateway's answer says nothing of the far workload: its headers are not looked at (step 3). */
  #onOuter(outcome: Tunnel | ProxyError): void {
    assert(this.#state.kind === "outer", "A cancelled step calls nobody");
    if (outcome instanceof ProxyError) {
      this.#fail(outcome);
      return;
    }
    const { certificates, clock, limits } = this.#parts;
    const timer = clock.after(
      limits.certificateMsMax,
      () => this.#fail(new IdentityFailure(new DeadlineError())),
    );
    this.#state = { kind: "certificate", step: NOTHING_TO_CANCEL, timer, outer: outcome };
    const step = certificates.get((certificate) =>
      this.#guarded(() => this.#onCertificate(certificate))
    );
    this.#state = { kind: "certificate", step, timer, outer: outcome };
  }

  #onCertificate(certificate: CertifiedKey | ProxyError): void {
    assert(this.#state.kind === "certificate", "A cancelled step calls nobody");
    if (certificate instanceof ProxyError) {
      this.#fail(new IdentityFailure(certificate));
      return;
    }
    const { timer, outer } = this.#state;
    const { network, limits } = this.#parts;
    const { expected } = this.#request;
    const step = network.secureClient(
      outer.stream,
      { certificate, expected, timeoutMs: limits.handshakeMsMax },
      (outcome) => this.#guarded(() => this.#onSecured(outer.connection, outcome)),
    );
    timer.cancel();
    this.#state = { kind: "handshake", step };
  }

  #onSecured(carrier: ClientConnection, outcome: SecureChannel | ProxyError): void {
    assert(this.#state.kind === "handshake", "A cancelled step calls nobody");
    if (outcome instanceof ProxyError) {
      this.#fail(handshakeFailure(outcome));
      return;
    }
    const revoked = this.#parts.network.revocation.findRevoked(outcome.security.peerPath, "server");
    if (revoked !== null) {
      outcome.reset(null); // The lists changed while its handshake was under way.
      this.#fail(handshakeFailure(rejectedServer(revoked)));
      return;
    }
    let connection: ClientConnection;
    try {
      connection = this.#pool.adopt(outcome, carrier);
    } catch (thrown) {
      outcome.reset(null); // It is ours already, and no state knows it yet.
      throw thrown;
    }
    this.#state = { kind: "inner", step: NOTHING_TO_CANCEL, connection };
    const step = openTunnel(
      connection.h2,
      this.#request.headers,
      this.#parts,
      (accepted) => this.#guarded(() => this.#onInner(connection, accepted)),
    );
    this.#state = { kind: "inner", step, connection };
  }

  #onInner(connection: ClientConnection, outcome: AcceptedConnect | ProxyError): void {
    assert(this.#state.kind === "inner", "A cancelled step calls nobody");
    if (outcome instanceof ProxyError) {
      this.#fail(outcome);
      return;
    }
    this.#state = { kind: "over" };
    connection.release(); // It ends with its only stream.
    this.#done({ ...outcome, connection });
  }

  #fail(error: ProxyError): void {
    this.#letGo(error);
    this.#done(error);
  }

  /** Runs one step; a bug in it ends these two tunnels only. */
  #guarded(step: () => void): void {
    try {
      step();
    } catch (thrown) {
      const error = this.#parts.faults.caught(thrown, "hbone/double_tunnel");
      if (this.#state.kind !== "over") this.#fail(error);
    }
  }

  /** Ends the step under way, and whatever stands of the two tunnels. */
  #letGo(reason: ProxyError | null): void {
    const state = this.#state;
    this.#state = { kind: "over" };
    switch (state.kind) {
      case "outer":
      case "handshake":
        state.step.cancel();
        return;
      case "certificate":
        state.step.cancel();
        state.timer.cancel();
        state.outer.stream.reset(reason);
        return;
      case "inner":
        state.step.cancel();
        state.connection.abort(reason);
        return;
      case "over":
        return;
    }
  }
}

/** How a failed handshake with the far proxy reads: as one with any peer (spec/data-path §2.9). */
function handshakeFailure(error: ProxyError): PathError {
  if (error instanceof PathError) return error;
  return error.code === "TLS_MATERIAL" ? new TlsSetupFailure(error) : new IoFailure(error);
}
