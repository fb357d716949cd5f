// Written bytes → DATA frames, as windows, transport and the other streams allow.
import type { Block } from "../base/block.ts";
import { DEFAULT_WINDOW_BYTES, SendWindow } from "./flow_window.ts";
import { DEFAULT_FRAME_BYTES } from "./frame_header.ts";
import type { FrameWriter } from "./frame_writer.ts";
import { SendScheduler } from "./send_scheduler.ts";
import type { Http2Stream } from "./stream.ts";
import { canSend } from "./stream_state.ts";

/** What one stream sends before the next one's turn, when several wait. */
export const SEND_QUANTUM_BYTES = 65_536;

/**
 * Bytes that can go at once go at once, without a queue. Otherwise they wait in their stream, and the
 * stream waits for a turn; a stream whose own window is closed has no turn until it is opened.
 */
export class DataSender {
  readonly #writer: FrameWriter;
  readonly #onEndSent: (stream: Http2Stream) => void;
  readonly #window = new SendWindow(DEFAULT_WINDOW_BYTES);
  readonly #scheduler = new SendScheduler<Http2Stream>();
  /** Streams whose bytes are all sent but for which the transport asked to wait. */
  #awaitTransport: Http2Stream[] = [];
  #frameBytesMax = DEFAULT_FRAME_BYTES;

  /** @param onEndSent Called after a DATA frame with END_STREAM was written by {@link pump}. */
  constructor(writer: FrameWriter, onEndSent: (stream: Http2Stream) => void) {
    this.#writer = writer;
    this.#onEndSent = onEndSent;
  }

  /** The peer's SETTINGS_MAX_FRAME_SIZE. */
  setFrameBytesMax(bytes: number): void {
    this.#frameBytesMax = bytes;
    this.#writer.setFrameBytesMax(bytes);
  }

  /** WINDOW_UPDATE of the connection; false when its window would be too large. */
  addCredit(bytes: number): boolean {
    return this.#window.add(bytes);
  }

  /** Takes the range; true when all of it is on its way and more is welcome. */
  send(stream: Http2Stream, block: Block, start: number, end: number): boolean {
    const waits = stream.hasQueued || !this.#scheduler.isEmpty || stream.state === "waiting";
    while (start < end) {
      const bytes = waits ? 0 : this.#grant(stream, end - start);
      if (bytes === 0) {
        stream.queue(block, start, end);
        this.resume(stream);
        return false;
      }
      this.#writer.data(stream.id, block, start, start + bytes, false);
      start += bytes;
    }
    if (this.#writer.writable) return true;
    this.#awaitTransport.push(stream);
    return false;
  }

  /** Puts `stream` in the queue for a turn if it has bytes and a window. */
  resume(stream: Http2Stream): void {
    if (stream.hasQueued && stream.sendWindow.bytes > 0 && canSend(stream.state)) {
      this.#scheduler.add(stream);
    }
  }

  /** Sends what may be sent, a quantum per stream and turn, and says to whom more is welcome. */
  pump(): void {
    while (this.#writer.writable && this.#window.bytes > 0) {
      const stream = this.#scheduler.shift();
      if (stream === undefined) break;
      this.#sendQuantum(stream);
      if (stream.hasQueued) this.resume(stream);
      else this.#awaitTransport.push(stream);
    }
    if (!this.#writer.writable || this.#awaitTransport.length === 0) return;
    const sent = this.#awaitTransport;
    this.#awaitTransport = [];
    for (const stream of sent) if (!stream.hasQueued) stream.noteDrained();
  }

  /** Forgets a stream that is over. */
  remove(stream: Http2Stream): void {
    this.#scheduler.remove(stream);
  }

  /** Forgets all streams. */
  clear(): void {
    while (this.#scheduler.shift() !== undefined);
    this.#awaitTransport = [];
  }

  #sendQuantum(stream: Http2Stream): void {
    const queue = stream.toSend!;
    let quantumLeft = SEND_QUANTUM_BYTES;
    while (quantumLeft > 0 && !queue.isEmpty) {
      const start = queue.headStart;
      const bytes = this.#grant(stream, Math.min(queue.headEnd - start, quantumLeft));
      if (bytes === 0) return;
      const last = stream.endsAfterSend && bytes === queue.bytes;
      this.#writer.data(stream.id, queue.headBlock, start, start + bytes, last);
      queue.consume(bytes);
      quantumLeft -= bytes;
      if (last) {
        stream.noteEndSent();
        this.#onEndSent(stream);
      }
    }
  }

  /** How much of `bytesWanted` may go in one frame now, taken from both windows; 0 for nothing. */
  #grant(stream: Http2Stream, bytesWanted: number): number {
    if (!this.#writer.writable) return 0;
    const { sendWindow } = stream;
    const bytes = Math.min(bytesWanted, this.#window.bytes, sendWindow.bytes, this.#frameBytesMax);
    if (bytes <= 0) return 0;
    this.#window.take(bytes);
    sendWindow.take(bytes);
    return bytes;
  }
}
