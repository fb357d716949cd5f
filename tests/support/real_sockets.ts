// Pairs of channels on real loopback sockets, and what tests of them need.
import type { Cancel, Channel, Done } from "../../src/base/channel.ts";
import { ProxyError } from "../../src/base/errors.ts";
import { SystemClock } from "../../src/base/system_clock.ts";
import { FakeCa } from "../../src/identity/fake_ca.ts";
import { DenoNetwork, type DenoNetworkOptions } from "../../src/net/deno/deno_network.ts";
import type {
  DialOptions,
  Listener,
  ListenOptions,
  Network,
  SecureChannel,
} from "../../src/net/network.ts";
import type { CertificateSource, CertifiedKey } from "../../src/tls/certificate.ts";
import { parseSpiffeId, type SpiffeId } from "../../src/tls/spiffe_id.ts";

export const LOOPBACK = { ip: "127.0.0.1", port: 0 } as const;
export const LISTEN: ListenOptions = { backlog: 4096, keepalive: null };
export const DIAL: DialOptions = { timeoutMs: 5000, keepalive: null, sourceIp: null };

/** A callback API as a promise; a ProxyError rejects. */
export function promised<Value>(start: (done: Done<Value>) => Cancel): Promise<Value> {
  return new Promise((resolve, reject) => {
    start((outcome) => outcome instanceof ProxyError ? reject(outcome) : resolve(outcome));
  });
}

/** The error of a call that must fail. */
export async function failure(promise: Promise<unknown>): Promise<ProxyError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof ProxyError) return error;
    throw error;
  }
  throw new Error("It should have failed");
}

/** Lets real time pass until `condition` holds; throws after `limitMs`. */
export async function until(condition: () => boolean, limitMs = 3000): Promise<void> {
  const limit = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() > limit) throw new Error(`Not within ${limitMs} ms: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** Lets the loop turn for `ms`. */
export function pass(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** A source that always has `certificate`. */
export function fixedSource(certificate: CertifiedKey): CertificateSource {
  return {
    identity: certificate.identity,
    get(done) {
      let wanted = true;
      queueMicrotask(() => wanted && done(certificate));
      return { cancel: () => wanted = false };
    },
  };
}

export function identity(
  name: string,
  options: { readonly trustDomain?: string } = {},
): SpiffeId {
  return parseSpiffeId(`spiffe://${options.trustDomain ?? "cluster.local"}/ns/default/sa/${name}`);
}

/** A network on loopback with one listener, and the channels it accepted. */
export abstract class Loopback<Kind extends Network> implements AsyncDisposable {
  readonly network: Kind;
  readonly accepted: Channel[] = [];
  #listener: Listener | null = null;
  readonly #all: Channel[] = [];
  #waiting: ((channel: Channel) => void)[] = [];

  constructor(network: Kind) {
    this.network = network;
  }

  /** Timers set and not run yet. */
  abstract get timersWaiting(): number;

  get listener(): Listener {
    if (this.#listener === null) throw new Error("Not listening");
    return this.#listener;
  }

  async listen(
    address: { ip: string; port: number } = LOOPBACK,
    options: Partial<ListenOptions> = {},
  ): Promise<Listener> {
    this.#listener = await promised<Listener>((done) =>
      this.network.listen(address, { ...LISTEN, ...options }, (channel) => {
        this.#all.push(channel);
        const waiting = this.#waiting.shift();
        if (waiting === undefined) this.accepted.push(channel);
        else waiting(channel);
      }, done)
    );
    return this.#listener;
  }

  /** The next accepted channel. */
  accept(): Promise<Channel> {
    const channel = this.accepted.shift();
    if (channel !== undefined) return Promise.resolve(channel);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  dial(options: Partial<DialOptions> = {}): Promise<Channel> {
    const dial = { ...DIAL, ...options };
    return promised((done) => this.network.dial(this.listener.local, dial, done));
  }

  /** Both ends of a plain connection: ours that dialed, ours that accepted. */
  async plainPair(): Promise<{ client: Channel; server: Channel }> {
    if (this.#listener === null) await this.listen();
    const [client, server] = await Promise.all([this.dial(), this.accept()]);
    return { client, server };
  }

  /** Both ends of a TLS session. */
  async securePair(
    certificates: { readonly client: CertifiedKey; readonly server: CertifiedKey },
  ): Promise<{ client: SecureChannel; server: SecureChannel }> {
    const plain = await this.plainPair();
    const [client, server] = await Promise.all([
      promised<SecureChannel>((done) =>
        this.network.secureClient(plain.client, {
          certificate: certificates.client,
          expected: [certificates.server.identity],
          timeoutMs: 5000,
        }, done)
      ),
      promised<SecureChannel>((done) =>
        this.network.secureServer(plain.server, {
          certificates: fixedSource(certificates.server),
          timeoutMs: 5000,
        }, done)
      ),
    ]);
    return { client, server };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener?.close();
    for (const channel of this.#all) channel.reset(null);
    await until(() => this.network.openSockets === 0);
  }
}

/** {@link Loopback} on the runtime's own sockets. */
export class RealNetwork extends Loopback<DenoNetwork> {
  readonly clock: SystemClock;

  constructor(options: Omit<DenoNetworkOptions, "clock"> = {}) {
    const clock = new SystemClock();
    super(new DenoNetwork({ clock, ...options }));
    this.clock = clock;
  }

  get timersWaiting(): number {
    return this.clock.waiting;
  }
}

/** Two certificates of one throw-away mesh. */
export async function twoCertificates(): Promise<{ client: CertifiedKey; server: CertifiedKey }> {
  const nowMs = Date.now();
  const ca = await FakeCa.create({ nowMs });
  return {
    client: await ca.issue(identity("client"), { nowMs }),
    server: await ca.issue(identity("server"), { nowMs }),
  };
}
