// One end of a conversation: an application that sends, reads, dawdles, ends or resets by its script.
import { adoptBlock, type Block } from "../../src/base/block.ts";
import type { Channel, ChannelHandler } from "../../src/base/channel.ts";
import type { Clock } from "../../src/base/clock.ts";
import type { ProxyError } from "../../src/base/errors.ts";
import type { Draws } from "./draws.ts";

/** What a party does; sizes in octets, times in milliseconds. */
export interface PartyScript {
  /** Octets it sends. */
  readonly sendBytes: number;
  /** Largest single write. */
  readonly writeBytesMax: number;
  /** Longest rest between two writes; 0 writes until refused. */
  readonly restMsMax: number;
  /** Stops reading once per so many octets; Infinity reads always. */
  readonly dawdleEveryBytes: number;
  readonly dawdleMsMax: number;
  /** Ends its direction at once when everything is sent, or only after the peer's end. */
  readonly endsAfterPeer: boolean;
  /** Resets as soon as it has sent and received this many octets together; Infinity never does. */
  readonly resetAtBytes: number;
  /** Resets at its peer's end instead of ending in return. */
  readonly resetsAtPeerEnd: boolean;
}

/** The octet of conversation direction `salt` at position `at`. */
export function patternOctet(salt: number, at: number): number {
  return (at * 31 + (at >> 8) * 7 + (at >> 16) + salt) & 0xff;
}

/** Bytes came that nobody sent at that place. */
export class WrongByte extends Error {
  override readonly name = "WrongByte";
}

export class Party implements ChannelHandler {
  readonly script: PartyScript;
  sentBytes = 0;
  receivedBytes = 0;
  sendEnded = false;
  peerEnded = false;
  closed = false;
  /** SOCKS5 answered something else than success. */
  turnedAway = false;
  /** When it closed; Infinity before. */
  closedAtMs = Infinity;
  /** Reset by its own script, or by the run. */
  hasReset = false;
  closeError: ProxyError | null = null;
  channel: Channel | null = null;
  readonly #name: string;
  readonly #clock: Clock;
  readonly #draws: Draws;
  readonly #sendSalt: number;
  readonly #receiveSalt: number;
  readonly #onWrite: () => void;
  /** Octets of a SOCKS5 answer still to come before payload. */
  #negotiation: readonly number[];
  #sendsNegotiation: readonly Uint8Array<ArrayBuffer>[];
  #negotiated = 0;
  #resting = false;
  /** A write was refused and nothing was said to be writable since. */
  #full = false;
  #undawdledBytes = 0;

  constructor(options: {
    readonly name: string;
    readonly script: PartyScript;
    readonly clock: Clock;
    readonly draws: Draws;
    readonly sendSalt: number;
    readonly receiveSalt: number;
    /** Called after each write. */
    readonly onWrite: () => void;
    readonly socks?: {
      readonly sends: readonly Uint8Array<ArrayBuffer>[];
      readonly hears: readonly number[];
    };
  }) {
    this.#name = options.name;
    this.script = options.script;
    this.#clock = options.clock;
    this.#draws = options.draws;
    this.#sendSalt = options.sendSalt;
    this.#receiveSalt = options.receiveSalt;
    this.#onWrite = options.onWrite;
    this.#negotiation = options.socks?.hears ?? [];
    this.#sendsNegotiation = options.socks?.sends ?? [];
  }

  start(channel: Channel): void {
    this.channel = channel;
    channel.attach(this);
    for (const bytes of this.#sendsNegotiation) this.#write(bytes);
    this.#send();
  }

  /** The run gives up on it. */
  reset(): void {
    if (this.closed || this.channel === null) return;
    this.hasReset = true;
    this.channel.reset(null);
  }

  onData(block: Block, start: number, end: number): void {
    while (start < end && this.#negotiated < this.#negotiation.length) {
      const octet = block.bytes[start++]!;
      if (octet !== this.#negotiation[this.#negotiated]) this.turnedAway = true;
      this.#negotiated++;
    }
    if (start === end || this.turnedAway) return;
    for (let index = start; index < end; index++) {
      const expected = patternOctet(this.#receiveSalt, this.receivedBytes);
      if (block.bytes[index] !== expected) {
        throw new WrongByte(
          `${this.#name}: octet ${this.receivedBytes} is ${
            block.bytes[index]
          }, sent was ${expected}`,
        );
      }
      this.receivedBytes++;
    }
    if (this.#resetIfTime()) return;
    this.#undawdledBytes += end - start;
    if (this.#undawdledBytes >= this.script.dawdleEveryBytes) this.#dawdle();
  }

  onEnd(): void {
    this.peerEnded = true;
    if (this.script.resetsAtPeerEnd) {
      this.reset();
    } else if (this.sentBytes === this.script.sendBytes) {
      this.#end();
    }
  }

  onWritable(): void {
    this.#full = false;
    this.#send();
  }

  onClose(error: ProxyError | null): void {
    this.closed = true;
    this.closedAtMs = this.#clock.nowMs();
    this.closeError = error;
  }

  #send(): void {
    while (!this.closed && !this.sendEnded && !this.#resting && !this.#full && !this.hasReset) {
      const leftBytes = this.script.sendBytes - this.sentBytes;
      if (leftBytes === 0) {
        if (!this.script.endsAfterPeer || this.peerEnded) this.#end();
        return;
      }
      const bytes = this.#pattern(
        Math.min(leftBytes, this.#draws.between(1, this.script.writeBytesMax)),
      );
      this.sentBytes += bytes.length;
      this.#full = !this.#write(bytes);
      this.#onWrite();
      if (this.#resetIfTime()) return;
      if (this.script.restMsMax > 0) this.#rest();
    }
  }

  #end(): void {
    if (this.sendEnded) return;
    this.sendEnded = true;
    this.channel!.endWrite();
  }

  #rest(): void {
    this.#resting = true;
    this.#clock.after(this.#draws.between(0, this.script.restMsMax), () => {
      this.#resting = false;
      this.#send();
    });
  }

  #dawdle(): void {
    this.#undawdledBytes = 0;
    this.channel!.pause();
    this.#clock.after(this.#draws.between(0, this.script.dawdleMsMax), () => {
      if (!this.closed) this.channel!.resume();
    });
  }

  #resetIfTime(): boolean {
    if (this.sentBytes + this.receivedBytes < this.script.resetAtBytes) return false;
    this.reset();
    return true;
  }

  /** Writes at an odd offset of a larger block, and spoils the block once it may. */
  #write(bytes: Uint8Array<ArrayBuffer>): boolean {
    const memory = new Uint8Array(bytes.length + 3);
    memory.set(bytes, 2);
    const block = adoptBlock(memory);
    const more = this.channel!.write(block, 2, 2 + bytes.length);
    block.release();
    if (block.references === 0) memory.fill(0xee);
    return more;
  }

  #pattern(length: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(length);
    for (let index = 0; index < length; index++) {
      bytes[index] = patternOctet(this.#sendSalt, this.sentBytes + index);
    }
    return bytes;
  }
}
