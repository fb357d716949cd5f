// The revocation lists that a network judges its peers by now, and what was refused because of them.
import type { Cancel } from "../base/channel.ts";
import type { CertificatePath } from "./chain.ts";
import { CrlSet } from "./crl.ts";
import type { PeerRejectedError } from "./errors.ts";
import type { JudgeOptions, PeerVerdict } from "./verdict.ts";
import type { VerdictCache } from "./verdict_cache.ts";

/** Refused handshakes and ended connections, each once: of peers we dialed, and of peers that came. */
export interface RevocationCounts {
  readonly source: number;
  readonly destination: number;
}

/** One for each network: its handshakes are judged by it, and again what lives when the lists change. */
export class RevocationLists {
  #lists: CrlSet = CrlSet.empty;
  readonly #watchers = new Set<() => void>();
  #source = 0;
  #destination = 0;

  get lists(): CrlSet {
    return this.#lists;
  }

  get counts(): RevocationCounts {
    return { source: this.#source, destination: this.#destination };
  }

  /** In use from now on: whoever holds connections looks at them again before this returns. */
  replace(lists: CrlSet): void {
    this.#lists = lists;
    for (const watcher of [...this.#watchers]) watcher();
  }

  /** Calls `onReplaced` each time that the lists were replaced. */
  watch(onReplaced: () => void): Cancel {
    this.#watchers.add(onReplaced);
    return { cancel: () => void this.#watchers.delete(onReplaced) };
  }

  /** As {@link VerdictCache.judge}, by the lists of this moment. */
  judge(verdicts: VerdictCache, options: Omit<JudgeOptions, "crls">): PeerVerdict {
    const verdict = verdicts.judge({ ...options, crls: this.#lists });
    if (verdict.kind === "rejected" && verdict.error.code === "REVOKED") {
      this.#count(options.peer.role);
    }
    return verdict;
  }

  /**
   * Why a peer that was accepted would be refused now, counted; null: it would not, or a list is unusable, which is no
   * reason to end what lives. Its certificates' times are not looked at again.
   * @param role What the peer is.
   */
  findRevoked(path: CertificatePath, role: "client" | "server"): PeerRejectedError | null {
    const objection = this.#lists.objectionTo(path);
    if (objection?.code !== "REVOKED") return null;
    this.#count(role);
    return objection;
  }

  #count(role: "client" | "server"): void {
    if (role === "client") this.#destination++;
    else this.#source++;
  }
}
