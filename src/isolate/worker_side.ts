// The data-plane isolate's side of the border: planes by number, driven by messages. Knows no worker and no native code.
import type { Clock } from "../base/clock.ts";
import { ProxyError } from "../base/errors.ts";
import type { Random } from "../base/random.ts";
import { type DataPlane, startDataPlane } from "../dataplane.ts";
import type { Network } from "../net/network.ts";
import type { Events, LogLevel } from "../seam/events.ts";
import { CrlSet } from "../tls/crl.ts";
import type { RevocationCounts } from "../tls/revocation.ts";
import { cutText, decodeError, encodeError } from "./errors.ts";
import { EventWriter } from "./event_writer.ts";
import type { DataPlaneHealth, FromDataPlane, ToDataPlane, WireCertificate } from "./messages.ts";
import { type CertificatePins, RemoteCertificates } from "./remote_certificates.ts";
import { Questions, RemoteRouter } from "./remote_router.ts";
import { RouteCache } from "./route_cache.ts";

/** Refusals are told together, so often at most, in ms. */
export const REFUSALS_TOLD_MS = 1000;

/** What a plane needs of its isolate. */
export interface WorkerSideOptions {
  readonly network: Network;
  readonly clock: Clock;
  readonly random: Random;
  readonly pins: CertificatePins;
  readonly logLevel: LogLevel;
  readonly post: (message: FromDataPlane) => void;
  /** True: accept nothing new until false. */
  readonly pauseAccepts: (paused: boolean) => void;
  readonly heap: () => { readonly usedBytes: number; readonly limitBytes: number };
  readonly health: () => DataPlaneHealth;
  /** The control isolate wants the end, and all planes are over. */
  readonly onQuiet: () => void;
}

interface Plane {
  readonly events: Events;
  readonly certificates: RemoteCertificates;
  /** Null while it is being opened. */
  running: DataPlane | null;
}

interface SharedRouter {
  readonly remote: RemoteRouter;
  readonly cache: RouteCache;
}

/** Everything of the data-plane isolate that is not native. */
export class WorkerSide {
  readonly #options: WorkerSideOptions;
  readonly #writer: EventWriter;
  readonly #questions: Questions;
  readonly #routers = new Map<number, SharedRouter>();
  readonly #planes = new Map<number, Plane>();
  #revokedTold: RevocationCounts = { source: 0, destination: 0 };
  #refusals = 0;
  #refusalMax = 0;
  #closing = false;

  constructor(options: WorkerSideOptions) {
    this.#options = options;
    const { clock, post } = options;
    this.#writer = new EventWriter({
      clock,
      post: (items) => post({ kind: "events", items }),
      onBehind: options.pauseAccepts,
      onOverflow: () => this.die("the control isolate does not read what the data plane reports"),
    });
    this.#writer.setLevel(options.logLevel);
    this.#questions = new Questions({ post, clock });
  }

  /** Lines of the isolate itself, of no plane. */
  log(level: LogLevel, scope: string, message: string): void {
    this.#writer.eventsOf(0).log(level, scope, message);
  }

  /** A bug was caught where the loop calls in. */
  bug(thrown: unknown): void {
    const stack = thrown instanceof Error ? thrown.stack ?? thrown.message : String(thrown);
    this.#writer.flush();
    this.#options.post({ kind: "bug", stack: cutText(stack) });
  }

  /** A connection was refused for want of descriptors. */
  refused(connectionsMax: number): void {
    this.#refusalMax = connectionsMax;
    if (this.#refusals++ > 0) return;
    this.#options.clock.after(REFUSALS_TOLD_MS, () => {
      const count = this.#refusals;
      this.#refusals = 0;
      if (!this.#closing) {
        this.#options.post({ kind: "refused", count, connectionsMax: this.#refusalMax });
      }
    });
  }

  /** It cannot go on: the control isolate ends the process. */
  die(reason: string): void {
    this.#options.post({ kind: "dying", reason: cutText(reason) });
  }

  /** One message of the control isolate, in order. */
  receive(message: ToDataPlane): void {
    switch (message.kind) {
      case "open":
        return this.#open(message);
      case "drain":
        return this.#end(message.plane, (running, done) => running.drain(message.deadlineMs, done));
      case "stop":
        return this.#end(message.plane, (running, done) => running.stop(done));
      case "stats":
        return this.#stats(message.plane, message.request);
      case "crls":
        this.#options.network.revocation.replace(CrlSet.fromDer(message.lists));
        return this.#tellRevoked();
      case "certificate":
        return this.#certificate(message.plane, message.certificate);
      case "noCertificate":
        this.#planes.get(message.plane)?.certificates.fail(decodeError(message.error));
        return;
      case "answer":
        return this.#questions.answer(message.question, message.answer);
      case "refusal":
        return this.#questions.refuse(message.question, message.error);
      case "change":
        this.#routers.get(message.router)?.remote.changed(message.change);
        return;
      case "read":
        return this.#writer.read(message.batches);
      case "ping":
        return this.#pong(message.logLevel);
      case "close":
        return this.#close();
    }
  }

  #open({ plane, router, identity, options }: Extract<ToDataPlane, { kind: "open" }>): void {
    const { network, clock, random, pins, post } = this.#options;
    const events = this.#writer.eventsOf(plane);
    const certificates = new RemoteCertificates({
      identity,
      clock,
      pins,
      want: () => post({ kind: "certificateWanted", plane }),
    });
    const entry: Plane = { events, certificates, running: null };
    this.#planes.set(plane, entry);
    startDataPlane({
      ...options,
      network,
      router: this.#router(router).cache,
      certificates,
      events,
      clock,
      random,
    }, (outcome) => {
      if (outcome instanceof ProxyError) {
        this.#forget(plane);
        post({ kind: "planeFailed", plane, error: encodeError(outcome) });
        this.#closeIfEmpty();
        return;
      }
      entry.running = outcome;
      post({ kind: "planeOpened", plane, listeners: outcome.local });
      if (this.#closing) this.#end(plane, (running, done) => running.stop(done));
    });
  }

  #router(number: number): SharedRouter {
    let shared = this.#routers.get(number);
    if (shared === undefined) {
      const remote = new RemoteRouter(number, this.#questions);
      shared = { remote, cache: new RouteCache(remote, { clock: this.#options.clock }) };
      this.#routers.set(number, shared);
    }
    return shared;
  }

  #end(number: number, end: (running: DataPlane, done: () => void) => void): void {
    const running = this.#planes.get(number)?.running ?? null;
    if (running === null) return;
    end(running, () => {
      // Each call of drain or stop gets its own answer from the plane; the first says it all.
      if (!this.#planes.has(number)) return;
      this.#forget(number);
      this.#options.post({ kind: "planeEnded", plane: number });
      this.#closeIfEmpty();
    });
  }

  /** What the plane reported goes out first: it belongs to nobody afterwards. */
  #forget(number: number): void {
    this.#writer.flushAll();
    this.#planes.get(number)?.certificates.close();
    this.#planes.delete(number);
  }

  #stats(number: number, request: number): void {
    const running = this.#planes.get(number)?.running ?? null;
    if (running === null) return this.#options.post({ kind: "gone", request });
    running.stats((stats) => {
      this.#writer.countBytes();
      this.#writer.flush();
      this.#options.post({ kind: "stats", request, stats });
    });
  }

  #tellRevoked(): void {
    const { counts } = this.#options.network.revocation;
    const { source, destination } = this.#revokedTold;
    if (counts.source === source && counts.destination === destination) return;
    this.#revokedTold = counts;
    this.#options.post({ kind: "revoked", counts });
  }

  #certificate(number: number, certificate: WireCertificate): void {
    const plane = this.#planes.get(number);
    if (plane === undefined) {
      certificate.keyDer.fill(0);
      return;
    }
    const refusal = plane.certificates.receive(certificate);
    if (refusal === null) return;
    plane.events.log("error", "ztunnel::identity", "a new certificate cannot be used", {
      identity: certificate.identity.uri,
      error: refusal.message,
    });
  }

  #pong(logLevel: LogLevel): void {
    this.#writer.setLevel(logLevel);
    this.#tellRevoked();
    this.#writer.countBytes();
    this.#writer.flush();
    const { usedBytes, limitBytes } = this.#options.heap();
    this.#options.post({
      kind: "pong",
      heapUsedBytes: usedBytes,
      heapLimitBytes: limitBytes,
      health: this.#options.health(),
    });
  }

  /** Planes that are just being opened end as soon as they are. */
  #close(): void {
    this.#closing = true;
    for (const [number, plane] of [...this.#planes]) {
      if (plane.running !== null) this.#end(number, (running, done) => running.stop(done));
    }
    this.#closeIfEmpty();
  }

  #closeIfEmpty(): void {
    if (!this.#closing || this.#planes.size > 0) return;
    for (const { cache } of this.#routers.values()) cache.close();
    this.#routers.clear();
    this.#writer.flushAll();
    this.#options.onQuiet();
  }
}
