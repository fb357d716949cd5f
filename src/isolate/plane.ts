// A data plane as the application sees it, wherever it runs: in this isolate or in one of its own.
import type { SocketAddress } from "../base/address.ts";
import type { DataPlaneStats } from "../dataplane.ts";

/** An open listener. */
export interface OpenListener {
  readonly address: SocketAddress;
  readonly transparent: boolean;
}

/** Where a plane listens; null for what was not asked for. */
export interface OpenListeners {
  readonly inbound: OpenListener | null;
  readonly inboundPlaintext: OpenListener | null;
  readonly outbound: OpenListener | null;
  readonly socks5: OpenListener | null;
}

/** A running data plane. `DataPlane` of dataplane.ts is one; so is what a host gives for a plane in its worker. */
export interface RunningPlane {
  readonly local: OpenListeners;
  /** As `DataPlane.drain`. */
  drain(deadlineMs: number, done: () => void): void;
  /** As `DataPlane.stop`. */
  stop(done: () => void): void;
  stats(done: (stats: DataPlaneStats) => void): void;
}
