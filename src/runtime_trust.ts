// What the environment could make of the runtime's own HTTP client: other roots, other ways (spec/deno-runtime §8.1).
import type { Config } from "./config/config.ts";
import { invalidConfiguration } from "./config/errors.ts";

/** Variables that send the runtime's requests through another server, loopback included. */
export const PROXY_VARIABLES = [
  "HTTP_PROXY",
  "HTTPS_PROXY",
  "ALL_PROXY",
  "http_proxy",
  "https_proxy",
  "all_proxy",
] as const;

/** Variables that make the runtime trust more than the roots it is given. */
export const ROOT_VARIABLES = ["DENO_CERT", "DENO_TLS_CA_STORE", "NODE_EXTRA_CA_CERTS"] as const;

/**
 * Forgets the proxies of the environment, which the original does not know either: the control plane is asked at its
 * address. Before the first request; needs env access to {@link PROXY_VARIABLES}.
 */
export function forgetProxies(): void {
  for (const name of PROXY_VARIABLES) Deno.env.delete(name);
}

/**
 * Sees to it that the certificates of control plane and CA are judged by its roots alone.
 * @throws {ConfigError} where the runtime would trust others too.
 */
export function requireOwnRoots(
  { xds, ca }: Pick<Config, "xds" | "ca">,
  variable = (name: string) => Deno.env.get(name),
): void {
  const server = [xds, ca].find((each) => each?.address.startsWith("https://") === true);
  if (!server) return;
  const { address } = server;
  const [certificate, store, extra] = ROOT_VARIABLES;
  if (variable(store) !== "") {
    throw invalidConfiguration(
      `public certificate authorities could vouch for ${address}: start with ${store}= (set and empty)`,
    );
  }
  for (const name of [certificate, extra]) {
    if ((variable(name) ?? "") === "") continue;
    throw invalidConfiguration(`what ${name} names could vouch for ${address}: unset it`);
  }
}
