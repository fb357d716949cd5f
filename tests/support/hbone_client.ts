// A peer that calls 15008 with whatever headers a test wants.
import type { SocketAddress } from "../../src/base/address.ts";
import { adoptBlock, type Block, BlockPool } from "../../src/base/block.ts";
import type { ChannelHandler } from "../../src/base/channel.ts";
import { ProxyError } from "../../src/base/errors.ts";
import { Http2Connection } from "../../src/h2/connection.ts";
import type {
  H2ConnectionHandler,
  H2ResponseHandler,
  H2Stream,
  HeaderList,
} from "../../src/h2/types.ts";
import type { SecureChannel } from "../../src/net/network.ts";
import {
  CLIENT,
  CLIENT_IP,
  type DataPlaneWorld,
  identityOf,
  SERVER,
  SERVER_IP,
  testLeaf,
} from "./data_plane_world.ts";
import type { LocalWorkloadName } from "../../src/seam/workload.ts";

/** Headers of a CONNECT to `authority`, and more. */
export function connectTo(authority: string, more: Record<string, string> = {}): HeaderList {
  return [
    { name: ":method", value: "CONNECT" },
    { name: ":authority", value: authority },
    ...Object.entries(more).map(([name, value]) => ({ name, value })),
  ];
}

/** One request and everything that came back. */
export class Call implements H2ResponseHandler, ChannelHandler {
  stream: H2Stream | null = null;
  status: string | null = null;
  headers: HeaderList = [];
  endStream = false;
  failure: ProxyError | null = null;
  text = "";
  ended = false;
  closed = false;
  closeError: ProxyError | null = null;

  onResponse(stream: H2Stream, headers: HeaderList, endStream: boolean): void {
    this.headers = headers;
    this.status = headers.find(({ name }) => name === ":status")!.value;
    this.endStream = endStream;
    stream.attach(this);
  }

  onFailure(_stream: H2Stream, error: ProxyError): void {
    this.failure = error;
  }

  onData(block: Block, start: number, end: number): void {
    this.text += new TextDecoder().decode(block.bytes.subarray(start, end));
  }

  onEnd(): void {
    this.ended = true;
  }

  onWritable(): void {}

  onClose(error: ProxyError | null): void {
    this.closed = true;
    this.closeError = error;
  }

  send(text: string): void {
    const bytes = new TextEncoder().encode(text);
    const block = adoptBlock(bytes);
    this.stream!.write(block, 0, bytes.length);
    block.release();
  }
}

/** An HBONE connection from the client's host to a data plane's 15008, made in the constructor's turn and after. */
export class HboneClient implements H2ConnectionHandler {
  readonly h2: Http2Connection;
  readonly channel: SecureChannel;
  closed = false;
  goAways: number[] = [];

  private constructor(channel: SecureChannel, world: DataPlaneWorld) {
    this.channel = channel;
    this.h2 = new Http2Connection({
      side: "client",
      transport: channel,
      handler: this,
      clock: world.clock,
      pool: new BlockPool({ blockBytes: 65_536, idleMax: 4 }),
    });
  }

  /** Connects as a workload. */
  static async connect(
    world: DataPlaneWorld,
    options: { readonly as?: LocalWorkloadName; readonly to?: SocketAddress } = {},
  ): Promise<HboneClient> {
    const certificate = await testLeaf(identityOf(options.as ?? CLIENT));
    const outcomes: (SecureChannel | ProxyError)[] = [];
    world.network(CLIENT_IP).dialSecure(options.to ?? { ip: SERVER_IP, port: 15008 }, {
      timeoutMs: 10_000,
      keepalive: null,
      sourceIp: null,
      tls: { certificate, expected: [identityOf(SERVER)], timeoutMs: 10_000 },
    }, (outcome) => outcomes.push(outcome));
    world.drive(() => outcomes.length === 1);
    const outcome = outcomes[0]!;
    if (outcome instanceof ProxyError) throw outcome;
    return new HboneClient(outcome, world);
  }

  call(headers: HeaderList): Call {
    const call = new Call();
    call.stream = this.h2.open(headers, call);
    return call;
  }

  onRequest(): void {}
  onPeerSettings(): void {}
  onPong(): void {}
  onGoAway(lastStreamId: number): void {
    this.goAways.push(lastStreamId);
  }
  onHeaderBlock(): void {}
  onIdle(): void {}
  onClose(): void {
    this.closed = true;
  }
}
