// Who certifies this process's workloads, as configured: the control plane's CA, or a throw-away one.
import { assert } from "./base/assert.ts";
import type { Clock } from "./base/clock.ts";
import { controlFileReader } from "./control_files.ts";
import type { Config } from "./config/config.ts";
import type { CertificateAuthority } from "./identity/authority.ts";
import { CaClient } from "./identity/ca_client.ts";
import { FakeAuthority } from "./identity/fake_authority.ts";
import { FakeCa } from "./identity/fake_ca.ts";
import type { IdentityLog } from "./identity/log.ts";
import { requestHeaders } from "./xds/auth.ts";
import { openTransport } from "./xds/open_transport.ts";

/**
 * Connects to nothing yet; makes the root of `FAKE_CA_DIR` where that is absent.
 * @throws {FakeCaError} if that folder cannot be used.
 */
export async function openAuthority(
  config: Pick<Config, "ca" | "fakeCa" | "mode" | "clusterId" | "secretTtlMs">,
  { clock, log }: { readonly clock: Clock; readonly log: IdentityLog },
): Promise<CertificateAuthority> {
  const { ca, fakeCa, mode, clusterId, secretTtlMs } = config;
  if (ca !== null) {
    // Roots and token are read anew for each request: both are replaced while we run.
    const readFile = controlFileReader(ca, log);
    return new CaClient({
      transport: openTransport(ca, clock, readFile),
      headers: () => requestHeaders({ token: ca.token, clusterId, headers: ca.headers }, readFile),
      ttlMs: secretTtlMs,
      impersonate: mode === "shared",
      clock,
      log,
    });
  }
  assert(fakeCa !== null, "A configuration without any CA is refused when it is read");
  const { directory } = fakeCa;
  const now = { nowMs: clock.wallMs() };
  const root = directory === null ? await FakeCa.create(now) : await FakeCa.open(directory, now);
  return new FakeAuthority(root, { clock, lifetimeMs: secretTtlMs });
}
