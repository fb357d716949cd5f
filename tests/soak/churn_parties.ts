// Both ends of the connections that come and go in the churn of a native data plane: callbacks only, as in the product.
import type { SocketAddress } from "../../src/base/address.ts";
import { adoptBlock, type Block } from "../../src/base/block.ts";
import type { Cancel, Channel, ChannelHandler, Done } from "../../src/base/channel.ts";
import type { Clock } from "../../src/base/clock.ts";
import { ProxyError } from "../../src/base/errors.ts";
import type { CertificateSource, CertifiedKey } from "../../src/tls/certificate.ts";
import type { SpiffeId } from "../../src/tls/spiffe_id.ts";
import type { CertificatePins } from "../../src/isolate/remote_certificates.ts";

const MESSAGE_BYTES = 2_000;
/** First octet of a message after which its receiver resets. */
const RESET_PLEASE = 0xff;

/** Hands out a certificate and replaces it; the one before stays pinned for who is still dialling with it. */
export class RotatingSource implements CertificateSource {
  readonly identity: SpiffeId;
  rotations = 0;
  readonly #stock: readonly CertifiedKey[];
  readonly #pins: CertificatePins;
  readonly #clock: Clock;
  #pinned: CertifiedKey[] = [];

  /** @param stock Certificates of one identity, used round and round, each time as a new one. */
  constructor(stock: readonly CertifiedKey[], pins: CertificatePins, clock: Clock) {
    this.identity = stock[0]!.identity;
    this.#stock = stock;
    this.#pins = pins;
    this.#clock = clock;
    this.rotate();
  }

  get current(): CertifiedKey {
    return this.#pinned.at(-1)!;
  }

  rotate(): void {
    const next = { ...this.#stock[this.rotations++ % this.#stock.length]! };
    this.#pins.pin(next);
    this.#pinned.push(next);
    if (this.#pinned.length > 2) this.#pins.unpin(this.#pinned.shift()!);
  }

  get(done: Done<CertifiedKey>): Cancel {
    let wanted = true;
    this.#clock.soon({ runTask: () => void (wanted && done(this.current)) });
    return { cancel: () => void (wanted = false) };
  }

  close(): void {
    for (const certificate of this.#pinned.splice(0)) this.#pins.unpin(certificate);
  }
}

/** Sends back what comes, ends when the peer does, resets when told to. */
export class Echo implements ChannelHandler {
  readonly #channel: Channel;

  constructor(channel: Channel) {
    this.#channel = channel;
    channel.attach(this);
  }

  onData(block: Block, start: number, end: number): void {
    if (block.bytes[start] === RESET_PLEASE) return this.#channel.reset(null);
    if (!this.#channel.write(block, start, end)) this.#channel.pause();
  }

  onEnd(): void {
    this.#channel.endWrite();
  }

  onWritable(): void {
    this.#channel.resume();
  }

  onClose(): void {}
}

/** How a connection that came about ends. */
export const ENDINGS = [
  "in order",
  "client resets",
  "client resets with bytes under way",
  "server resets",
  "client ends at once",
] as const;
export type Ending = typeof ENDINGS[number];

/** A client that sends a message, gets it back and leaves in some way. `done` hears of its end, once. */
export class Caller implements ChannelHandler {
  readonly #channel: Channel;
  readonly #ending: Ending;
  readonly #done: (bytes: number) => void;
  #received = 0;

  constructor(channel: Channel, ending: Ending, done: (bytes: number) => void) {
    this.#channel = channel;
    this.#ending = ending;
    this.#done = done;
    channel.attach(this);
    if (ending === "client ends at once") {
      channel.endWrite();
      return;
    }
    const message = new Uint8Array(MESSAGE_BYTES);
    if (ending === "server resets") message[0] = RESET_PLEASE;
    channel.write(adoptBlock(message), 0, MESSAGE_BYTES);
    if (ending === "client resets with bytes under way") channel.reset(null);
  }

  onData(_block: Block, start: number, end: number): void {
    this.#received += end - start;
    if (this.#received < MESSAGE_BYTES) return;
    if (this.#ending === "client resets") this.#channel.reset(null);
    else this.#channel.endWrite();
  }

  onEnd(): void {
    this.#channel.endWrite();
  }

  onWritable(): void {}

  onClose(): void {
    this.#done(this.#received);
  }
}

/** Asks a SOCKS5 port for `target`, then is a {@link Caller}. */
export class SocksUser implements ChannelHandler {
  readonly #channel: Channel;
  readonly #target: SocketAddress;
  readonly #ending: Ending;
  readonly #done: (bytes: number) => void;
  #answered = 0;

  constructor(
    channel: Channel,
    target: SocketAddress,
    ending: Ending,
    done: (bytes: number) => void,
  ) {
    this.#channel = channel;
    this.#target = target;
    this.#ending = ending;
    this.#done = done;
    channel.attach(this);
    this.#say([5, 1, 0]);
  }

  #say(octets: readonly number[]): void {
    this.#channel.write(adoptBlock(Uint8Array.from(octets)), 0, octets.length);
  }

  onData(_block: Block, start: number, end: number): void {
    const before = this.#answered;
    this.#answered += end - start;
    const { ip, port } = this.#target;
    if (before < 2 && this.#answered >= 2) {
      this.#say([5, 1, 0, 1, ...ip.split(".").map(Number), port >> 8, port & 255]);
    }
    if (this.#answered === 12) new Caller(this.#channel, this.#ending, this.#done);
  }

  onEnd(): void {
    this.#channel.endWrite();
  }

  onWritable(): void {}

  onClose(): void {
    this.#done(0);
  }
}

/** A channel nobody talks on: it waits to be closed. */
export class Mute implements ChannelHandler {
  constructor(channel: Channel, readonly onGone: () => void) {
    channel.attach(this);
  }

  onData(): void {}
  onEnd(): void {}
  onWritable(): void {}
  onClose(): void {
    this.onGone();
  }
}

/** A success, or the throw of what went wrong. */
export function must<Value>(outcome: Value | ProxyError): Value {
  if (outcome instanceof ProxyError) throw outcome;
  return outcome;
}
