// A Channel on one of Node's sockets, plain or TLS, for test servers that tools of any kind talk to.
// The product's own channels ask every peer for a mesh certificate, which such tools do not have.
import type { Socket } from "node:net";
import { parseIp, type SocketAddress } from "../../src/base/address.ts";
import { adoptBlock, type Block } from "../../src/base/block.ts";
import type { Channel, ChannelHandler } from "../../src/base/channel.ts";
import { NetError, type ProxyError } from "../../src/base/errors.ts";

function address(ip: string | undefined, port: number | undefined): SocketAddress {
  return { ip: parseIp(ip ?? "") ?? "127.0.0.1", port: port ?? 0 };
}

export class SocketChannel implements Channel {
  readonly peer: SocketAddress;
  readonly local: SocketAddress;
  readonly #socket: Socket;
  #handler: ChannelHandler | null = null;
  #error: ProxyError | null = null;
  #over = false;
  #wantsDrain = false;

  /** Takes over a connected socket that nobody has read from. */
  constructor(socket: Socket) {
    this.#socket = socket;
    this.peer = address(socket.remoteAddress, socket.remotePort);
    this.local = address(socket.localAddress, socket.localPort);
    socket.setNoDelay(true);
    socket.pause();
    socket.on("data", (chunk: Uint8Array<ArrayBuffer>) => {
      const bytes = new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length);
      this.#handler?.onData(adoptBlock(bytes), 0, bytes.length);
    });
    socket.on("end", () => this.#handler?.onEnd());
    socket.on("drain", () => {
      if (!this.#wantsDrain || this.#over) return;
      this.#wantsDrain = false;
      this.#handler?.onWritable();
    });
    socket.on("error", (cause: Error & { code?: string }) => {
      this.#error ??= new NetError(cause.code ?? "ECONNRESET", { cause });
    });
    socket.on("close", () => {
      this.#over = true;
      this.#handler?.onClose(this.#error);
    });
  }

  get closed(): boolean {
    return this.#over || this.#socket.destroyed;
  }

  attach(handler: ChannelHandler): void {
    this.#handler = handler;
    this.resume();
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  write(block: Block, start: number, end: number): boolean {
    if (start === end || this.closed || this.#socket.writableEnded) return true;
    block.retain();
    const more = this.#socket.write(block.bytes.subarray(start, end), () => block.release());
    if (!more) this.#wantsDrain = true;
    return more;
  }

  endWrite(): void {
    this.#socket.end();
  }

  reset(reason: ProxyError | null): void {
    if (this.closed) return;
    this.#error = reason;
    this.#socket.destroy();
  }
}
