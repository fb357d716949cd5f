// Whom a proxy's certificates are for: names from its settings, the trust domain from the mesh (spec/identity-and-inpod §1.2).
import type { Cancel } from "./base/channel.ts";
import { ProxyError } from "./base/errors.ts";
import type { LocalWorkloadName } from "./seam/workload.ts";
import type { StateRouter } from "./state/state_router.ts";
import type { Logger } from "./telemetry/logger.ts";
import { type SpiffeId, spiffeId } from "./tls/spiffe_id.ts";

const SCOPE = "ztunnel::app";

export interface LocalIdentityOptions {
  readonly router: Pick<StateRouter, "localWorkload" | "onChange" | "state">;
  readonly nodeName: string | null;
  /** `TRUST_DOMAIN`: of a workload that the mesh does not know. */
  readonly trustDomain: string;
  readonly logger: Pick<Logger, "log">;
  readonly signal: AbortSignal;
}

/**
 * The identity, as soon as the mesh knows the workload; after the Router's wait (5 s) without it that of the default
 * trust domain, which a line says. Null: aborted before.
 */
export function localIdentity(
  local: LocalWorkloadName,
  { router, trustDomain: otherwise, logger, signal }: LocalIdentityOptions,
): Promise<SpiffeId | null> {
  const { namespace, serviceAccount } = local;
  return new Promise((resolve) => {
    if (signal.aborted) return resolve(null);
    const abort = () => {
      asked.cancel();
      resolve(null);
    };
    const asked = router.localWorkload(local, (outcome) => {
      signal.removeEventListener("abort", abort);
      const isKnown = !(outcome instanceof ProxyError);
      const trustDomain = isKnown ? outcome.trustDomain : otherwise;
      const identity = spiffeId({ trustDomain, namespace, serviceAccount });
      if (!isKnown) {
        const text =
          "the mesh does not know the proxy's own workload: nothing passes before it does";
        logger.log("warn", SCOPE, text, { workload: nameOf(local), identity: identity.uri });
      }
      resolve(identity);
    });
    signal.addEventListener("abort", abort, { once: true });
  });
}

/** Says so, once, when the mesh puts the workload under another trust domain than its certificates have. */
export function watchTrustDomain(
  local: LocalWorkloadName,
  identity: SpiffeId,
  { router, nodeName, logger }: LocalIdentityOptions,
): Cancel {
  const watch = router.onChange(() => {
    const record = router.state.localWorkload(local, nodeName);
    if (record === null || record.trustDomain === identity.trustDomain) return;
    watch.cancel();
    const text =
      "the mesh has another trust domain for the proxy's own workload: restart to take it";
    const fields = { workload: nameOf(local), identity: identity.uri, asked: record.trustDomain };
    logger.log("error", SCOPE, text, fields);
  });
  return watch;
}

function nameOf({ namespace, name, serviceAccount }: LocalWorkloadName): string {
  return `${namespace}/${name}/${serviceAccount}`;
}
