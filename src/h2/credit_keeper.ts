// Flow-control credit for what the peer sends: charged on arrival, given back on consumption.
import { ReceiveWindow } from "./flow_window.ts";
import type { FrameWriter } from "./frame_writer.ts";
import type { Http2Stream } from "./stream.ts";

/**
 * The connection's receive window, and the WINDOW_UPDATE frames of it and of its streams. Each octet
 * charged leaves exactly once: taken by a stream's owner ({@link give}) or by nobody ({@link drop}).
 */
export class CreditKeeper {
  readonly #writer: FrameWriter;
  readonly #window: ReceiveWindow;
  /** Streams that are owed a WINDOW_UPDATE for which the transport had no room. */
  readonly #owed = new Set<Http2Stream>();
  #stopped = false;

  constructor(writer: FrameWriter, connectionWindowBytes: number) {
    this.#writer = writer;
    this.#window = new ReceiveWindow(connectionWindowBytes);
  }

  /** Octets that the peer may still send. */
  get windowBytes(): number {
    return this.#window.bytes;
  }

  /** Octets that arrived and have not left yet. */
  get heldBytes(): number {
    return this.#window.heldBytes;
  }

  /** Counts octets that arrived for any stream; false when the peer had no right to send them. */
  charge(bytes: number): boolean {
    return this.#window.charge(bytes);
  }

  /** The owner of `stream` took `bytes`. True when a frame was written. */
  give(stream: Http2Stream, bytes: number): boolean {
    const connectionDue = this.#window.consume(bytes);
    const streamDue = stream.receiveWindow.consume(bytes) && stream.isReceiving;
    if (!connectionDue && !streamDue) return false;
    if (streamDue && !this.#stopped) {
      // Collected rather than queued, so that a peer that never reads cannot make a queue of these.
      if (this.#writer.writable) this.#announceStream(stream);
      else this.#owed.add(stream);
    }
    return this.#announce();
  }

  /** Nobody takes these `bytes`. True when a frame was written. */
  drop(bytes: number): boolean {
    return this.#window.consume(bytes) && this.#announce();
  }

  /** Writes what was owed. */
  onTransportWritable(): void {
    this.#announce();
    for (const stream of this.#owed) this.#announceStream(stream);
    this.#owed.clear();
  }

  /** Forgets a stream that is over. */
  forget(stream: Http2Stream): void {
    this.#owed.delete(stream);
  }

  /** Writes nothing more: the connection is ending. Octets are still counted. */
  stop(): void {
    this.#stopped = true;
    this.#owed.clear();
  }

  #announceStream(stream: Http2Stream): void {
    const credit = stream.receiveWindow.takeCredit();
    if (credit > 0) this.#writer.windowUpdate(stream.id, credit);
  }

  #announce(): boolean {
    if (this.#stopped || !this.#writer.writable) return false;
    const credit = this.#window.takeCredit();
    if (credit > 0) this.#writer.windowUpdate(0, credit);
    return true;
  }
}
