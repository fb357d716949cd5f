// What every part of a data plane is built from; one object, nothing global (design §3.5).
import { isIpv6, isLoopback } from "../base/address.ts";
import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import type { Keepalive, Network, Transparency } from "../net/network.ts";
import type { Events } from "../seam/events.ts";
import type { Router } from "../seam/router.ts";
import type { LocalWorkloadName } from "../seam/workload.ts";
import type { CertificateSource } from "../tls/certificate.ts";
import type { Faults } from "./faults.ts";
import type { OpenHttp2 } from "./http2.ts";
import type { DataPlaneLimits } from "./limits.ts";

/** Settings of the data path that are not limits (spec/data-path §0.2). */
export interface DataPlaneSettings {
  /** Ports of our own listeners: a request for one of them is refused (§0.1). */
  readonly internalPorts: ReadonlySet<number>;
  /** `NETWORK`. */
  readonly network: string;
  /** `ENABLE_RESPONSE_BAGGAGE`: whether baggage is sent in answers and read in requests. */
  readonly responseBaggage: boolean;
  /** TCP keepalive where spec/data-path §5.3 says so; null = `KEEPALIVE_ENABLED=false`. */
  readonly keepalive: Keepalive | null;
  /** TCP_USER_TIMEOUT where keepalive is set, in ms; null = `USER_TIMEOUT_ENABLED=false`, the kernel's. */
  readonly userTimeoutMs: number | null;
  /**
   * `ENABLE_ORIG_SRC`: whether listeners are made transparent. Applications see their clients' addresses iff that
   * came true for the listener they came in by (spec/data-path §3.5).
   */
  readonly originalSource: Transparency;
  /** `BIND_ADDRESS` where it is a single address: tunnels and plain connections start from it; else null. */
  readonly bindIp: string | null;
  /** `AUTHZ_POLICY_INFO_LOGGING`: decision lines at info instead of debug. */
  readonly policyInfoLogging: boolean;
}

/** Shared by all connections of one data plane. */
export interface DataPlaneParts {
  readonly network: Network;
  readonly router: Router;
  readonly certificates: CertificateSource;
  readonly events: Events;
  readonly clock: Clock;
  readonly random: Random;
  readonly limits: DataPlaneLimits;
  readonly settings: DataPlaneSettings;
  readonly local: LocalWorkloadName;
  readonly faults: Faults;
  readonly http2: OpenHttp2;
}

/**
 * The address a connection to `destinationIp` starts from: ours, where `BIND_ADDRESS` gave one that can reach it;
 * null leaves it to the kernel.
 */
export function sourceFor(settings: DataPlaneSettings, destinationIp: string): string | null {
  const { bindIp } = settings;
  const reaches = bindIp !== null && isIpv6(bindIp) === isIpv6(destinationIp) &&
    isLoopback(bindIp) === isLoopback(destinationIp);
  return reaches ? bindIp : null;
}
