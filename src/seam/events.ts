// What the data plane reports: facts, once, without formatting (design §2). Log, metrics, tap and dump consume.
import type { SocketAddress } from "../base/address.ts";
import type { ProxyError } from "../base/errors.ts";
import type { SpiffeId } from "../tls/spiffe_id.ts";
import type { ServiceFacts, WorkloadFacts } from "./workload.ts";

/** `response_flags` (spec/config-and-observability §6.5). */
export type ResponseFlag =
  | "-"
  | "DENY"
  | "CONNECT"
  | "TLS_FAILURE"
  | "H2_HANDSHAKE_FAILURE"
  | "NETWORK_POLICY"
  | "IDENTITY_ERROR"
  | "CERT_REVOKED";

/** Labels read from a peer's baggage (spec/data-path §1.4); absent ones are null. */
export interface BaggageFacts {
  readonly clusterId: string | null;
  readonly namespace: string | null;
  readonly workloadType: string | null;
  readonly workloadName: string | null;
  readonly service: string | null;
  readonly revision: string | null;
  readonly region: string | null;
  readonly zone: string | null;
}

/** What is known about a connection when it is opened; one object for its life. */
export interface ConnectionFacts {
  readonly direction: "outbound" | "inbound";
  readonly protocol: "TCP" | "HBONE" | "DOUBLEHBONE";
  readonly listener: "outbound" | "socks5" | "inbound" | "inbound plaintext";
  /** `dst.addr` of the access log: next hop dialled, or own address with the HBONE port. */
  readonly sourceAddress: SocketAddress;
  readonly destinationAddress: SocketAddress;
  /** `dst.hbone_addr`; null unless HBONE. */
  readonly hboneAuthority: string | null;
  readonly source: WorkloadFacts | null;
  readonly sourceIdentity: SpiffeId | null;
  readonly sourceBaggage: BaggageFacts | null;
  readonly destination: WorkloadFacts | null;
  readonly destinationIdentity: SpiffeId | null;
  readonly destinationBaggage: BaggageFacts | null;
  readonly service: ServiceFacts | null;
  /** True when the connection (or its hop) is HBONE: then identities are logged. */
  readonly mutualTls: boolean;
  /** 32 lower-case hex digits, the same on both nodes. */
  readonly traceId: string;
}

/** A live connection: the data plane counts, consumers read. Never reused. */
export interface ConnectionRecord {
  readonly facts: ConnectionFacts;
  /** Payload octets client → server and server → client, as accepted by the next socket. */
  bytesToServer: number;
  bytesToClient: number;
  /** Whoever hears the events may keep a number here that finds its own notes of this connection. */
  mark?: number;
}

export interface ConnectionEnd {
  readonly durationMs: number;
  readonly flag: ResponseFlag;
  /** Null for an ok end; the message is the access log's `error`. */
  readonly error: ProxyError | null;
}

/** A connection that failed before it was opened: one warn line, no metrics (spec/config-and-observability §6.4). */
export interface EarlyFailure {
  readonly direction: "outbound" | "inbound";
  readonly sourceAddress: SocketAddress;
  readonly destinationAddress: SocketAddress;
  readonly error: ProxyError;
}

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error";

/** Values a log field may have; how each is written is the formatter's. */
export type LogValue = string | number | boolean | { readonly unquoted: string };

/**
 * Where the data plane states facts. Calls are cheap and never throw; an opened record is closed exactly once.
 */
export interface Events {
  opened(record: ConnectionRecord): void;
  closed(record: ConnectionRecord, end: ConnectionEnd): void;
  failedEarly(failure: EarlyFailure): void;
  /** An operational line. `scope` is the original's module path: `ztunnel::proxy::pool` (spec §7.1). */
  log(
    level: LogLevel,
    scope: string,
    message: string,
    fields?: Readonly<Record<string, LogValue>>,
  ): void;
}
