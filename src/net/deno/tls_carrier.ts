// What lies below a TLS session: the calls that the runtime's TLS socket does not pass down itself.
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import type { ProxyError } from "../../base/errors.ts";

/** Smaller read buffers are left to the collector. */
const FREED_BYTES_MIN = 4096;

/**
 * The stream that carries a TLS session. The runtime's TLS socket has three faults that this makes good
 * (Deno 2.9): its `pause` does not stop the reading below, so memory grows with what the peer sends; a reset
 * or a missing close_notify below looks like an orderly end; and over a stream that is no socket it loses
 * what exceeds one record batch when ended.
 */
export interface TlsCarrier {
  readonly stream: Socket | Duplex;
  /** The session's input ended without close_notify. */
  readonly truncated: boolean;
  /** Why the carrier closed, if it said so. */
  readonly closeReason: ProxyError | null;
  /** Octets that one write to the session may have. */
  readonly writeBytesMax: number;
  /** To be called with the session as soon as it exists: from now on `truncated` is kept. */
  watch(session: TLSSocket, onTruncated: () => void): void;
  stopReading(): void;
  startReading(): void;
  resetAndDestroy(): unknown;
}

/** The runtime's TCP handle, as far as needed. Private to it: the channel contract's tests keep watch. */
interface TcpHandle {
  onread?: (this: unknown, buffer: unknown) => unknown;
  readStop(): number;
  readStart(): number;
}

interface StreamInternals {
  readonly _handle?: TcpHandle | null;
  readonly _readableState: { readonly ended: boolean };
}

/** True once the session's own input has ended, by close_notify if nothing below ended before. */
export function inputEnded(session: TLSSocket): boolean {
  return (session as unknown as StreamInternals)._readableState.ended;
}

/** {@link TlsCarrier} on a TCP socket. */
export class SocketCarrier implements TlsCarrier {
  readonly stream: Socket;
  readonly closeReason = null;
  readonly writeBytesMax = Infinity;
  #truncated = false;
  #reading = true;

  constructor(socket: Socket) {
    this.stream = socket;
  }

  get truncated(): boolean {
    return this.#truncated;
  }

  watch(session: TLSSocket, onTruncated: () => void): void {
    const handle = this.#handle();
    const feed = handle?.onread;
    if (handle === null || feed === undefined) return;
    handle.onread = (buffer: unknown) => {
      // Without bytes: FIN or an error. The session turns both into an end of its own.
      const truncates = !buffer && !inputEnded(session);
      if (truncates) this.#truncated = true;
      const result = feed.call(handle, buffer);
      // The session has read it: freed now, or the collector runs for it (see consumeBlock()).
      if (buffer instanceof ArrayBuffer && buffer.byteLength >= FREED_BYTES_MIN) buffer.transfer(0);
      if (truncates) onTruncated();
      return result;
    };
    // The runtime remembers the callback when reading starts.
    this.stopReading();
    this.startReading();
  }

  stopReading(): void {
    if (!this.#reading) return;
    this.#reading = false;
    this.#handle()?.readStop();
  }

  startReading(): void {
    if (this.#reading) return;
    this.#reading = true;
    this.#handle()?.readStart();
  }

  resetAndDestroy(): void {
    this.stream.resetAndDestroy();
  }

  #handle(): TcpHandle | null {
    return (this.stream as unknown as StreamInternals)._handle ?? null;
  }
}
