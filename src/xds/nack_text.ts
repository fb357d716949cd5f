// What a NACK says: every rejected resource with its reason, as far as there is room (spec/xds-state-and-dns §1.7).

/** Characters of a NACK's text; istiod prints it and takes messages of 4 MiB. */
export const NACK_TEXT_MAX = 16_384;

/** Characters of one resource's part; names are longer than reasons. */
export const NACK_PART_MAX = 1_024;

/** Collects rejections. Memory is bounded by {@link NACK_TEXT_MAX}, whatever comes. */
export class NackText {
  readonly #converted: string[] = [];
  readonly #decoded: string[] = [];
  #characters = 0;
  #count = 0;

  /** Resources rejected, listed or not. */
  get count(): number {
    return this.#count;
  }

  add(name: string, reason: string, kind: "convert" | "decode"): void {
    this.#count++;
    const part = `${name}: ${reason}`.slice(0, NACK_PART_MAX);
    if (this.#characters + part.length > NACK_TEXT_MAX) return;
    this.#characters += part.length + 2;
    (kind === "convert" ? this.#converted : this.#decoded).push(part);
  }

  /** Conversion failures first; null when nothing was rejected. */
  text(): string | null {
    if (this.#count === 0) return null;
    const parts = [...this.#converted, ...this.#decoded];
    const left = this.#count - parts.length;
    return left === 0 ? parts.join("; ") : `${parts.join("; ")}; and ${left} more`;
  }
}
