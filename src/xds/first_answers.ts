// Which types still owe their first good answer: the state is complete when none does (spec/xds-state-and-dns §1.11).

/** Completes once, and stays complete whatever connections do. */
export class FirstAnswers {
  readonly #expected: Set<string>;
  readonly #onComplete: () => void;

  /** @param types At least one. */
  constructor(types: readonly string[], onComplete: () => void) {
    this.#expected = new Set(types);
    this.#onComplete = onComplete;
  }

  /** A response of this type was ACKed; a NACK is no answer. */
  acked(type: string): void {
    if (this.#expected.delete(type) && this.#expected.size === 0) this.#onComplete();
  }
}
