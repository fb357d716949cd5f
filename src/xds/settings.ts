// What the xDS client is told: where the control plane is, and who hears about what it says.
import type { LogLevel, LogValue } from "../seam/events.ts";
import type { Token } from "./auth.ts";
import type { GrpcHeaders } from "./transport.ts";
import type { TrustRoot } from "./trust_roots.ts";

/** How to reach the control plane (spec/xds-state-and-dns §1.1). */
export interface XdsSettings {
  /** URI with its scheme: https, or http to a loopback address. */
  readonly address: string;
  readonly root: TrustRoot;
  /** Another name the server's certificate may have; null: only the address's. */
  readonly altHostname: string | null;
  /** null: neither `authorization` nor `clusterid` is sent. */
  readonly token: Token | null;
  readonly clusterId: string;
  /** More metadata; names in lower case. */
  readonly headers: GrpcHeaders;
}

/** Why a stream is over: the label of `istio_xds_connection_terminations_total` (§1.10). */
export type Termination = "ConnectionError" | "Error" | "Reconnect" | "Complete";

/** Counts (§1.10). */
export interface XdsReport {
  /** A response came, of a known type or not; `payloadBytes` is the sum of its resources' payloads. */
  message(typeUrl: string, payloadBytes: number): void;
  terminated(reason: Termination): void;
}

/** Where lines go: `Logger.log` fits. `spans` say inside of what, outermost first. */
export type XdsLog = (
  level: LogLevel,
  scope: string,
  message: string,
  fields?: Readonly<Record<string, LogValue>>,
  spans?: readonly {
    readonly name: string;
    readonly fields: Readonly<Record<string, LogValue>>;
  }[],
) => void;

/** The scope of all lines of the client. */
export const XDS_SCOPE = "ztunnel::xds::client";
