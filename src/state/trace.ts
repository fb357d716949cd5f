// How a decision came about, written down only when somebody asks (issue: admin page, command line, tests).

/** What a lookup wanted to know. The words are stable. */
export type LookupQuestion =
  /** "What is this IP?" on `NETWORK` (spec/data-path §2.2). */
  | "destination"
  /** Service or workload of an IP in the source's network, or in the network of a reference (§3.9). */
  | "upstream"
  /** A waypoint or a network gateway by host name (§3.12, §3.13). */
  | "reference"
  /** Who the waypoint of a workload is, to see whether the source is it (spec/data-path §2.3 step 4). */
  | "waypoint"
  /** The service of an authority that is a host name (I11). */
  | "authority"
  /** Whose IP an inbound authority names (V4). */
  | "authority-address"
  /** The peer of an inbound connection (spec/data-path §3.6). */
  | "peer";

/** Why an endpoint may be drawn or not (spec/xds-state-and-dns §3.10). The words are stable. */
export type EndpointReason =
  | "eligible"
  | "unhealthy"
  | "no-address"
  | "port-not-in-service"
  | "port-not-mapped"
  | "no-application-tunnel"
  | "no-target-port"
  | "locality-not-strict"
  | "locality-lower"
  | "capacity-zero";

/** Why a waypoint is used or not (§3.12). The words are stable. */
export type WaypointReason =
  | "only"
  | "weighted"
  | "weight-zero"
  | "weights-instead"
  | "source-is-waypoint"
  | "service-addressed";

/** What an outbound decision came to (the rules of spec/data-path §2.3). The words are stable. */
export type OutboundRule =
  | "service-waypoint"
  | "service-endpoint"
  | "workload-waypoint"
  | "workload"
  | "passthrough"
  | "refused";

/** Which check of spec/data-path §3.3 took or refused the authority. */
export type InboundCheck = "V1" | "V2" | "V3" | "V4" | "V5";

/** What a question waited for before it was answered. The words are stable. */
export type WaitReason = "local-workload" | "on-demand" | "unknown-policy";

/** One thing that was looked at. Values can be written as JSON as they are. */
export type TraceStep =
  | {
    readonly step: "lookup";
    readonly question: LookupQuestion;
    /** `network/ip`, `namespace/hostname` or a host name. */
    readonly key: string;
    readonly found: "workload" | "service" | "nothing";
    /** A workload's uid or a service's key; null where nothing was found. */
    readonly name: string | null;
  }
  | {
    readonly step: "endpoint";
    /** `namespace/hostname` */
    readonly service: string;
    /** Its uid. */
    readonly workload: string;
    readonly taken: boolean;
    readonly reason: EndpointReason;
  }
  | {
    readonly step: "waypoint";
    /** The host name, or `network/ip:port`. */
    readonly reference: string;
    readonly weight: number;
    readonly taken: boolean;
    readonly reason: WaypointReason;
  }
  | {
    readonly step: "candidate";
    readonly protocol: "TCP" | "HBONE" | "DOUBLEHBONE" | "NAMED" | "REFUSED";
    /** `ip:port`; `hostname:port` of a workload known by name; the message of a refusal. */
    readonly target: string;
    /** Null where none. */
    readonly authority: string | null;
    /** The uid; null where unknown. */
    readonly workload: string | null;
    /** 0 to 1: how likely it is drawn. */
    readonly share: number;
  }
  | { readonly step: "rule"; readonly rule: OutboundRule; readonly detail: string | null }
  | { readonly step: "check"; readonly check: InboundCheck; readonly accepted: boolean }
  | {
    readonly step: "port";
    readonly port: number;
    readonly from: "authority" | "endpoint" | "service" | "application-tunnel";
  }
  | { readonly step: "policy"; readonly policy: string; readonly known: boolean }
  | {
    readonly step: "wait";
    readonly reason: WaitReason;
    readonly keys: readonly string[];
    /** False: the time was over first. */
    readonly answered: boolean;
  };

/** The steps of one decision, in order. */
export type Trace = readonly TraceStep[];

/** Takes the steps; null where nobody asked, and then no step is made at all. */
export type Recorder = TraceStep[] | null;
