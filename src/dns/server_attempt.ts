// One question to one name server: by UDP, and by TCP when the reply does not fit.
import { formatAddress, isIpv6, isLoopback, type SocketAddress } from "../base/address.ts";
import { adoptBlock, type Block } from "../base/block.ts";
import type { Cancel, Channel, ChannelHandler, Done } from "../base/channel.ts";
import type { Timer } from "../base/clock.ts";
import { DeadlineError, NetError, ProxyError } from "../base/errors.ts";
import type { UdpHandler, UdpSocket } from "../net/udp.ts";
import type { Question } from "./answer.ts";
import type { ResolverParts } from "./parts.ts";
import { encodeQuestion, readReply, type Reply } from "./wire.ts";

/** Datagrams that are no reply, on one socket: more means that somebody guesses. */
export const FOREIGN_DATAGRAMS_MAX = 64;

/** Connecting to a name server, in milliseconds (spec/xds-state-and-dns §5.6). */
export const TCP_CONNECT_MS_MAX = 5_000;

const LENGTH_BYTES = 2;
const ID_COUNT = 0x1_0000;

/** What an attempt ends with: neither a truncated reply nor a foreign one. */
export type Conclusion = Exclude<Reply, { kind: "foreign" | "truncated" }>;

/** Replies that made no sense came, and no other. */
export class BadReplyError extends ProxyError {
  readonly code = "BAD_REPLY";
}

/**
 * Asks; `done` hears a reply or why there is none. Each attempt has a socket of its own, whose port the kernel draws,
 * and an id of its own: a forger has to guess both, and the server's address.
 */
export class ServerAttempt implements Cancel, UdpHandler, ChannelHandler {
  readonly #parts: ResolverParts;
  readonly #server: SocketAddress;
  readonly #question: Question;
  readonly #done: Done<Conclusion>;
  #id: number;
  #foreign = 0;
  /** What is open or being opened. */
  #pending: Cancel;
  #socket: UdpSocket | null = null;
  #channel: Channel | null = null;
  #timer: Timer;
  /** What TCP brings: two octets of length, and then as many as they say. */
  #received = new Uint8Array(LENGTH_BYTES);
  #filled = 0;
  #isOver = false;

  constructor(
    question: Question,
    server: SocketAddress,
    parts: ResolverParts,
    done: Done<Conclusion>,
  ) {
    this.#question = question;
    this.#server = server;
    this.#parts = parts;
    this.#done = done;
    this.#id = parts.random.uint32() % ID_COUNT;
    const { config, clock, udp } = parts;
    this.#timer = clock.after(config.timeoutMs, () => this.#fail(new DeadlineError()));
    this.#pending = udp.openUdp(localFor(server.ip), this, (socket) => {
      if (socket instanceof ProxyError) return this.#fail(socket);
      this.#socket = socket;
      socket.send(encodeQuestion(question, { id: this.#id, edns0: config.edns0 }), server);
    });
  }

  cancel(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#timer.cancel();
    this.#pending.cancel();
    this.#socket?.close();
    this.#channel?.reset(null);
  }

  onDatagram(bytes: Uint8Array, source: SocketAddress): void {
    if (this.#isOver || this.#socket === null) return;
    const isServer = source.ip === this.#server.ip && source.port === this.#server.port;
    const reply: Reply = isServer
      ? readReply(bytes, this.#question, { id: this.#id, isDatagram: true })
      : { kind: "foreign", reason: "comes from elsewhere" };
    if (reply.kind === "truncated") this.#askByTcp();
    else if (reply.kind !== "foreign") this.#conclude(reply);
    else if (++this.#foreign > FOREIGN_DATAGRAMS_MAX) {
      this.#fail(
        new BadReplyError(
          `more than ${FOREIGN_DATAGRAMS_MAX} datagrams that are no reply: the last one ${reply.reason}`,
        ),
      );
    }
  }

  onError(error: ProxyError): void {
    this.#fail(error);
  }

  onData(block: Block, start: number, end: number): void {
    if (this.#isOver) return;
    for (let at = start; at < end && this.#filled < this.#received.length;) {
      const taken = Math.min(end - at, this.#received.length - this.#filled);
      this.#received.set(block.bytes.subarray(at, at + taken), this.#filled);
      at += taken;
      this.#filled += taken;
      if (this.#filled === LENGTH_BYTES && this.#received.length === LENGTH_BYTES) {
        const length = this.#received;
        this.#received = new Uint8Array(LENGTH_BYTES + (length[0]! << 8 | length[1]!));
        this.#received.set(length);
      }
    }
    if (this.#filled < this.#received.length || this.#filled === 0) return;
    const message = this.#received.subarray(LENGTH_BYTES);
    const reply = readReply(message, this.#question, { id: this.#id, isDatagram: false });
    if (reply.kind === "foreign" || reply.kind === "truncated") {
      const reason = reply.kind === "foreign" ? reply.reason : "is truncated";
      return this.#fail(new BadReplyError(`a reply by TCP ${reason}`));
    }
    this.#conclude(reply);
  }

  onEnd(): void {
    this.#fail(new NetError("UNEXPECTED_EOF", { message: "unexpected end of file" }));
  }

  onWritable(): void {}

  onClose(error: ProxyError | null): void {
    this.#fail(error ?? new NetError("UNEXPECTED_EOF", { message: "unexpected end of file" }));
  }

  /** With another id, and the whole time again. */
  #askByTcp(): void {
    const { network, clock, config, random } = this.#parts;
    this.#socket!.close();
    this.#socket = null;
    this.#timer.cancel();
    this.#timer = clock.after(config.timeoutMs, () => this.#fail(new DeadlineError()));
    this.#id = random.uint32() % ID_COUNT;
    this.#pending = network.dial(this.#server, {
      timeoutMs: Math.min(TCP_CONNECT_MS_MAX, config.timeoutMs),
      keepalive: null,
      sourceIp: null,
    }, (channel) => {
      if (channel instanceof ProxyError) return this.#fail(channel);
      this.#channel = channel;
      const question = encodeQuestion(this.#question, { id: this.#id, edns0: config.edns0 });
      const framed = new Uint8Array(LENGTH_BYTES + question.length);
      framed[0] = question.length >> 8;
      framed[1] = question.length & 0xff;
      framed.set(question, LENGTH_BYTES);
      channel.attach(this);
      const block = adoptBlock(framed);
      channel.write(block, 0, framed.length);
      block.release();
    });
  }

  #conclude(reply: Conclusion): void {
    this.cancel();
    this.#done(reply);
  }

  #fail(error: ProxyError): void {
    if (this.#isOver) return;
    this.cancel();
    this.#done(error);
  }
}

/** Where questions to a server start: any port, and for loopback no other address than loopback. */
export function localFor(serverIp: string): SocketAddress {
  if (isLoopback(serverIp)) return { ip: isIpv6(serverIp) ? "::1" : "127.0.0.1", port: 0 };
  return { ip: isIpv6(serverIp) ? "::" : "0.0.0.0", port: 0 };
}

/** What the runtime's sandbox must grant: connecting to the servers (UDP and TCP), and sending from the wildcard. */
export function resolverAddresses(servers: readonly SocketAddress[]): SocketAddress[] {
  const found = new Map<string, SocketAddress>();
  for (const server of servers) {
    for (const address of [server, localFor(server.ip)]) found.set(formatAddress(address), address);
  }
  return [...found.values()];
}
