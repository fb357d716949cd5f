// Name servers that answer as a test tells them to: pretended ones on a virtual clock, real ones on loopback.
import { Buffer } from "node:buffer";
import dgram from "node:dgram";
import net from "node:net";
import dnsPacket from "dns-packet";
import type { SocketAddress } from "../../src/base/address.ts";
import { type Cancel, type Done, NOTHING_TO_CANCEL } from "../../src/base/channel.ts";
import type { Clock } from "../../src/base/clock.ts";
import { NetError, type ProxyError } from "../../src/base/errors.ts";
import type { UdpHandler, UdpNetwork, UdpSocket } from "../../src/net/udp.ts";

/** A question as a name server sees it. */
export interface Asked {
  readonly id: number;
  readonly name: string;
  readonly type: string;
  readonly via: "udp" | "tcp";
  readonly server: SocketAddress;
  readonly client: SocketAddress;
  readonly bytes: Uint8Array;
}

/** A datagram or message that goes back. */
export interface Sent {
  readonly bytes: Uint8Array;
  /** Milliseconds after the question; default 0. */
  readonly afterMs?: number;
  /** Default: the server's own address. Pretended servers only. */
  readonly from?: SocketAddress;
}

/** What comes of a question. Nothing is silence; an error is what sending it meets. */
export type Script = (asked: Asked) => readonly Sent[] | ProxyError;

/** A record as dns-packet writes it. */
export type RecordText = Record<string, unknown> & { readonly type: string };

export interface ReplyText {
  readonly rcode?: number;
  readonly truncated?: boolean;
  readonly answers?: readonly RecordText[];
  readonly authorities?: readonly RecordText[];
  /** Other than the question's own. */
  readonly id?: number;
  readonly questions?: readonly RecordText[];
  readonly flags?: number;
}

const RESPONSE = 0x8000;
const TRUNCATED = 0x0200;

/** A reply to a question. Records without owner belong to the name asked, those without TTL live 60 s. */
export function reply({ id, name, type }: Asked, text: ReplyText): Uint8Array {
  const records = (list: readonly RecordText[] = []) =>
    list.map((record) => ({ name, ttl: 60, ...record }));
  const bytes = new Uint8Array(dnsPacket.encode({
    type: "response",
    id: text.id ?? id,
    flags: (text.rcode ?? 0) | (text.truncated ? TRUNCATED : 0) | (text.flags ?? 0x0180),
    questions: text.questions ?? [{ name, type }],
    answers: records(text.answers),
    authorities: records(text.authorities),
  }));
  const flags = new DataView(bytes.buffer);
  flags.setUint16(2, flags.getUint16(2) | RESPONSE); // The encoder has no say in this.
  return bytes;
}

export const NXDOMAIN = 3;

/** A start of authority that makes its absence known for `seconds`. */
export function soa(seconds: number): RecordText {
  const data = { mname: "ns.test", rname: "root.test", minimum: seconds, serial: 1 };
  return { type: "SOA", name: "test", ttl: 3600, data };
}

/** Name servers that know a zone: `"A name": addresses`, `"CNAME name": target`. Everything else is NXDOMAIN. */
export function zone(
  known: Readonly<Record<string, readonly string[] | string>>,
  options: { readonly ttl?: number; readonly afterMs?: number } = {},
): Script {
  const { ttl = 60, afterMs = 0 } = options;
  const names = Object.keys(known).map((key) => key.split(" ")[1]!);
  return (asked) => {
    const answers: RecordText[] = [];
    let { name } = asked;
    for (let alias = known[`CNAME ${name}`]; typeof alias === "string";) {
      answers.push({ type: "CNAME", name, data: alias, ttl });
      name = alias;
      alias = known[`CNAME ${name}`];
    }
    for (const data of known[`${asked.type} ${name}`] ?? []) {
      answers.push({ type: asked.type, name, data, ttl });
    }
    const rcode = names.includes(name) ? 0 : NXDOMAIN;
    const authorities = answers.length === 0 || rcode !== 0 ? [soa(30)] : [];
    return [{ bytes: reply(asked, { rcode, answers, authorities }), afterMs }];
  };
}

function parse(bytes: Uint8Array, rest: Omit<Asked, "id" | "name" | "type" | "bytes">): Asked {
  const { id, questions } = dnsPacket.decode(Buffer.from(bytes));
  const [{ name, type }] = questions;
  return { ...rest, id, name, type, bytes: new Uint8Array(bytes) };
}

/** {@link UdpNetwork} without sockets: each send is a question to the script, on a clock of the test. */
export class PretendUdp implements UdpNetwork {
  readonly #clock: Clock;
  readonly #sockets = new Map<number, UdpHandler>();
  #ports = 40_000;
  script: Script;
  /** Every question, in order. */
  readonly asked: Asked[] = [];

  constructor(clock: Clock, script: Script) {
    this.#clock = clock;
    this.script = script;
  }

  get openUdpSockets(): number {
    return this.#sockets.size;
  }

  openUdp(local: SocketAddress, handler: UdpHandler, done: Done<UdpSocket>): Cancel {
    const bound = { ip: local.ip, port: this.#ports++ };
    this.#sockets.set(bound.port, handler);
    const close = () => void this.#sockets.delete(bound.port);
    const socket: UdpSocket = {
      local: bound,
      send: (bytes, server) => this.#send(bytes, server, bound),
      close,
    };
    const opening = this.#clock.after(0, () => done(socket));
    return {
      cancel() {
        opening.cancel();
        close();
      },
    };
  }

  #send(bytes: Uint8Array, server: SocketAddress, client: SocketAddress): void {
    const asked = parse(bytes, { via: "udp", server, client });
    this.asked.push(asked);
    const outcome = this.script(asked);
    if (!Array.isArray(outcome)) {
      const error = outcome as ProxyError;
      this.#clock.after(0, () => this.#sockets.get(client.port)?.onError(error));
      return;
    }
    for (const { bytes: back, afterMs = 0, from = server } of outcome) {
      this.#clock.after(afterMs, () => this.#sockets.get(client.port)?.onDatagram(back, from));
    }
  }
}

/** A network whose connections all fail. */
export const NO_TCP = {
  dial(_address: unknown, _options: unknown, done: (error: ProxyError) => void): Cancel {
    queueMicrotask(() => done(new NetError("ECONNREFUSED")));
    return NOTHING_TO_CANCEL;
  },
};

/** A name server on 127.0.0.1, UDP and TCP on one port. */
export class LoopbackNameServer implements AsyncDisposable {
  readonly #udp: dgram.Socket;
  readonly #tcp: net.Server;
  readonly #connections = new Set<net.Socket>();
  readonly asked: Asked[] = [];
  readonly address: SocketAddress;
  script: Script;

  private constructor(udp: dgram.Socket, tcp: net.Server, port: number, script: Script) {
    this.#udp = udp;
    this.#tcp = tcp;
    this.address = { ip: "127.0.0.1", port };
    this.script = script;
    udp.on("message", (bytes, client) => {
      for (const { bytes: back } of this.#answers(bytes, "udp", client.address, client.port)) {
        udp.send(back, client.port, client.address);
      }
    });
    tcp.on("connection", (socket) => this.#serve(socket));
  }

  static async start(script: Script): Promise<LoopbackNameServer> {
    const tcp = net.createServer();
    await new Promise<void>((resolve) => tcp.listen(0, "127.0.0.1", resolve));
    const { port } = tcp.address() as net.AddressInfo;
    const udp = dgram.createSocket("udp4");
    await new Promise<void>((resolve) => udp.bind(port, "127.0.0.1", resolve));
    return new LoopbackNameServer(udp, tcp, port, script);
  }

  #answers(bytes: Uint8Array, via: "udp" | "tcp", ip: string, port: number): readonly Sent[] {
    const asked = parse(bytes, { via, server: this.address, client: { ip, port } });
    this.asked.push(asked);
    const outcome = this.script(asked);
    return Array.isArray(outcome) ? outcome : [];
  }

  /** A message per connection is enough; its reply goes out an octet and then the rest. */
  #serve(socket: net.Socket): void {
    this.#connections.add(socket);
    socket.on("close", () => this.#connections.delete(socket));
    socket.on("error", () => {});
    socket.on("data", (bytes: Uint8Array) => {
      const client = { ip: socket.remoteAddress!, port: socket.remotePort! };
      for (
        const { bytes: back } of this.#answers(bytes.subarray(2), "tcp", client.ip, client.port)
      ) {
        socket.write(new Uint8Array([back.length >> 8]));
        socket.write(new Uint8Array([back.length & 0xff, ...back]));
      }
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#connections) socket.destroy();
    await Promise.all([
      new Promise((resolve) => this.#udp.close(() => resolve(null))),
      new Promise((resolve) => this.#tcp.close(resolve)),
    ]);
  }
}
