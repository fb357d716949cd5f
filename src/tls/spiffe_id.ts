// SPIFFE names as values (spec/identity-and-inpod §1.1). Pure.
import { ProxyError } from "../base/errors.ts";

/** A workload's name: `spiffe://<trustDomain>/ns/<namespace>/sa/<serviceAccount>`. */
export interface SpiffeId {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** The whole text, kept so that comparing and logging build nothing. Equal text = equal identity. */
  readonly uri: string;
}

/** The text is not a workload's SPIFFE ID. */
export class SpiffeIdError extends ProxyError {
  readonly code = "INVALID_SPIFFE_ID";
}

/** Builds an identity from its three parts, which are taken as they are. */
export function spiffeId(
  parts: {
    readonly trustDomain: string;
    readonly namespace: string;
    readonly serviceAccount: string;
  },
): SpiffeId {
  const { trustDomain, namespace, serviceAccount } = parts;
  const uri = `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`;
  return { trustDomain, namespace, serviceAccount, uri };
}

/**
 * Reads `spiffe://td/ns/NS/sa/SA`: exact prefix, exactly five parts, nothing decoded or trimmed.
 * @throws {SpiffeIdError} for anything else.
 */
export function parseSpiffeId(uri: string): SpiffeId {
  if (uri.startsWith("spiffe://")) {
    const parts = uri.slice("spiffe://".length).split("/");
    const [trustDomain, ns, namespace, sa, serviceAccount] = parts;
    if (parts.length === 5 && ns === "ns" && sa === "sa") {
      return {
        trustDomain: trustDomain!,
        namespace: namespace!,
        serviceAccount: serviceAccount!,
        uri,
      };
    }
  }
  throw new SpiffeIdError(`invalid spiffe identity: ${uri}`);
}
