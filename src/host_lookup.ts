// Who resolves the names of workloads in this process: what /etc/resolv.conf and /etc/hosts say, read once.
import { formatAddress } from "./base/address.ts";
import type { Clock } from "./base/clock.ts";
import { SystemRandom } from "./base/random.ts";
import { HostResolver } from "./dns/host_resolver.ts";
import { parseHosts } from "./dns/hosts_file.ts";
import { parseResolvConf } from "./dns/resolv_conf.ts";
import { resolverAddresses } from "./dns/server_attempt.ts";
import { DenoUdp } from "./net/deno/udp_socket.ts";
import type { Network } from "./net/network.ts";
import { type Need, requirePermissions } from "./permissions.ts";
import type { Logger } from "./telemetry/logger.ts";

const RESOLV_CONF_PATH = "/etc/resolv.conf";
const HOSTS_PATH = "/etc/hosts";

const WHY = "find workloads that the mesh knows by name";

/** What looking names up needs from the runtime's sandbox; who the name servers are is known when it opens. */
export function hostLookupNeeds(): Need[] {
  return [RESOLV_CONF_PATH, HOSTS_PATH].map((what) => ({ kind: "read", what, why: WHY }));
}

/**
 * Opens the resolver; its owner closes it.
 * @throws {ResolverConfigError} without a resolv.conf that names a server (spec/xds-state-and-dns §3.11).
 * @throws {PermissionMissingError} if a name server may not be asked.
 */
export function openHostLookup(options: {
  readonly network: Pick<Network, "dial">;
  readonly clock: Clock;
  readonly ipv6Enabled: boolean;
  readonly logger: Logger;
}): HostResolver {
  const { network, clock, ipv6Enabled, logger } = options;
  const config = parseResolvConf(readText(RESOLV_CONF_PATH));
  for (const warning of config.warnings) {
    logger.log("warn", "ztunnel::dns", warning);
  }
  requirePermissions(
    resolverAddresses(config.servers).map((address) => ({
      kind: "net",
      what: formatAddress(address),
      why: WHY,
    })),
  );
  return new HostResolver({
    config,
    hosts: parseHosts(readText(HOSTS_PATH) ?? ""),
    udp: new DenoUdp({ clock }),
    network,
    clock,
    random: new SystemRandom(),
    ipv6Enabled,
  });
}

/** Null where there is no such file, or none that may be read. */
function readText(path: string): string | null {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return null;
  }
}
