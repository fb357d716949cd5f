// What a hostile server hears of its client, for whoever waits for it.
import type { FromServer } from "./xds_hostile.ts";

/** A stream, a reply, an end: on a busy machine. */
export const WITHIN_MS = 15_000;

export type Call = FromServer & { readonly kind: "call" };

/** One client's calls, one after the other. */
export class Ear {
  readonly calls: Call[] = [];
  /** Requests of the newest call, in order. */
  messages: Uint8Array[] = [];
  opened = 0;
  ended = 0;
  #call: Call | null = null;
  #wake: (() => void) | null = null;

  hear(event: FromServer): void {
    if (event.kind === "opened") this.opened++;
    if (event.kind === "ended") this.ended++;
    if (event.kind === "call") this.calls.push(event);
    if (
      event.kind === "message" && this.#call?.connection === event.connection &&
      this.#call.stream === event.stream
    ) this.messages.push(event.message);
    else if (event.kind === "message") this.#early.push(event);
    this.#wake?.();
    this.#wake = null;
  }

  /** Requests that came before their call was taken up. */
  readonly #early: (FromServer & { kind: "message" })[] = [];

  async nextCall(): Promise<Call> {
    await this.until(() => this.calls.length > 0, "no stream comes");
    const call = this.#call = this.calls.shift()!;
    this.messages = this.#early.splice(0).filter(({ connection, stream }) =>
      connection === call.connection && stream === call.stream
    ).map(({ message }) => message);
    return call;
  }

  async until(isSo: () => boolean, otherwise: string, withinMs = WITHIN_MS): Promise<void> {
    const deadline = performance.now() + withinMs;
    while (!isSo()) {
      const left = deadline - performance.now();
      if (left <= 0) throw new Error(otherwise);
      let timer;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        timer = setTimeout(resolve, left);
      });
      clearTimeout(timer);
    }
  }
}
