// Remembers chains that were found good, so that a peer's thousandth connection costs a hash and a look-up.
import { createHash } from "node:crypto";
import { type ChainVerdict, sha256Hex, verifyChain } from "./chain.ts";
import { judgeAccepted, type JudgeOptions, type PeerVerdict } from "./verdict.ts";

/** Accepted chains remembered; the one remembered longest goes first. */
export const VERDICT_CACHE_MAX = 4096;

type AcceptedChain = Extract<ChainVerdict, { kind: "accepted" }>;

/**
 * {@link judgePeer} with a memory for accepted chains, keyed by the roots' contents, role and leaf. An entry
 * serves only within the validity of every certificate of its path and while no revocation list is against that
 * path; revocation and names are judged anew each time. A refused chain is not remembered: the next one may bring
 * the intermediate that was missing.
 */
export class VerdictCache {
  readonly #entriesMax: number;
  readonly #accepted = new Map<string, AcceptedChain>();
  /** Hash of a set of roots, computed once per set. */
  readonly #rootsHashes = new WeakMap<readonly Uint8Array[], string>();

  constructor(options: { readonly entriesMax: number } = { entriesMax: VERDICT_CACHE_MAX }) {
    this.#entriesMax = options.entriesMax;
  }

  get size(): number {
    return this.#accepted.size;
  }

  /** As {@link judgePeer}. */
  judge(options: JudgeOptions): PeerVerdict {
    const { chainDer, rootsDer, peer, nowMs } = options;
    const leaf = chainDer[0];
    if (leaf === undefined) {
      return judgeAccepted(verifyChain({ chainDer, rootsDer, role: peer.role, nowMs }), options);
    }
    const key = `${peer.role} ${this.#rootsHash(rootsDer)} ${sha256Hex(leaf)}`;
    const known = this.#accepted.get(key);
    if (known !== undefined) {
      const isValid = nowMs >= known.validFromMs && nowMs <= known.validUntilMs;
      const verdict = isValid ? judgeAccepted(known, options) : null;
      // A revoked intermediate may have been replaced by another under the same key: what came now has a say.
      if (verdict !== null && !isListed(verdict)) return verdict;
      this.#accepted.delete(key);
    }
    const verdict = verifyChain({ chainDer, rootsDer, role: peer.role, nowMs });
    if (verdict.kind === "accepted") this.#remember(key, verdict);
    return judgeAccepted(verdict, options);
  }

  #remember(key: string, verdict: AcceptedChain): void {
    if (this.#accepted.size >= this.#entriesMax) {
      const oldest = this.#accepted.keys().next().value;
      if (oldest !== undefined) this.#accepted.delete(oldest);
    }
    this.#accepted.set(key, verdict);
  }

  #rootsHash(rootsDer: readonly Uint8Array[]): string {
    let hash = this.#rootsHashes.get(rootsDer);
    if (hash === undefined) {
      const all = createHash("sha256");
      for (const root of rootsDer) all.update(createHash("sha256").update(root).digest());
      hash = all.digest("hex");
      this.#rootsHashes.set(rootsDer, hash);
    }
    return hash;
  }
}

/** True where a revocation list is what speaks against the peer. */
function isListed(verdict: PeerVerdict): boolean {
  if (verdict.kind === "accepted") return false;
  const { code } = verdict.error;
  return code === "REVOKED" || code === "CRL_UNUSABLE";
}
