// The request's side of a call as a ReadableStream: messages leave when the runtime asks for them, not before.
import { GrpcError } from "./grpc_error.ts";

interface Waiting {
  readonly frame: Uint8Array;
  readonly taken: () => void;
  readonly refused: (error: GrpcError) => void;
}

/** Frames on their way out. What the runtime has taken (it reads up to 64 KiB ahead) is not counted here. */
export class RequestBody {
  readonly stream: ReadableStream<Uint8Array>;
  readonly #waiting: Waiting[] = [];
  #controller!: ReadableStreamDefaultController<Uint8Array>;
  /** Set while the runtime waits for a frame. */
  #asked: (() => void) | null = null;
  #error: GrpcError | null = null;

  constructor() {
    this.stream = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#controller = controller;
      },
      pull: () => {
        if (this.#waiting.length > 0) return this.#give();
        return new Promise<void>((resolve) => this.#asked = resolve);
      },
      // The runtime wants no more: the call is over, and its other side says why.
      cancel: () => this.#fail(ended("the call is over"), false),
    }, { highWaterMark: 0 });
  }

  /** Octets that wait. */
  get waitingBytes(): number {
    return this.#waiting.reduce((sum, { frame }) => sum + frame.length, 0);
  }

  /** Resolves once the runtime took the frame; rejects with the reason of the end. */
  send(frame: Uint8Array): Promise<void> {
    if (this.#error !== null) return Promise.reject(this.#error);
    return new Promise<void>((taken, refused) => {
      this.#waiting.push({ frame, taken, refused });
      const asked = this.#asked;
      if (asked === null) return;
      this.#asked = null;
      this.#give();
      asked();
    });
  }

  /** Half-closes the call; what waits is refused. */
  end(reason: GrpcError): void {
    this.#fail(reason, true);
  }

  #give(): void {
    const { frame, taken } = this.#waiting.shift()!;
    this.#controller.enqueue(frame);
    taken();
  }

  #fail(reason: GrpcError, close: boolean): void {
    if (this.#error !== null) return;
    this.#error = reason;
    for (const { refused } of this.#waiting.splice(0)) refused(reason);
    if (close) this.#controller.close();
    this.#asked?.();
    this.#asked = null;
  }
}

function ended(message: string): GrpcError {
  return new GrpcError("GRPC_CLOSED", { code: "Cancelled", message });
}
