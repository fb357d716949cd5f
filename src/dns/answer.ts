// A question about a name, and what a name server knows.

/** What is asked for: addresses of one family. */
export type RecordType = "A" | "AAAA";

export interface Question {
  /** As `parseHostName` gives it. */
  readonly name: string;
  readonly type: RecordType;
}

/** What is known about a name. */
export interface Answer {
  /** `NO_NAME`: there is no such name (NXDOMAIN). `OK` without addresses: none of this family. */
  readonly kind: "OK" | "NO_NAME";
  /** Canonical, each once. */
  readonly addresses: readonly string[];
  /** How long it may be used, in milliseconds; 0: not again. */
  readonly ttlMs: number;
}
