// One look at the file of revocation lists after the other (spec/identity-and-inpod §5.1).
import { createHash } from "node:crypto";
import type { Clock } from "./base/clock.ts";
import { StillFile } from "./file_reading.ts";
import type { LogLevel, LogValue } from "./seam/events.ts";
import { CRL_FILE_BYTES_MAX, CrlError, CrlSet } from "./tls/crl.ts";

const SCOPE = "ztunnel::tls::crl";

export interface CrlFollowerOptions {
  /** `CRL_PATH`. */
  readonly path: string;
  readonly clock: Pick<Clock, "wallMs">;
  readonly log: (
    level: LogLevel,
    scope: string,
    message: string,
    fields?: Readonly<Record<string, LogValue>>,
  ) => void;
  /** Takes lists that differ from those before. */
  readonly onLists: (lists: CrlSet) => void;
  /** Told once for each thing that is wrong: a {@link CrlError}'s code, `UNREADABLE`, `GONE` or `EXPIRED`. */
  readonly onFailure: (reason: string) => void;
}

/**
 * What a look found. `settling`: it changed, and the next look tells whether all of it is written; `same`: what is in
 * use; `refused`: wrong, and what is in use stays.
 */
export type CrlLook = "unchanged" | "settling" | "loaded" | "same" | "refused" | "gone";

/** Keeps the lists in use as new as the file. Never throws. */
export class CrlFollower {
  readonly #options: CrlFollowerOptions;
  readonly #file: StillFile;
  /** SHA-256 of the file in use; null: none was ever good. */
  #inUse: string | null = null;
  #dueMs: number | null = null;
  #isOverdueSaid = false;
  /** What was last complained about. */
  #complaint: string | null = null;

  constructor(options: CrlFollowerOptions) {
    this.#options = options;
    this.#file = new StillFile(options.path, options.clock, CRL_FILE_BYTES_MAX);
  }

  /** Reads the file as it is, if it is there: nothing may be served before. */
  async begin(): Promise<CrlLook> {
    const found = await this.look();
    return found === "settling" ? await this.look() : found;
  }

  async look(): Promise<CrlLook> {
    let found: CrlLook;
    try {
      found = await this.#look();
    } catch (error) {
      found = this.#unreadable(error);
    }
    this.#sayOverdue();
    return found;
  }

  async #look(): Promise<CrlLook> {
    const found = await this.#file.look();
    if (typeof found === "string") return found;
    if (found.kind === "read") return this.#take(found.bytes);
    const text = `Cannot read revocation lists: file is larger than ${CRL_FILE_BYTES_MAX} bytes`;
    return this.#refuse(found.mark, new CrlError("CRL_TOO_LARGE", text));
  }

  #take(bytes: Uint8Array<ArrayBuffer>): CrlLook {
    const { path, log, onLists } = this.#options;
    const digest = createHash("sha256").update(bytes).digest("hex");
    if (digest === this.#inUse) {
      if (this.#complaint !== null) {
        log("info", SCOPE, "crl file is again what is in use", { path });
      }
      this.#complaint = null;
      return "same";
    }
    if (digest === this.#complaint) return "refused";
    let lists: CrlSet;
    try {
      lists = CrlSet.parse(bytes);
    } catch (error) {
      if (!(error instanceof CrlError)) throw error;
      return this.#refuse(digest, error);
    }
    this.#complaint = null;
    this.#inUse = digest;
    this.#dueMs = lists.dueMs;
    this.#isOverdueSaid = false;
    log("info", SCOPE, "crl loaded", { path, lists: lists.size, revoked: lists.entries });
    onLists(lists);
    return "loaded";
  }

  /** Once for each thing that is wrong. */
  #refuse(what: string, { code, message }: { code: string; message: string }): "refused" {
    if (this.#complaint !== what) {
      this.#complaint = what;
      const { path, log, onFailure } = this.#options;
      const isFirst = this.#inUse === null;
      log(
        isFirst ? "warn" : "error",
        SCOPE,
        isFirst ? "failed to initialize crl manager" : "crl file is wrong, the lists in use stay",
        { path, error: message },
      );
      onFailure(code);
    }
    return "refused";
  }

  #unreadable(error: unknown): CrlLook {
    this.#file.forget();
    if (!(error instanceof Deno.errors.NotFound)) {
      const message = error instanceof Error ? error.message : String(error);
      return this.#refuse(message, { code: "UNREADABLE", message });
    }
    if (this.#complaint !== "gone") {
      this.#complaint = "gone";
      const { path, log, onFailure } = this.#options;
      const isFirst = this.#inUse === null;
      const text = isFirst
        ? "crl file not found, nothing is revoked until it appears"
        : "crl file is gone, the lists in use stay";
      log("warn", SCOPE, text, { path });
      if (!isFirst) onFailure("GONE");
    }
    return "gone";
  }

  /** An old list is better than none, but somebody should know. */
  #sayOverdue(): void {
    const { path, clock, log, onFailure } = this.#options;
    if (this.#isOverdueSaid || this.#dueMs === null || clock.wallMs() <= this.#dueMs) return;
    this.#isOverdueSaid = true;
    const since = new Date(this.#dueMs).toISOString();
    log("warn", SCOPE, "crl has expired and is used still", { path, since });
    onFailure("EXPIRED");
  }
}
