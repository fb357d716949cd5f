// What crosses between the control isolate and the data-plane isolate: small, plain and bounded (design §3.5).
// No version: both ends are of one build.
import type { DataPlaneOptions, DataPlaneStats } from "../dataplane.ts";
import type { LogLevel } from "../seam/events.ts";
import type { PolicySelection } from "../seam/route.ts";
import type {
  HostQuestion,
  InboundQuestion,
  OutboundQuestion,
  PlaintextQuestion,
  StateChange,
} from "../seam/router.ts";
import type { LocalWorkloadName } from "../seam/workload.ts";
import type { RevocationCounts } from "../tls/revocation.ts";
import type { SpiffeId } from "../tls/spiffe_id.ts";
import type { WireError } from "./errors.ts";
import type { EventItem } from "./event_codes.ts";
import type { OpenListeners } from "./plane.ts";
import type { WireAnswer } from "./answer_codec.ts";

/** What a plane is started from, less what cannot be copied. */
export type WirePlaneOptions = Omit<
  DataPlaneOptions,
  "network" | "router" | "certificates" | "events" | "clock" | "random"
>;

/** A certificate on its way; the buffer of `keyDer` is transferred, so that the sender keeps no copy. */
export interface WireCertificate {
  readonly identity: SpiffeId;
  readonly chainDer: readonly Uint8Array<ArrayBuffer>[];
  readonly chainPem: string;
  /** PKCS#8. Secret: never printed, wiped by whoever receives it. */
  readonly keyDer: Uint8Array<ArrayBuffer>;
  readonly rootsDer: readonly Uint8Array<ArrayBuffer>[];
  readonly rootsPem: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly generation: number;
}

/** A question to the Router, by message. */
export type Question =
  | { readonly kind: "localWorkload"; readonly local: LocalWorkloadName }
  | { readonly kind: "outbound"; readonly question: OutboundQuestion }
  | { readonly kind: "inbound"; readonly question: InboundQuestion }
  | { readonly kind: "inboundPlaintext"; readonly question: PlaintextQuestion }
  | { readonly kind: "policies"; readonly selection: PolicySelection }
  | {
    readonly kind: "resolve";
    readonly local: LocalWorkloadName;
    readonly name: string;
    readonly family: 4 | 6;
  }
  | { readonly kind: "resolveHost"; readonly question: HostQuestion };

/** Planes, routers, questions and requests have numbers of their own, given by whoever starts them; from 1. */
export type ToDataPlane =
  | {
    readonly kind: "open";
    readonly plane: number;
    readonly router: number;
    readonly identity: SpiffeId;
    readonly options: WirePlaneOptions;
  }
  | { readonly kind: "drain"; readonly plane: number; readonly deadlineMs: number }
  | { readonly kind: "stop"; readonly plane: number }
  /** Answered by `stats`, after byte counts as they are then. */
  | { readonly kind: "stats"; readonly plane: number; readonly request: number }
  /** Revocation lists (DER) in use from now on, in place of those before: `CrlSet.der`. */
  | { readonly kind: "crls"; readonly lists: readonly Uint8Array<ArrayBuffer>[] }
  | {
    readonly kind: "certificate";
    readonly plane: number;
    readonly certificate: WireCertificate;
  }
  /** There is none to be had: what the source said to who asked. */
  | { readonly kind: "noCertificate"; readonly plane: number; readonly error: WireError }
  | { readonly kind: "answer"; readonly question: number; readonly answer: WireAnswer }
  | { readonly kind: "refusal"; readonly question: number; readonly error: WireError }
  | { readonly kind: "change"; readonly router: number; readonly change: StateChange }
  /** So many more batches of events were read. */
  | { readonly kind: "read"; readonly batches: number }
  | { readonly kind: "ping"; readonly logLevel: LogLevel }
  /** Stops everything; answered by `closed`. */
  | { readonly kind: "close" };

export type FromDataPlane =
  /** The first message: libraries are open, ffi is given up. */
  | { readonly kind: "opened"; readonly wakeFd: number; readonly info: DataPlaneInfo }
  /** The first message: it cannot run, and why. */
  | { readonly kind: "failed"; readonly code: string; readonly message: string }
  | { readonly kind: "planeOpened"; readonly plane: number; readonly listeners: OpenListeners }
  | { readonly kind: "planeFailed"; readonly plane: number; readonly error: WireError }
  /** A drain or stop is done: nothing of the plane is left. */
  | { readonly kind: "planeEnded"; readonly plane: number }
  | {
    readonly kind: "stats";
    readonly request: number;
    readonly stats: DataPlaneStats;
  }
  /** `RevocationLists.counts`, after lists and with a heartbeat, where they have changed. */
  | { readonly kind: "revoked"; readonly counts: RevocationCounts }
  /** The plane that a request was about is over. */
  | { readonly kind: "gone"; readonly request: number }
  | { readonly kind: "certificateWanted"; readonly plane: number }
  | {
    readonly kind: "ask";
    readonly router: number;
    readonly question: number;
    readonly about: Question;
  }
  | { readonly kind: "cancel"; readonly question: number }
  | { readonly kind: "events"; readonly items: readonly EventItem[] }
  | {
    readonly kind: "pong";
    readonly heapUsedBytes: number;
    readonly heapLimitBytes: number;
    readonly health: DataPlaneHealth;
  }
  /** An exception caught at the loop's dispatch: a bug that ended one connection at most. */
  | { readonly kind: "bug"; readonly stack: string }
  /** So many connections more were refused for want of descriptors, of which so many may be used. */
  | { readonly kind: "refused"; readonly count: number; readonly connectionsMax: number }
  /** It cannot go on. */
  | { readonly kind: "dying"; readonly reason: string }
  /** Everything is closed; `leaked` counts native objects that are not. The last message. */
  | { readonly kind: "closed"; readonly leaked: Readonly<Record<string, number>> };

/** How the loop does since its start, and what native memory is in use: for whoever looks for a stall or a leak. */
export interface DataPlaneHealth {
  readonly loop: {
    readonly turns: number;
    /** Times that it slept. */
    readonly wakes: number;
    /** Work of one turn, in microseconds: 99 of 100 took no longer, and the longest. */
    readonly turnP99Us: number;
    readonly turnMaxUs: number;
  };
  /** Live native objects by kind: descriptors, sessions, contexts, certificates … */
  readonly nativeObjects: Readonly<Record<string, number>>;
}

/** What the data plane runs on, for `version`, log and dump. */
export interface DataPlaneInfo {
  /** "OpenSSL 3.0.15 3 Sep 2024". */
  readonly openssl: string;
  /** "fips: data plane only, provider NAME VERSION", or null. */
  readonly fips: string | null;
  readonly policy: "default" | "pqc";
}

/** The worker's first and only message of its own; everything else goes through `port`. */
export interface WorkerStart<RuntimeOptions> {
  readonly port: MessagePort;
  /** One word: 1 while an octet is on its way through the socketpair. */
  readonly wakeFlag: SharedArrayBuffer;
  readonly runtime: RuntimeOptions;
  readonly logLevel: LogLevel;
}
