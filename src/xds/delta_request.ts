// What we say to the control plane, as bytes: first requests, ACK and NACK (spec/xds-state-and-dns §1.4, §1.5, §1.7).
import { envoy } from "../proto/messages.js";
import type { NodeIdentity } from "./node_identity.ts";

/** One request; what is absent is not sent. */
export interface DeltaRequest {
  readonly typeUrl: string;
  /** First request of each type on a stream only. */
  readonly node?: NodeIdentity;
  readonly subscribe?: readonly string[];
  readonly unsubscribe?: readonly string[];
  /** Resource name → version, "" included: what is left out can never be removed (§1.5). */
  readonly initialVersions?: ReadonlyMap<string, string>;
  /** Of the response that this answers. */
  readonly nonce?: string;
  /** Present, even empty: a NACK. Its code stays 0 (§1.7). */
  readonly errorMessage?: string;
}

const NOTHING: readonly string[] = [];

/** The message's bytes, without gRPC framing; the caller's own. */
export function encodeDeltaRequest(request: DeltaRequest): Uint8Array<ArrayBuffer> {
  // Without a prototype, so that a resource may be called `__proto__`.
  const versions: Record<string, string> = Object.create(null);
  for (const [name, version] of request.initialVersions ?? []) versions[name] = version;
  const { errorMessage } = request;
  const writer = envoy.service.discovery.v3.DeltaDiscoveryRequest.encode({
    node: request.node ?? null,
    typeUrl: request.typeUrl,
    resourceNamesSubscribe: request.subscribe ?? NOTHING,
    resourceNamesUnsubscribe: request.unsubscribe ?? NOTHING,
    initialResourceVersions: versions,
    responseNonce: request.nonce ?? "",
    errorDetail: errorMessage === undefined ? null : { message: errorMessage.toWellFormed() },
  });
  // A copy: the writer's bytes lie in a pool that others write to.
  return new Uint8Array(writer.finish());
}
