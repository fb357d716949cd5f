// Is this peer who it must be? One synchronous pure answer over the DER chain, used by every network (design §3.7).
import { type CertificatePath, type ChainVerdict, verifyChain } from "./chain.ts";
import type { CrlSet } from "./crl.ts";
import { PeerRejectedError, type PeerRejection } from "./errors.ts";
import type { SpiffeId } from "./spiffe_id.ts";

export interface JudgeOptions {
  /** The peer's certificates as presented, leaf first; empty where it presented none. */
  readonly chainDer: readonly Uint8Array<ArrayBuffer>[];
  /** Trust roots that came with our own certificate. */
  readonly rootsDer: readonly Uint8Array<ArrayBuffer>[];
  readonly peer: PeerRule;
  /** Wall time, epoch milliseconds. */
  readonly nowMs: number;
  /** Revocation lists; absent: none are in use. */
  readonly crls?: CrlSet;
}

/** Which names are acceptable. */
export type PeerRule =
  | {
    /** We accepted: some SPIFFE name of the peer must be of our trust domain (null: of any). */
    readonly role: "client";
    readonly trustDomain: string | null;
  }
  | {
    /** We dialed: some SPIFFE name of the peer must be one of these; empty refuses everybody. */
    readonly role: "server";
    readonly expected: readonly SpiffeId[];
  };

export type PeerVerdict =
  | {
    readonly kind: "accepted";
    /** Every SPIFFE name of the leaf, in order; at least one. */
    readonly identities: readonly SpiffeId[];
    /** SHA-256 of the leaf, lower-case hex. */
    readonly leafSha256: string;
    /** What was verified, for judging it by later revocation lists. */
    readonly path: CertificatePath;
  }
  | { readonly kind: "rejected"; readonly error: PeerRejectedError };

/**
 * Judges a peer: chain to one of the roots, validity, usage, form, then revocation, then names
 * (spec/identity-and-inpod §4.2, §4.3, §5.2). Never throws for what the peer sent; changes nothing.
 */
export function judgePeer(options: JudgeOptions): PeerVerdict {
  const chain = verifyChain({
    chainDer: options.chainDer,
    rootsDer: options.rootsDer,
    role: options.peer.role,
    nowMs: options.nowMs,
  });
  return judgeAccepted(chain, options);
}

/** The second half of {@link judgePeer}, for a chain whose verdict is known already: revocation and names. */
export function judgeAccepted(
  chain: ChainVerdict,
  { peer: rule, crls }: Pick<JudgeOptions, "peer" | "crls">,
): PeerVerdict {
  if (chain.kind === "rejected") return chain;
  const objection = crls?.objectionTo(chain.path) ?? null;
  if (objection !== null) return { kind: "rejected", error: objection };
  const { identities, leafSha256, path } = chain;
  const got = identities.map(({ uri }) => uri).join(",");
  if (rule.role === "server") {
    const wanted = new Set(rule.expected.map(({ uri }) => uri));
    if (identities.some(({ uri }) => wanted.has(uri))) {
      return { kind: "accepted", identities, leafSha256, path };
    }
    const list = [...wanted].join(",");
    return rejectNames(
      "WRONG_IDENTITY",
      `identity verification error: peer did not present the expected SAN (${list}), got ${got}`,
    );
  }
  const { trustDomain } = rule;
  const acceptable = identities.some((id) =>
    trustDomain === null || id.trustDomain === trustDomain
  );
  if (acceptable) return { kind: "accepted", identities, leafSha256, path };
  return rejectNames(
    "WRONG_TRUST_DOMAIN",
    `identity verification error: peer did not present the expected trustdomain (${
      trustDomain ?? "any"
    }), got ${got}`,
  );
}

function rejectNames(code: PeerRejection, text: string): PeerVerdict {
  const wrapped = `Other(OtherError(${text}))`;
  return {
    kind: "rejected",
    error: new PeerRejectedError(code, { display: wrapped, debug: wrapped }),
  };
}
