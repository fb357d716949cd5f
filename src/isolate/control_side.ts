// The control isolate's side of the border: planes that run elsewhere, as if they ran here.
import { assert } from "../base/assert.ts";
import type { Cancel, Done } from "../base/channel.ts";
import type { Clock } from "../base/clock.ts";
import type { ProxyError } from "../base/errors.ts";
import type { Random } from "../base/random.ts";
import type { DataPlaneOptions, DataPlaneStats } from "../dataplane.ts";
import type { Events, LogLevel } from "../seam/events.ts";
import type { Router } from "../seam/router.ts";
import type { RotatingCertificateSource } from "../tls/certificate.ts";
import type { CrlSet } from "../tls/crl.ts";
import type { RevocationCounts } from "../tls/revocation.ts";
import { CertificatePush } from "./certificate_push.ts";
import { ChangeGather } from "./change_gather.ts";
import { DataPlaneDead, decodeError, MessageError } from "./errors.ts";
import { EventReader } from "./event_reader.ts";
import { READ_BATCHES_TOLD } from "./event_writer.ts";
import { Heartbeat, SILENCE_MS_MAX } from "./heartbeat.ts";
import { checkMessage } from "./message_check.ts";
import type { DataPlaneHealth, FromDataPlane, ToDataPlane } from "./messages.ts";
import type { OpenListeners, RunningPlane } from "./plane.ts";
import { QuestionDesk } from "./question_desk.ts";

/** Data planes of one isolate: pods of a node. */
export const PLANES_MAX = 4096;
/** Statistics asked for and not answered. */
export const REQUESTS_MAX = 1024;
/** Heap in use, as a part of its limit, above which the data plane is taken for lost (design §6). */
export const HEAP_PART_MAX = 0.9;

/** What a plane is started from: of the control isolate, or copied to the other one. */
export type HostedPlaneOptions =
  & Omit<DataPlaneOptions, "network" | "clock" | "random" | "certificates">
  & { readonly certificates: RotatingCertificateSource };

/** A plane of the other isolate. */
export type HostedPlane = RunningPlane;

export interface ControlSideOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Sends and wakes. */
  readonly post: (message: ToDataPlane, transfer?: readonly ArrayBuffer[]) => void;
  /** Lines about the data plane's isolate itself. */
  readonly log: Events["log"];
  /** The most that any scope's filter lets through; asked with each heartbeat. Default: everything is sent. */
  readonly logLevel?: () => LogLevel;
  /** Connections were refused for want of descriptors, `count` since the last call. */
  readonly onRefused?: (count: number, connectionsMax: number) => void;
  /** The data plane is lost, and why; once. What was asked of it is answered first. */
  readonly onDeath: (reason: string) => void;
}

const NO_STATS: DataPlaneStats = {
  connections: 0,
  inboundTransports: 0,
  outboundTransports: 0,
  pooled: 0,
  streams: 0,
  heldBytes: 0,
  tracked: 0,
  blocksLent: 0,
  timers: 0,
  faults: 0,
  refusedConnections: 0,
  refusedHandshakes: 0,
};

/** A Router that the data plane asks through this side. */
interface KnownRouter {
  readonly number: number;
  readonly router: Router;
  readonly changes: ChangeGather;
  readonly watch: Cancel;
  users: number;
}

type State = "running" | "closing" | "over";

/** Drives one data-plane isolate. */
export class ControlSide {
  readonly #options: ControlSideOptions;
  readonly #heartbeat: Heartbeat;
  readonly #desk: QuestionDesk;
  readonly #reader: EventReader;
  readonly #planes = new Map<number, Hosted>();
  readonly #routers = new Map<number, KnownRouter>();
  readonly #requests = new Map<number, { settle(answer: FromDataPlane | null): void }>();
  readonly #onClosed: ((leaked: Readonly<Record<string, number>>) => void)[] = [];
  /** Events about no plane. */
  readonly #ownEvents: Events;
  #state: State = "running";
  #health: DataPlaneHealth | null = null;
  #revocation: RevocationCounts = { source: 0, destination: 0 };
  #bugs = 0;
  #lastPlane = 0;
  #lastRouter = 0;
  #lastRequest = 0;
  #batchesUntold = 0;

  /** The data plane has said `opened`; its heart is watched from now on. */
  constructor(options: ControlSideOptions) {
    const { clock, post, random, log, logLevel = () => "trace" as const } = options;
    this.#options = options;
    this.#heartbeat = new Heartbeat({
      clock,
      ping: () => post({ kind: "ping", logLevel: logLevel() }),
      onSilent: () => this.#die(`it was silent for ${SILENCE_MS_MAX / 1000} s`),
    });
    this.#desk = new QuestionDesk({
      random,
      post: (message) => {
        // No answer overtakes a change that it knows of.
        for (const { changes } of this.#routers.values()) changes.tell();
        post(message);
      },
    });
    this.#ownEvents = { opened() {}, closed() {}, failedEarly() {}, log };
    this.#reader = new EventReader((plane) =>
      plane === 0 ? this.#ownEvents : this.#planes.get(plane)?.events ?? null
    );
  }

  /** As of the last heartbeat; null before the first. */
  get health(): DataPlaneHealth | null {
    return this.#health;
  }

  /** Peers refused, and connections ended, because of revocation lists; as of the last lists or heartbeat. */
  get revocation(): RevocationCounts {
    return this.#revocation;
  }

  /** As `RevocationLists.replace`, for all planes there are and will be. */
  replaceLists(lists: CrlSet): void {
    this.post({ kind: "crls", lists: lists.der });
  }

  /** Exceptions caught in the data plane outside of any plane's own count. */
  get bugs(): number {
    return this.#bugs;
  }

  /** Connections that were told to be open and not to be closed. */
  get liveRecords(): number {
    return this.#reader.liveRecords;
  }

  get planes(): number {
    return this.#planes.size;
  }

  /** `done` follows when its listeners are open, or none of them is. */
  openPlane(options: HostedPlaneOptions, done: Done<HostedPlane>): void {
    const { clock, post } = this.#options;
    if (this.#state !== "running") {
      clock.soon({ runTask: () => done(new DataPlaneDead("the data plane is over")) });
      return;
    }
    assert(this.#planes.size < PLANES_MAX, "Pods of a node are fewer");
    const { router, certificates, events, ...rest } = options;
    const number = ++this.#lastPlane;
    const known = this.#routerOf(router);
    post({
      kind: "open",
      plane: number,
      router: known.number,
      identity: certificates.identity,
      options: rest,
    });
    const push = new CertificatePush({
      source: certificates,
      post: (certificate, transfer) =>
        post({ kind: "certificate", plane: number, certificate }, transfer),
      postFailure: (error) => post({ kind: "noCertificate", plane: number, error }),
    });
    this.#planes.set(number, new Hosted({ number, events, push, router: known, done, side: this }));
  }

  /** Stops all planes and what they run on; `done` hears how many native objects were left, by kind. */
  close(done: (leaked: Readonly<Record<string, number>>) => void): void {
    if (this.#state === "over") {
      this.#options.clock.soon({ runTask: () => done({}) });
      return;
    }
    this.#onClosed.push(done);
    if (this.#state === "closing") return;
    this.#state = "closing";
    this.#options.post({ kind: "close" });
  }

  /** The isolate itself failed: an uncaught exception, or it went away. */
  died(reason: string): void {
    this.#die(reason);
  }

  /** One message of the data plane. What cannot be read is its death. */
  receive(value: unknown): void {
    if (this.#state === "over") return;
    this.#heartbeat.heard();
    try {
      this.#handle(checkMessage(value));
    } catch (thrown) {
      if (!(thrown instanceof MessageError)) throw thrown;
      this.#die(thrown.message);
    }
  }

  // For Hosted: the messages of one plane.

  post(message: ToDataPlane): void {
    if (this.#state !== "over") this.#options.post(message);
  }

  get isOver(): boolean {
    return this.#state === "over";
  }

  /** Runs at the end of the turn. */
  soon(run: () => void): void {
    this.#options.clock.soon({ runTask: run });
  }

  /** Posts what `message` makes of a new number; `settle` gets its answer, or null when none will come. */
  request(
    message: (request: number) => ToDataPlane,
    settle: (answer: FromDataPlane | null) => void,
  ): void {
    if (this.#state === "over" || this.#requests.size >= REQUESTS_MAX) {
      this.soon(() => settle(null));
      return;
    }
    const request = ++this.#lastRequest;
    this.#requests.set(request, { settle });
    this.#options.post(message(request));
  }

  #handle(message: FromDataPlane): void {
    switch (message.kind) {
      case "planeOpened":
        return this.#plane(message.plane).opened(message.listeners);
      case "planeFailed":
        return this.#over(message.plane).failed(decodeError(message.error));
      case "planeEnded":
        return this.#over(message.plane).ended();
      case "stats":
      case "gone":
        return this.#settle(message.request, message);
      case "revoked":
        this.#revocation = message.counts;
        return;
      case "certificateWanted":
        this.#planes.get(message.plane)?.push.want();
        return;
      case "ask":
        return this.#desk.ask(this.#router(message.router), message.question, message.about);
      case "cancel":
        return this.#desk.cancel(message.question);
      case "events":
        this.#reader.read(message.items);
        return this.#tellRead();
      case "pong": {
        const { heapUsedBytes: used, heapLimitBytes: limit } = message;
        this.#health = message.health;
        if (used <= limit * HEAP_PART_MAX) return;
        return this.#die(`its heap is full: ${mebibytes(used)} of ${mebibytes(limit)} MiB`);
      }
      case "bug":
        this.#bugs++;
        return this.#options.log("error", "ztunnel::isolate", "bug in the data plane", {
          error: message.stack,
        });
      case "refused":
        return this.#options.onRefused?.(message.count, message.connectionsMax);
      case "dying":
        return this.#die(message.reason);
      case "closed":
        return this.#end(message.leaked);
      case "opened":
      case "failed":
        throw new MessageError(
          `Cannot read a message of kind ${message.kind}: it was said already`,
        );
    }
  }

  #plane(number: number): Hosted {
    const plane = this.#planes.get(number);
    if (plane === undefined) throw new MessageError(`There is no plane ${number}`);
    return plane;
  }

  /** A plane that nothing more will be heard of. */
  #over(number: number): Hosted {
    const plane = this.#plane(number);
    this.#planes.delete(number);
    plane.push.close();
    if (--plane.router.users === 0) {
      plane.router.watch.cancel();
      plane.router.changes.close();
      this.#routers.delete(plane.router.number);
    }
    return plane;
  }

  #router(number: number): Router {
    const known = this.#routers.get(number);
    if (known === undefined) throw new MessageError(`There is no router ${number}`);
    return known.router;
  }

  /** Planes that share a Router share its cache there, and one subscription here. */
  #routerOf(router: Router): KnownRouter {
    for (const known of this.#routers.values()) {
      if (known.router !== router) continue;
      known.users++;
      return known;
    }
    const number = ++this.#lastRouter;
    const { clock, post } = this.#options;
    const changes = new ChangeGather(
      clock,
      (change) => post({ kind: "change", router: number, change }),
    );
    const watch = router.onChange((change) => changes.add(change));
    const known = { number, router, changes, watch, users: 1 };
    this.#routers.set(number, known);
    return known;
  }

  #settle(request: number, answer: FromDataPlane): void {
    const waiting = this.#requests.get(request);
    if (waiting === undefined) throw new MessageError(`There is no request ${request}`);
    this.#requests.delete(request);
    waiting.settle(answer);
  }

  #tellRead(): void {
    if (++this.#batchesUntold < READ_BATCHES_TOLD) return;
    this.#options.post({ kind: "read", batches: this.#batchesUntold });
    this.#batchesUntold = 0;
  }

  /** Also at a death: nobody waits for ever. */
  #end(leaked: Readonly<Record<string, number>>): void {
    this.#state = "over";
    this.#heartbeat.stop();
    this.#desk.close();
    for (const number of [...this.#planes.keys()]) {
      const plane = this.#over(number);
      plane.failed(new DataPlaneDead("the data plane is over"));
      plane.ended();
    }
    for (const { settle } of [...this.#requests.values()]) settle(null);
    this.#requests.clear();
    for (const done of this.#onClosed.splice(0)) done(leaked);
  }

  #die(reason: string): void {
    if (this.#state === "over") return;
    this.#end({});
    this.#options.onDeath(reason);
  }
}

interface HostedParts {
  readonly number: number;
  readonly events: Events;
  readonly push: CertificatePush;
  readonly router: KnownRouter;
  readonly done: Done<HostedPlane>;
  readonly side: ControlSide;
}

const NOWHERE: OpenListeners = {
  inbound: null,
  inboundPlaintext: null,
  outbound: null,
  socks5: null,
};

/** One plane of the other isolate. */
class Hosted implements HostedPlane {
  local: OpenListeners = NOWHERE;
  readonly events: Events;
  readonly push: CertificatePush;
  readonly router: KnownRouter;
  readonly #number: number;
  readonly #side: ControlSide;
  readonly #onEnded: (() => void)[] = [];
  #done: Done<HostedPlane> | null;
  #ended = false;

  constructor({ number, events, push, router, done, side }: HostedParts) {
    this.#number = number;
    this.events = events;
    this.push = push;
    this.router = router;
    this.#done = done;
    this.#side = side;
  }

  drain(deadlineMs: number, done: () => void): void {
    this.#end({ kind: "drain", plane: this.#number, deadlineMs }, done);
  }

  stop(done: () => void): void {
    this.#end({ kind: "stop", plane: this.#number }, done);
  }

  /** Zeros once the plane is over. */
  stats(done: (stats: DataPlaneStats) => void): void {
    if (this.#ended) return this.#side.soon(() => done(NO_STATS));
    this.#side.request(
      (request) => ({ kind: "stats", plane: this.#number, request }),
      (answer) => done(answer?.kind === "stats" ? answer.stats : NO_STATS),
    );
  }

  /** For ControlSide. */
  opened(listeners: OpenListeners): void {
    if (this.#done === null) throw new MessageError(`Plane ${this.#number} is opened twice`);
    this.local = listeners;
    const done = this.#done;
    this.#done = null;
    done(this);
  }

  /** For ControlSide: before it was open. */
  failed(error: ProxyError): void {
    const done = this.#done;
    this.#done = null;
    this.#ended = true;
    done?.(error);
  }

  /** For ControlSide: after a drain or stop, or with everything else. */
  ended(): void {
    this.#ended = true;
    for (const done of this.#onEnded.splice(0)) done();
  }

  #end(message: ToDataPlane, done: () => void): void {
    if (this.#ended) return this.#side.soon(done);
    this.#onEnded.push(done);
    this.#side.post(message);
  }
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / 1_048_576);
}
