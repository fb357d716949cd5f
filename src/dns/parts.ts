// What everything here works with: sockets, time and chance as arguments.
import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import type { Network } from "../net/network.ts";
import type { UdpNetwork } from "../net/udp.ts";
import type { ResolverConfig } from "./resolv_conf.ts";

export interface ResolverParts {
  readonly config: ResolverConfig;
  readonly udp: UdpNetwork;
  /** For replies that do not fit a datagram. */
  readonly network: Pick<Network, "dial">;
  readonly clock: Clock;
  /** Draws message ids: `SystemRandom` outside of tests. */
  readonly random: Random;
}
