// The last step of both halves: the application's channel and the next hop's, copied until both end.
import type { SocketAddress } from "../base/address.ts";
import type { Block } from "../base/block.ts";
import type { Channel, ChannelHandler } from "../base/channel.ts";
import type { ProxyError } from "../base/errors.ts";
import { Copy, CopyError } from "../net/copy.ts";
import { PathError } from "./errors.ts";
import type { DataPlaneParts } from "./parts.ts";
import type { OpenRecord } from "./record.ts";

/** A running copy, as its connection holds it. */
export interface Joined {
  /** Resets both channels; `done(reason)` follows in a later turn. */
  terminate(reason: ProxyError): void;
}

/**
 * Joins two channels, which it owns from here on, and counts into `record`. `done` is called once, when both
 * are closed: null for an ok end. Where one was ended for a reason that has its own words (revocation, drain),
 * that reason is the error, not the broken copy it caused.
 */
export function joinChannels(
  client: Channel,
  server: Channel,
  record: OpenRecord,
  parts: DataPlaneParts,
  done: (error: ProxyError | null) => void,
): Joined {
  const onBug = (thrown: unknown) => copy.stop(parts.faults.caught(thrown, "net/copy"));
  const copy = new Copy({
    client: new FencedChannel(client, onBug),
    server: new FencedChannel(server, onBug),
    counters: record,
    done: (error) => {
      const reason = error instanceof CopyError && error.cause instanceof PathError
        ? error.cause
        : error;
      try {
        done(reason);
      } catch (thrown) {
        parts.faults.caught(thrown, "hbone/joined");
      }
    },
  });
  copy.start();
  // Either may have been paused while there was nobody to take its bytes.
  client.resume();
  server.resume();
  return { terminate: (reason) => copy.stop(reason) };
}

/**
 * A channel whose handler's exceptions end this copy and nothing else. Without it one stream's bug would
 * go up through its HTTP/2 connection and take the other streams with it.
 */
class FencedChannel implements Channel, ChannelHandler {
  readonly #channel: Channel;
  readonly #onBug: (thrown: unknown) => void;
  #handler: ChannelHandler | null = null;

  constructor(channel: Channel, onBug: (thrown: unknown) => void) {
    this.#channel = channel;
    this.#onBug = onBug;
  }

  get peer(): SocketAddress {
    return this.#channel.peer;
  }

  get local(): SocketAddress {
    return this.#channel.local;
  }

  get closed(): boolean {
    return this.#channel.closed;
  }

  attach(handler: ChannelHandler): void {
    this.#handler = handler;
    this.#channel.attach(this);
  }

  pause(): void {
    this.#channel.pause();
  }

  resume(): void {
    this.#channel.resume();
  }

  write(block: Block, start: number, end: number): boolean {
    return this.#channel.write(block, start, end);
  }

  endWrite(): void {
    this.#channel.endWrite();
  }

  reset(reason: ProxyError | null): void {
    this.#channel.reset(reason);
  }

  onData(block: Block, start: number, end: number): void {
    try {
      this.#handler!.onData(block, start, end);
    } catch (thrown) {
      this.#onBug(thrown);
    }
  }

  onEnd(): void {
    try {
      this.#handler!.onEnd();
    } catch (thrown) {
      this.#onBug(thrown);
    }
  }

  onWritable(): void {
    try {
      this.#handler!.onWritable();
    } catch (thrown) {
      this.#onBug(thrown);
    }
  }

  onClose(error: ProxyError | null): void {
    try {
      this.#handler!.onClose(error);
    } catch (thrown) {
      this.#onBug(thrown);
    }
  }
}
