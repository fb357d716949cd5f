// What every part of a data plane is built from; one object, nothing global (design §3.5).
import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import type { Keepalive, Network } from "../net/network.ts";
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
