// What can be set and is not built yet: refused where passing it over would be weaker than asked for, else said.
import type { Config } from "./config.ts";
import { invalidConfiguration, type Notice } from "./errors.ts";

/**
 * `config`, with a warning for each thing that was asked for and will not happen. To be called once, before anything
 * opens; `readConfig()` takes everything the original knows.
 * @throws {ConfigError} for what cannot be passed over.
 */
export function refuseUnbuilt(config: Config): Config {
  const { dns } = config;
  if (config.mode === "shared") {
    throw invalidConfiguration(
      "PROXY_MODE=shared (the default) is not supported yet: set PROXY_MODE=dedicated and PROXY_WORKLOAD_INFO",
    );
  }
  if (!config.proxyEnabled) {
    throw invalidConfiguration(
      "ENABLE_PROXY=false leaves only the DNS proxy, which is not supported yet",
    );
  }
  if (config.originalSource === true && config.ioProvider === "deno") {
    throw invalidConfiguration(
      "ENABLE_ORIG_SRC=true needs IO_PROVIDER=native: the runtime's own sockets cannot be transparent",
    );
  }
  if (config.native?.pqc === true) refuseClassical(config);
  // On is the original's default, so that alone is no reason to speak.
  if (!dns.asked || !dns.explicit) return config;
  const text = "the DNS proxy is not supported yet: ISTIO_META_DNS_CAPTURE has no effect";
  const notices: readonly Notice[] = [...config.notices, { level: "warn", text }];
  return Object.freeze({ ...config, notices: Object.freeze(notices) });
}

/** The control plane is reached by the runtime's own TLS, whose first choice is X25519 (spec/identity-and-inpod §4.1, §6). */
function refuseClassical({ xds, ca }: Config): void {
  const servers = [["XDS_ADDRESS", xds], ["CA_ADDRESS", ca]] as const;
  for (const [name, server] of servers) {
    if (server === null || new URL(server.address).protocol !== "https:") continue;
    throw invalidConfiguration(
      `COMPLIANCE_POLICY=pqc cannot be kept towards ${name}: key exchange cannot be chosen in the runtime's own TLS`,
    );
  }
}
