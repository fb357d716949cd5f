// One client's SOCKS5 negotiation: bounded in bytes and in time, ending in a target (spec/data-path §3.8).
//
// state      what it waits for               what ends it
// greeting   version and methods             S2, S9, the limit
// request    command and target              S7, S9, the limit
// resolving  the name's address              S8, the limit, the client's reset
// refusing   the client to close             `dismissMsMax`
// over       -
import { isIpv6, parseIp, type SocketAddress } from "../base/address.ts";
import { adoptBlock, type Block } from "../base/block.ts";
import {
  type Cancel,
  type Channel,
  type ChannelHandler,
  NOTHING_TO_CANCEL,
} from "../base/channel.ts";
import type { Timer } from "../base/clock.ts";
import { DeadlineError, ProxyError } from "../base/errors.ts";
import { Listed } from "../base/roster.ts";
import type { DataPlaneParts } from "../hbone/parts.ts";
import type { EarlyBytes } from "./connection.ts";
import {
  parseSocksGreeting,
  parseSocksRequest,
  SOCKS_GENERAL_FAILURE,
  SOCKS_HOST_UNREACHABLE,
  SOCKS_MESSAGE_BYTES_MAX,
  SOCKS_METHOD_CHOSEN,
  SOCKS_NOT_SUPPORTED,
  socksReply,
  type SocksTarget,
} from "./socks5_message.ts";

type State = "greeting" | "request" | "resolving" | "refusing" | "over";

/** What became of a negotiation; exactly one is called, once, in a later turn. */
export interface SocksOutcome {
  /** Success was answered (S6). The channel and the early bytes are the receiver's. */
  onSocksTarget(
    negotiation: SocksNegotiation,
    destination: SocketAddress,
    early: EarlyBytes | null,
  ): void;
  /** Nothing of it is left. */
  onSocksOver(negotiation: SocksNegotiation): void;
}

export class SocksNegotiation extends Listed implements ChannelHandler {
  readonly channel: Channel;
  readonly acceptedAtMs: number;
  readonly #parts: DataPlaneParts;
  readonly #outcome: SocksOutcome;
  readonly #message = new Uint8Array(SOCKS_MESSAGE_BYTES_MAX);
  #messageBytes = 0;
  #early: EarlyBytes | null = null;
  #state: State = "greeting";
  #timer: Timer;
  #step: Cancel = NOTHING_TO_CANCEL;

  constructor(channel: Channel, parts: DataPlaneParts, outcome: SocksOutcome) {
    super();
    this.channel = channel;
    this.#parts = parts;
    this.#outcome = outcome;
    this.acceptedAtMs = parts.clock.nowMs();
    this.#timer = parts.clock.after(parts.limits.socksMsMax, () => {
      this.#step.cancel();
      this.#log(new DeadlineError().message);
      this.#refuse(SOCKS_GENERAL_FAILURE);
    });
    channel.attach(this);
    channel.resume();
  }

  /** Drain and stop: a client that is not yet connected to anything is simply cut. */
  terminate(reason: ProxyError): void {
    this.#step.cancel();
    this.channel.reset(reason);
  }

  onData(block: Block, start: number, end: number): void {
    try {
      this.#take(block, start, end);
    } catch (thrown) {
      this.channel.reset(this.#parts.faults.caught(thrown, "outbound/socks5"));
    }
  }

  /** S9: the client ended before it had said what it wants. */
  onEnd(): void {
    if (this.#state === "refusing") {
      this.channel.endWrite();
      return;
    }
    this.#log("early EOF");
    this.#refuse(SOCKS_GENERAL_FAILURE);
  }

  onWritable(): void {}

  onClose(_error: ProxyError | null): void {
    this.#state = "over";
    this.#timer.cancel();
    this.#step.cancel();
    this.#releaseEarly();
    this.#outcome.onSocksOver(this);
  }

  #take(block: Block, start: number, end: number): void {
    let offset = start;
    while (offset < end) {
      if (this.#state !== "greeting" && this.#state !== "request") break;
      // One octet at a time would do; the buffer never holds more than one message.
      const room = Math.min(end - offset, this.#wanted() - this.#messageBytes);
      this.#message.set(block.bytes.subarray(offset, offset + room), this.#messageBytes);
      this.#messageBytes += room;
      offset += room;
      if (this.#state === "greeting") this.#onGreeting();
      else this.#onRequest();
    }
    const answered = this.#state === "resolving" || this.#state === "over";
    if (offset < end && answered && this.#early === null) {
      block.retain();
      this.#early = { block, start: offset, end };
    }
    if (this.#state === "resolving" && this.#target !== null) this.#aim(this.#target);
  }

  /** Set when the request was read and its target awaits the end of this turn's bytes. */
  #target: SocksTarget | null = null;

  /** How long the message at hand can be seen to be, so that no byte of the next one is swallowed. */
  #wanted(): number {
    const bytes = this.#message;
    const have = this.#messageBytes;
    if (this.#state === "greeting") return have < 2 ? have + 1 : 2 + bytes[1]!;
    if (have < 5) return have + 1;
    if (bytes[3] === 1) return 10;
    return bytes[3] === 4 ? 22 : 5 + bytes[4]! + 2;
  }

  #onGreeting(): void {
    const parsed = parseSocksGreeting(this.#message.subarray(0, this.#messageBytes));
    if (parsed.kind === "more") return;
    if (parsed.kind === "bad") {
      this.#log("invalid version or no acceptable method");
      this.#refuse(SOCKS_NOT_SUPPORTED);
      return;
    }
    this.#messageBytes = 0;
    this.#state = "request";
    this.#send(SOCKS_METHOD_CHOSEN);
  }

  #onRequest(): void {
    const parsed = parseSocksRequest(this.#message.subarray(0, this.#messageBytes));
    if (parsed.kind === "more") return;
    if (parsed.kind === "bad") {
      this.#log("unsupported command, address type or name");
      this.#refuse(SOCKS_NOT_SUPPORTED);
      return;
    }
    this.#state = "resolving";
    this.#target = parsed.value;
  }

  #aim(target: SocksTarget): void {
    this.#target = null;
    this.channel.pause();
    if (target.kind === "address") {
      this.#succeed({ ip: target.ip, port: target.port });
      return;
    }
    const literal = parseIp(target.name);
    if (literal !== null) {
      this.#succeed({ ip: literal, port: target.port });
      return;
    }
    const family = isIpv6(this.channel.peer.ip) ? 6 : 4;
    const { router, local } = this.#parts;
    this.#step = router.resolve(local, target.name, family, (outcome) => {
      this.#step = NOTHING_TO_CANCEL;
      if (outcome instanceof ProxyError) {
        this.#log(outcome.message);
        this.#refuse(SOCKS_HOST_UNREACHABLE);
      } else {
        this.#succeed({ ip: outcome, port: target.port });
      }
    });
  }

  /** Success is said before any connect (S6): clients rely on the order only. */
  #succeed(destination: SocketAddress): void {
    this.#timer.cancel();
    this.#state = "over";
    this.#send(socksReply(0));
    const early = this.#early;
    this.#early = null;
    this.#outcome.onSocksTarget(this, destination, early);
  }

  /** Answers and closes; reads on meanwhile, so that unread bytes do not turn the answer into a RST. */
  #refuse(code: number): void {
    this.#timer.cancel();
    this.#releaseEarly();
    this.#state = "refusing";
    this.#send(socksReply(code));
    this.channel.endWrite();
    this.channel.resume();
    this.#timer = this.#parts.clock.after(
      this.#parts.limits.dismissMsMax,
      () => this.channel.reset(null),
    );
  }

  #send(bytes: Uint8Array): void {
    const block = adoptBlock(Uint8Array.from(bytes));
    this.channel.write(block, 0, bytes.length);
    block.release();
  }

  #releaseEarly(): void {
    this.#early?.block.release();
    this.#early = null;
  }

  #log(why: string): void {
    this.#parts.events.log(
      "warn",
      "ztunnel::proxy::socks5",
      `failed to negotiate socks connection: ${why}`,
    );
  }
}
