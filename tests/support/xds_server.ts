// A control plane for tests: delta ADS on grpc-js that does as istiod does (spec/xds-state-and-dns §1.5, §1.7, §1.12),
// writes down what it hears and says, and misbehaves when told to.
import { Buffer } from "node:buffer";
import grpc from "@grpc/grpc-js";
import { insideOf, tame } from "./grpc_server_inside.ts";
import { loopbackBlock } from "./loopback.ts";
import type { TestLeaf } from "./mesh_ca.ts";
import type { Fields } from "./protobuf.ts";
import { until } from "./real_sockets.ts";
import { XdsDoor } from "./xds_door.ts";
import { TYPE_URLS, type XdsResource, type XdsType } from "./xds_resources.ts";
import { XDS_PROTOBUF } from "./xds_schema.ts";
import { XdsSubscription } from "./xds_subscription.ts";

export const DELTA_PATH =
  "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const TYPES: readonly XdsType[] = ["Address", "Authorization"];
const SETTLED_WITHIN_MS = 15_000;

/** `node.id` as istiod takes it: exactly four parts. */
const NODE_ID = /^ztunnel~[^~]+~[^~]+~[^~]+$/;

export interface XdsServerOptions {
  /** Serves TLS with this leaf; plaintext otherwise. */
  readonly tls?: TestLeaf;
  /** The token asked for; anybody may come otherwise. */
  readonly token?: string;
  /** A loopback address; one of the test's own unless given. */
  readonly ip?: string;
}

/** A request as it came. */
export interface HeardRequest {
  /** Streams count from 1. */
  readonly stream: number;
  readonly type: XdsType | null;
  readonly kind: "first" | "ack" | "nack" | "demand";
  /** Decoded by the tables of `xds_schema.ts`. */
  readonly request: Fields;
}

/** A response as it went. */
export interface SaidResponse {
  readonly stream: number;
  readonly type: XdsType | null;
  readonly nonce: string;
  /** Names, in the order of the message. */
  readonly set: readonly string[];
  readonly removed: readonly string[];
  /** What came back; null while nothing did. */
  reply: "ack" | "nack" | null;
}

/** How a stream ends or is refused: a gRPC status. */
export interface GrpcStatus {
  /** 0 to 16. */
  readonly code: number;
  readonly message: string;
}

/** One push: Address resources go before Authorization ones, each type in a response of its own. */
export interface XdsPush {
  readonly set?: readonly XdsResource[];
  /** Names of workloads and services. */
  readonly remove?: readonly string[];
  readonly removePolicies?: readonly string[];
}

type Call = grpc.ServerDuplexStream<Fields, Uint8Array>;

/** A proxy's stream. */
export class XdsStream {
  /** Counts from 1. */
  readonly number: number;
  /** The request's metadata. */
  readonly headers: Readonly<Record<string, string>>;
  isOpen = true;
  readonly call: Call;
  readonly subscriptions = new Map<XdsType, XdsSubscription>();

  constructor(number: number, call: Call) {
    this.number = number;
    this.call = call;
    this.headers = Object.fromEntries(
      Object.entries(call.metadata.getMap()).map(([key, value]) => [key, String(value)]),
    );
  }
}

/** Its address stays the same while it is away; its resources stay, too. The maker disposes of it. */
export class XdsServer implements AsyncDisposable {
  readonly heard: HeardRequest[] = [];
  readonly said: SaidResponse[] = [];
  readonly streams: XdsStream[] = [];
  /** Streams turned away before anything was said. */
  refused = 0;
  /** What a client must never do (§1.3, §1.5, §1.7), in words. */
  readonly violations: string[] = [];
  /** New streams are answered with this status only (trailers-only), while it is set. */
  refusal: GrpcStatus | null = null;
  readonly #options: XdsServerOptions;
  readonly #server: grpc.Server;
  readonly #door: XdsDoor;
  readonly #port: number;
  readonly #resources: Readonly<Record<XdsType, Map<string, XdsResource>>> = {
    Address: new Map(),
    Authorization: new Map(),
  };
  readonly #held = new Set<XdsType>();
  #nonces = 0;
  /** Type, name and version of everything said so far. */
  readonly #versions = new Set<string>();

  private constructor(
    options: XdsServerOptions,
    parts: { readonly server: grpc.Server; readonly door: XdsDoor; readonly port: number },
  ) {
    this.#options = options;
    this.#server = parts.server;
    this.#door = parts.door;
    this.#port = parts.port;
  }

  static async start(options: XdsServerOptions = {}): Promise<XdsServer> {
    const server = new grpc.Server({ "grpc.max_send_message_length": -1 });
    let self: XdsServer | null = null;
    server.addService(SERVICE, { delta: (call: Call) => self!.#onStream(call) });
    const { tls } = options;
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync(
        "127.0.0.1:0",
        tls === undefined
          ? grpc.ServerCredentials.createInsecure()
          // Its own root: those of the environment are more than a request for certificates can name.
          : grpc.ServerCredentials.createSsl(Buffer.from(tls.rootPem), [
            { private_key: Buffer.from(tls.keyPem), cert_chain: Buffer.from(tls.certPem) },
          ]),
        (error, bound) => error === null ? resolve(bound) : reject(error),
      )
    );
    for (const http2 of insideOf(server).http2Servers.keys()) {
      http2.on("session", tame);
    }
    const door = await XdsDoor.open(options.ip ?? `${loopbackBlock()}.250`, port);
    return self = new XdsServer(options, { server, door, port });
  }

  get ip(): string {
    return this.#door.ip;
  }

  /** As `XDS_ADDRESS`. */
  get address(): string {
    const scheme = this.#options.tls === undefined ? "http" : "https";
    return `${scheme}://${this.#door.ip}:${this.#door.port}`;
  }

  /** TCP connections there have been. */
  get connections(): number {
    return this.#door.accepted;
  }

  get openStreams(): XdsStream[] {
    return this.streams.filter((stream) => stream.isOpen);
  }

  /** Changes what is served, and tells whoever listens. */
  push({ set = [], remove = [], removePolicies = [] }: XdsPush): void {
    for (const resource of set) {
      const resources = this.#resources[resource.type];
      resources.delete(resource.name); // What changed last comes last, as it was pushed.
      resources.set(resource.name, resource);
    }
    for (const name of remove) this.#resources.Address.delete(name);
    for (const name of removePolicies) this.#resources.Authorization.delete(name);
    this.#tellAll();
  }

  /** Says nothing about a type until `release`; changes gather into one response, as in istiod. */
  hold(type: XdsType): void {
    this.#held.add(type);
  }

  release(type: XdsType): void {
    this.#held.delete(type);
    this.#tellAll();
  }

  /** Says something as it is, on every open stream; a nonce is added where there is none. */
  say(response: Fields): void {
    for (const stream of this.openStreams) this.#say(stream, response);
  }

  /** Sends a message that is no protobuf at all, or anything else. */
  sayBytes(message: Uint8Array): void {
    for (const { call } of this.openStreams) call.write(message);
  }

  /** Ends every stream with a status; 0 is a normal end. */
  endStreams({ code, message }: GrpcStatus): void {
    for (const { call } of this.openStreams) {
      if (code === 0) call.end();
      else call.emit("error", Object.assign(new Error(message), { code, details: message }));
    }
  }

  /** The network fails: connections end with RST. New ones are welcome. */
  drop(): void {
    this.#door.cut();
  }

  /** The network swallows everything on the connections there are. */
  stall(): void {
    this.#door.stall();
  }

  /** GOAWAY as by a maximum age; streams still open after `graceMs` end without a status. */
  goAway(graceMs: number): void {
    this.#server.drain(`127.0.0.1:${this.#port}`, graceMs);
  }

  /** The process ends: connections break, new ones are refused. */
  async stop(): Promise<void> {
    await this.#door.close();
    await until(() => this.openStreams.length === 0, SETTLED_WITHIN_MS);
  }

  /** It is back, knowing nothing of earlier streams. */
  async restart(): Promise<void> {
    if (this.#door.isOpen) await this.stop();
    await this.#door.reopen();
  }

  /**
   * Waits until this many streams are open, each type was asked for on each, and everything said on them has its reply:
   * whoever listens has made it his state.
   */
  async settled(streams = 1): Promise<void> {
    const isSettled = () => {
      const open = this.openStreams;
      return open.length >= streams &&
        open.every(({ subscriptions }) => TYPES.every((type) => subscriptions.has(type))) &&
        open.every(({ number }) =>
          this.said.every(({ stream, reply }) => stream !== number || reply !== null)
        );
    };
    await this.until(isSettled, `${streams} streams have answered everything`);
  }

  /** Waits for something about this server; the error tells what it has heard. */
  async until(condition: () => boolean, what: string, withinMs = SETTLED_WITHIN_MS): Promise<void> {
    try {
      await until(condition, withinMs);
    } catch (cause) {
      const heard = this.heard.map(describeHeard).join("\n");
      throw new Error(`Not in time: ${what}. Heard:\n${heard}`, { cause });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#door[Symbol.asyncDispose]();
    // Its sessions end with their sockets. To end them by GOAWAY while their streams still end has been seen to crash the
    // runtime's HTTP/2 (2.9.6: a segmentation fault in 1 of 60 runs on a crowded machine).
    const { sessions } = insideOf(this.#server);
    await until(() => sessions.size === 0, SETTLED_WITHIN_MS);
    await new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve()));
  }

  #onStream(call: Call): void {
    const { token } = this.#options;
    const refusal = this.refusal ??
      (token === undefined || call.metadata.get("authorization")[0] === `Bearer ${token}`
        ? null
        : { code: grpc.status.UNAUTHENTICATED, message: "authentication failure" });
    if (refusal !== null) {
      this.refused++;
      const { code, message } = refusal;
      call.on("error", () => {});
      call.emit("error", Object.assign(new Error(message), { code, details: message }));
      return;
    }
    const stream = new XdsStream(this.streams.length + 1, call);
    this.streams.push(stream);
    const close = () => stream.isOpen = false;
    call.on("data", (request: Fields) => this.#onRequest(stream, request));
    call.on("end", () => {
      close();
      call.end();
    });
    call.on("cancelled", close);
    call.on("error", close);
    call.on("close", close);
  }

  #onRequest(stream: XdsStream, request: Fields): void {
    const type = TYPES.find((type) => TYPE_URLS[type] === request["typeUrl"]) ?? null;
    const violated = (what: string) =>
      void this.violations.push(`stream ${stream.number}, ${request["typeUrl"]}: ${what}`);
    const isFirst = type !== null && !stream.subscriptions.has(type);
    const { nonce = "", subscribe, unsubscribe, initialVersions, node, error } = request;
    const kind = isFirst ? "first" : nonce === "" ? "demand" : error === undefined ? "ack" : "nack";
    this.heard.push({ stream: stream.number, type, kind, request });
    if (type !== null && kind === "first") {
      if (!NODE_ID.test(node?.id ?? "")) violated(`node ${JSON.stringify(node?.id)}`);
      if (nonce !== "" || error !== undefined) violated("a first request answers nothing");
      if (type === "Authorization" && !stream.subscriptions.has("Address")) {
        violated("Authorization was asked for before Address");
      }
      for (const [name, version] of Object.entries(initialVersions)) {
        const isGiven = this.#versions.has(JSON.stringify([type, name, version]));
        // On demand, what is waited for has none yet (§1.9).
        const isPending = version === "" && subscribe.includes("*");
        if (!isGiven && !isPending) violated(`${name} never had version ${version}`);
      }
      stream.subscriptions.set(type, new XdsSubscription(request));
      this.#tell(stream, type);
      return;
    }
    if (node !== undefined) violated("the node is in a later request");
    if (Object.keys(initialVersions).length > 0) violated("versions are in a later request");
    if (unsubscribe.length > 0) violated("unsubscribes in a later request");
    if (kind === "ack" || kind === "nack") {
      if (subscribe.length > 0) violated("a reply subscribes");
      this.#onReply(stream, request, kind, violated);
      return;
    }
    const asking = type === null ? undefined : stream.subscriptions.get(type);
    if (type === null || asking === undefined || !asking.isOnDemand) {
      violated("demands what nobody serves on demand");
      return;
    }
    asking.demand(subscribe);
    this.#tell(stream, type);
  }

  #onReply(
    stream: XdsStream,
    request: Fields,
    kind: "ack" | "nack",
    violated: (what: string) => void,
  ): void {
    const said = this.said.find(({ nonce }) => nonce === request["nonce"]);
    if (said === undefined || said.stream !== stream.number) violated("a nonce nobody gave");
    else if (said.reply !== null) violated("a second reply");
    else if (said.type !== null && TYPE_URLS[said.type] !== request["typeUrl"]) {
      violated("the nonce of another type");
    } else said.reply = kind;
  }

  #tellAll(): void {
    for (const stream of this.openStreams) {
      for (const type of TYPES) this.#tell(stream, type);
    }
  }

  /** Says what a stream does not know yet; a first request is answered whatever there is (§1.12). */
  #tell(stream: XdsStream, type: XdsType): void {
    const subscribed = stream.subscriptions.get(type);
    if (subscribed === undefined || this.#held.has(type) || !stream.isOpen) return;
    const news = subscribed.news([...this.#resources[type].values()]);
    if (news === null) return;
    this.#say(stream, {
      typeUrl: TYPE_URLS[type],
      removed: news.removed,
      resources: news.set.map(({ name, version, aliases, payload }) => ({
        name,
        version,
        aliases: subscribed.isOnDemand ? aliases : [],
        resource: payload === null ? undefined : { typeUrl: TYPE_URLS[type], value: payload },
      })),
    });
  }

  #say(stream: XdsStream, fields: Fields): void {
    const nonce = fields["nonce"] ?? `${++this.#nonces}-${crypto.randomUUID().slice(0, 8)}`;
    const { resources = [], removed = [], typeUrl } = fields;
    const type = TYPES.find((type) => TYPE_URLS[type] === typeUrl) ?? null;
    for (const { name = "", version = "" } of resources) {
      this.#versions.add(JSON.stringify([type, name, version]));
    }
    this.said.push({
      stream: stream.number,
      type,
      nonce,
      set: resources.map(({ name = "" }: Fields) => name),
      removed,
      reply: null,
    });
    stream.call.write(XDS_PROTOBUF.encode("DeltaDiscoveryResponse", { ...fields, nonce }));
  }
}

/** A request in a line: `1 first Address has a,b`, `2 nack Address: why`, `1 demand Address +/10.0.0.1`. */
export function describeHeard({ stream, type, kind, request }: HeardRequest): string {
  const { initialVersions, subscribe, unsubscribe, typeUrl, error } = request;
  const start = `${stream} ${kind} ${type ?? typeUrl}`;
  if (kind === "nack") return `${start}: ${error.message ?? ""}`;
  const names = Object.keys(initialVersions).sort();
  return [
    start,
    ...subscribe.map((name: string) => `+${name}`),
    ...unsubscribe.map((name: string) => `-${name}`),
    ...(names.length === 0 ? [] : [`has ${names.length > 3 ? names.length : names.join()}`]),
  ].join(" ");
}

const SERVICE: grpc.ServiceDefinition = {
  delta: {
    path: DELTA_PATH,
    requestStream: true,
    responseStream: true,
    requestSerialize: (request: Fields) =>
      Buffer.from(XDS_PROTOBUF.encode("DeltaDiscoveryRequest", request)),
    requestDeserialize: (bytes: Uint8Array) => XDS_PROTOBUF.decode("DeltaDiscoveryRequest", bytes),
    responseSerialize: (bytes: Uint8Array) => Buffer.from(bytes),
    responseDeserialize: (bytes: Uint8Array) =>
      XDS_PROTOBUF.decode("DeltaDiscoveryResponse", bytes),
  },
};

/** The same method as clients see it, for tests of this server. */
export const XDS_SERVICE = SERVICE;
