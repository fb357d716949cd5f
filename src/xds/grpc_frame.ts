// Length-prefixed gRPC messages out of whatever pieces the network makes of them, and into such.
import { GrpcError } from "./grpc_error.ts";

/** Flag and length before each message. */
export const PREFIX_BYTES = 5;

/** Largest message taken, in octets (spec/xds-state-and-dns §1.2). */
export const MESSAGE_BYTES_MAX = 200 * 1024 * 1024;

/** The message with its prefix; a copy. */
export function encodeFrame(message: Uint8Array): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(PREFIX_BYTES + message.length);
  new DataView(frame.buffer).setUint32(1, message.length);
  frame.set(message, PREFIX_BYTES);
  return frame;
}

/**
 * Cuts messages out of a stream of bytes. `add` a chunk, then call `next` until it gives null. Holds the chunk and at most
 * one message: a message is checked before room is made for it, the room is made once, and untouched pages of it cost
 * nothing, so a peer that declares 200 MiB and sends ten bytes takes ten bytes of ours.
 */
export class GrpcFrameReader {
  readonly #messageBytesMax: number;
  #chunk: Uint8Array = new Uint8Array(0);
  #at = 0;
  readonly #prefix = new Uint8Array(PREFIX_BYTES);
  #prefixBytes = 0;
  /** Null between messages. */
  #message: Uint8Array | null = null;
  #messageBytes = 0;

  /** @param messageBytesMax Octets; {@link MESSAGE_BYTES_MAX} unless told otherwise. */
  constructor(messageBytesMax: number = MESSAGE_BYTES_MAX) {
    this.#messageBytesMax = messageBytesMax;
  }

  /** The reader's from now on. Only once `next` has given null. */
  add(chunk: Uint8Array): void {
    this.#chunk = chunk;
    this.#at = 0;
  }

  /**
   * The next whole message, or null when more bytes are needed. A message may be a view of the chunk it came in.
   * @throws {GrpcError} GRPC_FRAME_COMPRESSED or GRPC_FRAME_TOO_LARGE; the reader is of no use afterwards.
   */
  next(): Uint8Array | null {
    if (this.#message === null) {
      if (!this.#readPrefix()) return this.#dropChunk();
      const length = this.#declaredBytes();
      this.#prefixBytes = 0;
      if (this.#chunk.length - this.#at >= length) {
        this.#at += length;
        return this.#chunk.subarray(this.#at - length, this.#at);
      }
      this.#message = new Uint8Array(length);
      this.#messageBytes = 0;
    }
    const message = this.#message;
    const bytes = Math.min(message.length - this.#messageBytes, this.#chunk.length - this.#at);
    message.set(this.#chunk.subarray(this.#at, this.#at + bytes), this.#messageBytes);
    this.#at += bytes;
    this.#messageBytes += bytes;
    if (this.#messageBytes < message.length) return this.#dropChunk();
    this.#message = null;
    return message;
  }

  /**
   * Says that nothing follows.
   * @throws {GrpcError} GRPC_FRAME_TRUNCATED inside a message or its prefix.
   */
  end(): void {
    const message = this.#message;
    if (this.#prefixBytes === 0 && message === null) return;
    const seen = message === null
      ? `${this.#prefixBytes} of ${PREFIX_BYTES} bytes of a prefix`
      : `${this.#messageBytes} of ${message.length} bytes`;
    throw new GrpcError("GRPC_FRAME_TRUNCATED", {
      code: "Internal",
      message: `Cannot read message: stream ended after ${seen}`,
    });
  }

  #readPrefix(): boolean {
    while (this.#prefixBytes < PREFIX_BYTES && this.#at < this.#chunk.length) {
      this.#prefix[this.#prefixBytes++] = this.#chunk[this.#at++]!;
    }
    return this.#prefixBytes === PREFIX_BYTES;
  }

  #declaredBytes(): number {
    const flag = this.#prefix[0]!;
    if (flag !== 0) {
      throw new GrpcError("GRPC_FRAME_COMPRESSED", {
        code: "Internal",
        message: `Cannot read message: compressed flag is ${flag}, no compression was offered`,
      });
    }
    const length = new DataView(this.#prefix.buffer).getUint32(1);
    if (length > this.#messageBytesMax) {
      throw new GrpcError("GRPC_FRAME_TOO_LARGE", {
        code: "OutOfRange",
        message:
          `Cannot read message: length is ${length} bytes, limit is ${this.#messageBytesMax}`,
      });
    }
    return length;
  }

  #dropChunk(): null {
    this.#chunk = new Uint8Array(0);
    this.#at = 0;
    return null;
  }
}
