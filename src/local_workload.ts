// The small application of local mode: answers HTTP with who it is, and echoes everything else.
import { formatAddress, type SocketAddress } from "./base/address.ts";
import type { ChannelHandler } from "./base/channel.ts";
import type { Block } from "./base/block.ts";
import { adoptBlock } from "./base/block.ts";
import type { Channel } from "./base/channel.ts";
import type { ProxyError } from "./base/errors.ts";
import type { Listener, Network } from "./net/network.ts";

/** Connections waiting to be accepted by a local workload. */
const LOCAL_WORKLOAD_BACKLOG = 128;

const HTTP_METHOD = /^(?:GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH) /;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** The answer to any HTTP request: what a newcomer wants to see of the way his bytes went. */
export function helloResponse(name: string, peer: SocketAddress): Uint8Array<ArrayBuffer> {
  const body = `hello from ${name}; your connection reached me from ${formatAddress(peer)}\n`;
  return encoder.encode(
    `HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: ${body.length}\r\n` +
      `connection: close\r\n\r\n${body}`,
  );
}

/** One connection: decides at its first bytes whether it is HTTP, and never buffers more than a chunk. */
class Conversation implements ChannelHandler {
  readonly #channel: Channel;
  readonly #name: string;
  #kind: "unknown" | "echo" | "http" = "unknown";

  constructor(channel: Channel, name: string) {
    this.#channel = channel;
    this.#name = name;
    channel.attach(this);
    channel.resume();
  }

  onData(block: Block, start: number, end: number): void {
    if (this.#kind === "unknown") {
      const head = decoder.decode(block.bytes.subarray(start, Math.min(end, start + 16)));
      this.#kind = HTTP_METHOD.test(head) ? "http" : "echo";
      if (this.#kind === "http") {
        const response = helloResponse(this.#name, this.#channel.peer);
        const answer = adoptBlock(response);
        this.#channel.write(answer, 0, response.length);
        answer.release();
        this.#channel.endWrite();
      }
    }
    if (this.#kind === "echo" && !this.#channel.write(block, start, end)) this.#channel.pause();
  }

  onEnd(): void {
    this.#channel.endWrite();
  }

  onWritable(): void {
    this.#channel.resume();
  }

  onClose(_error: ProxyError | null): void {
    // Whoever called has gone; there is nothing to keep.
  }
}

/** Listens at `address` as the workload `name`. The caller closes the listener. */
export function startLocalWorkload(
  network: Network,
  address: SocketAddress,
  name: string,
): Promise<Listener> {
  return new Promise((resolve, reject) => {
    network.listen(
      address,
      { backlog: LOCAL_WORKLOAD_BACKLOG, keepalive: null },
      (channel) => new Conversation(channel, name),
      (outcome) => outcome instanceof Error ? reject(outcome) : resolve(outcome),
    );
  });
}
