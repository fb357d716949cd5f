// Header fields of one block as they are decoded, with the limits that stop a header bomb.
import { H2ConnectionError } from "./errors.ts";
import type { HpackSink } from "./hpack/decoder.ts";
import type { HeaderField } from "./types.ts";

/** Fields that a header list may have (design §5). */
export const HEADER_FIELDS_MAX = 100;

/** So many times over a limit, the whole connection ends (design §5). */
export const HEADER_EXCESS_FACTOR = 4;

/** Keeps what is within the limits; the rest is decoded, because the HPACK state needs it, and dropped. */
export class HeaderCollector implements HpackSink {
  readonly #listBytesMax: number;
  #fields: HeaderField[] = [];
  #fieldCount = 0;
  #listBytes = 0;

  /** @param listBytesMax SETTINGS_MAX_HEADER_LIST_SIZE as we advertised it. */
  constructor(listBytesMax: number) {
    this.#listBytesMax = listBytesMax;
  }

  /** True when the list is too long to be answered otherwise than with 431. */
  get isOver(): boolean {
    return this.#listBytes > this.#listBytesMax || this.#fieldCount > HEADER_FIELDS_MAX;
  }

  onHeader(name: string, value: string, bytes: number): void {
    this.#listBytes += bytes;
    this.#fieldCount++;
    if (!this.isOver) {
      this.#fields.push({ name, value });
      return;
    }
    this.#fields.length = 0;
    if (
      this.#listBytes > this.#listBytesMax * HEADER_EXCESS_FACTOR ||
      this.#fieldCount > HEADER_FIELDS_MAX * HEADER_EXCESS_FACTOR
    ) {
      throw new H2ConnectionError(
        `Cannot accept headers: ${this.#fieldCount} fields of ${this.#listBytes} bytes, ` +
          `limits are ${HEADER_FIELDS_MAX} and ${this.#listBytesMax}`,
        { code: "ENHANCE_YOUR_CALM" },
      );
    }
  }

  /** The list, which the caller owns; the collector is empty again. */
  take(): HeaderField[] {
    const fields = this.#fields;
    this.#fields = [];
    this.#fieldCount = 0;
    this.#listBytes = 0;
    return fields;
  }
}
