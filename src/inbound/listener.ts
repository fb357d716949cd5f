// The HBONE listener, 15008: accept, authenticate, serve each CONNECT (spec/data-path §3.1).
import { formatAddress, type SocketAddress } from "../base/address.ts";
import { type Cancel, type Channel, type Done, NOTHING_TO_CANCEL } from "../base/channel.ts";
import { NetError, ProxyError } from "../base/errors.ts";
import { Listed, Roster } from "../base/roster.ts";
import { H2Error } from "../h2/errors.ts";
import type { H2Stream, HeaderList } from "../h2/types.ts";
import type { ConnectionBudget } from "../hbone/budget.ts";
import type { Component } from "../hbone/component.ts";
import {
  DrainError,
  HandshakeFailed,
  Http2Failure,
  Http2HandshakeFailed,
  LimitReached,
  PeerRevoked,
} from "../hbone/errors.ts";
import { Intake, type IntakeOwner } from "../hbone/intake.ts";
import type { DataPlaneParts } from "../hbone/parts.ts";
import { ServerConnection, type ServerConnectionOwner } from "../hbone/server.ts";
import type { Listener, PeerSecurity, SecureChannel } from "../net/network.ts";
import { rejectedClient, TlsHandshakeError } from "../tls/errors.ts";
import type { ConnectionManager } from "./connection_manager.ts";
import { InboundTunnel } from "./tunnel.ts";

/** One accepted connection on its way through TLS. */
class Handshake extends Listed {
  readonly channel: Channel;
  step: Cancel = NOTHING_TO_CANCEL;

  constructor(channel: Channel) {
    super();
    this.channel = channel;
  }
}

/** Owns everything it accepted until it is over. */
export class InboundServer implements Component, IntakeOwner, ServerConnectionOwner {
  readonly name = "inbound";
  readonly intake: Intake;
  readonly #parts: DataPlaneParts;
  readonly #manager: ConnectionManager;
  readonly #budget: ConnectionBudget;
  /** Oldest first. */
  readonly #handshakes = new Roster<Handshake>();
  readonly #servers = new Roster<ServerConnection>();
  readonly #tunnels = new Roster<InboundTunnel>();
  #handshakesRefused = 0;

  /** @param budget What each CONNECT takes one from; connections and handshakes have limits of their own. */
  constructor(parts: DataPlaneParts, budget: ConnectionBudget, manager: ConnectionManager) {
    this.#parts = parts;
    this.#budget = budget;
    this.#manager = manager;
    this.intake = new Intake(parts, this, { direction: "inbound", budget: null });
  }

  get connections(): number {
    return this.#tunnels.size;
  }

  /** HBONE connections, handshakes included. */
  get transports(): number {
    return this.#servers.size + this.#handshakes.size;
  }

  /** Handshakes ended because too many were in progress (design §5). */
  get handshakesRefused(): number {
    return this.#handshakesRefused;
  }

  get openStreams(): number {
    let count = 0;
    for (const server of this.#servers.members()) count += server.openStreams;
    return count;
  }

  get heldBytes(): number {
    let count = 0;
    for (const server of this.#servers.members()) count += server.heldBytes;
    return count;
  }

  get occupied(): boolean {
    return this.#tunnels.size > 0 || this.transports > 0;
  }

  get busy(): boolean {
    return this.occupied;
  }

  /** No keepalive on accepted sockets: PING does that work (I1). */
  listen(address: SocketAddress, done: Done<Listener>): Cancel {
    return this.intake.listen(address, { keepalive: null }, done);
  }

  /** Handshakes are cut, connections get GOAWAY (§6.1). */
  drain(onQuiet: () => void): void {
    this.intake.drain(onQuiet);
    for (const handshake of this.#handshakes.members()) this.#cut(handshake, new DrainError());
    for (const server of this.#servers.members()) server.drain();
  }

  finish(done: () => void): void {
    done();
  }

  force(reason: ProxyError): void {
    for (const tunnel of this.#tunnels.members()) tunnel.terminate(reason);
    for (const server of this.#servers.members()) server.abort(reason);
  }

  /** Ends every connection whose peer the predicate names (W25); says how many. */
  revoke(isRevoked: (peer: PeerSecurity) => boolean): number {
    let revoked = 0;
    for (const server of this.#servers.members()) {
      if (!isRevoked(server.channel.security)) continue;
      server.revoke();
      revoked++;
    }
    return revoked;
  }

  onServerRequest(
    server: ServerConnection,
    stream: H2Stream,
    headers: HeaderList,
    _endStream: boolean,
  ): void {
    const hasRoom = this.#budget.take();
    const tunnel = new InboundTunnel(
      { connection: server.channel, stream, headers, spoof: this.intake.transparent },
      this.#manager,
      this.#parts,
      (over) => {
        this.#tunnels.delete(over);
        if (hasRoom) this.#budget.giveBack();
        this.intake.settle();
      },
    );
    this.#tunnels.add(tunnel);
    tunnel.begin(this.#budget, hasRoom);
  }

  onServerRefused(server: ServerConnection, error: ProxyError): void {
    this.#report(server.channel, new Http2Failure(error));
    if (error instanceof H2Error) {
      this.#parts.events.log("debug", "ztunnel::proxy::h2::server", error.detail);
    }
  }

  /** A peer that never sent a request is told apart: what it did is the only thing to say of it. */
  onServerClosed(server: ServerConnection, error: ProxyError | null): void {
    this.#servers.delete(server);
    if (error !== null && !(error instanceof DrainError)) {
      const isPeers = server.requests === 0 && !(error instanceof PeerRevoked);
      if (isPeers) this.#report(server.channel, new Http2HandshakeFailed(error));
      else this.#logEnd(server, error);
    }
    this.intake.settle();
  }

  /** What the peer did wrong is worth a warning; that it went away is not. */
  #logEnd(server: ServerConnection, error: ProxyError): void {
    const broken = error instanceof H2Error && error.origin === "detected";
    const { peer, local } = server.channel;
    this.#parts.events.log(
      broken || error instanceof LimitReached ? "warn" : "debug",
      "ztunnel::proxy::h2::server",
      `HBONE connection ended: ${broken ? error.detail : error.message}`,
      {
        "src.addr": { unquoted: formatAddress(peer) },
        "dst.addr": { unquoted: formatAddress(local) },
      },
    );
  }

  onAccepted(channel: Channel): void {
    const { limits, network, certificates } = this.#parts;
    if (this.#servers.size >= limits.inboundTunnelsMax) {
      const text = `no room for another HBONE connection: ${limits.inboundTunnelsMax} are open`;
      const error = new LimitReached("HBONE_CONNECTIONS_FULL", text);
      this.#report(channel, error);
      channel.reset(error);
      return;
    }
    if (this.#handshakes.size >= limits.handshakesMax) {
      const text = `${limits.handshakesMax} others are in progress`;
      this.#handshakesRefused++;
      this.#cut(
        this.#handshakes.first!,
        new HandshakeFailed(new LimitReached("HANDSHAKES_FULL", text)),
      );
    }
    const handshake = new Handshake(channel);
    this.#handshakes.add(handshake);
    try {
      handshake.step = network.secureServer(
        channel,
        { certificates, timeoutMs: limits.handshakeMsMax },
        (outcome) => this.#onSecured(handshake, outcome),
      );
    } catch (thrown) {
      this.#handshakes.delete(handshake);
      channel.reset(this.#parts.faults.caught(thrown, "inbound/listener"));
    }
  }

  /** Cancelling the handshake resets its channel. */
  #cut(handshake: Handshake, error: ProxyError): void {
    this.#handshakes.delete(handshake);
    handshake.step.cancel();
    this.#report(handshake.channel, error);
  }

  #onSecured(handshake: Handshake, outcome: SecureChannel | ProxyError): void {
    this.#handshakes.delete(handshake);
    if (outcome instanceof ProxyError) {
      this.#report(handshake.channel, handshakeFailure(outcome));
      this.intake.settle();
      return;
    }
    const revoked = this.#parts.network.revocation.findRevoked(outcome.security.peerPath, "client");
    if (revoked !== null) {
      outcome.reset(null); // The lists changed while its handshake was under way.
      this.#report(handshake.channel, handshakeFailure(rejectedClient(revoked)));
      this.intake.settle();
      return;
    }
    try {
      const server = new ServerConnection(outcome, this.#parts, this);
      this.#servers.add(server);
    } catch (thrown) {
      outcome.reset(this.#parts.faults.caught(thrown, "inbound/listener"));
    }
  }

  #report(channel: Channel, error: ProxyError): void {
    this.#parts.events.failedEarly({
      direction: "inbound",
      sourceAddress: channel.peer,
      destinationAddress: channel.local,
      error,
    });
  }
}

/** Whose fault the failed handshake was: the peer's, our certificate's, or the CA's (§7.6). */
function handshakeFailure(error: ProxyError): HandshakeFailed {
  if (error.code === "TLS_MATERIAL") return new HandshakeFailed(error, "ssl error");
  const peers = error instanceof TlsHandshakeError || error instanceof NetError;
  return new HandshakeFailed(error, peers ? "tls handshake error" : "signing error");
}
