// Many identities at once: a data plane each, one certificate manager, one CA that fails now and then; and notes of what
// happens to every certificate.
import { ProxyError } from "../../src/base/errors.ts";
import { SystemRandom } from "../../src/base/random.ts";
import { type DataPlane, startDataPlane } from "../../src/dataplane.ts";
import type { CertificateAuthority } from "../../src/identity/authority.ts";
import { CaClient } from "../../src/identity/ca_client.ts";
import { CA_REQUESTS_MAX, CertificateManager } from "../../src/identity/certificate_manager.ts";
import { refreshAtMs } from "../../src/identity/certificate_state.ts";
import { RETIRED_KEPT_MS } from "../../src/identity/retired_keys.ts";
import type { Network } from "../../src/net/network.ts";
import type { Events } from "../../src/seam/events.ts";
import { parseMeshFile } from "../../src/state/mesh_file.ts";
import { MeshState } from "../../src/state/mesh_state.ts";
import { StateRouter } from "../../src/state/state_router.ts";
import type { CertifiedKey, RotatingCertificateSource } from "../../src/tls/certificate.ts";
import { type SpiffeId, spiffeId } from "../../src/tls/spiffe_id.ts";
import { openTransport } from "../../src/xds/open_transport.ts";
import { type CaFault, CaServer } from "../support/ca_server.ts";
import { loopbackBlock } from "../support/loopback.ts";
import { meshFileText, type TestWorkload } from "../support/mesh_file.ts";
import { MeshCa } from "../support/mesh_ca.ts";
import { serveName } from "../support/named_app.ts";
import { openNetwork, TEST_NETWORK } from "../support/networks.ts";
import { SOCKS5_PORT } from "../support/socks5.ts";

const HBONE_PORT = 15008;
/** A tunnel nobody uses ends so soon that most visits begin with a handshake. */
const POOL_IDLE_MS = 500;
/** Slow answers wait for the next of these. */
const RELEASE_EVERY_MS = 300;
/** Every so many requests of an identity one is slow, unless it is one that fails. */
const SLOW_EVERY = 5;
/** Asked for, and given while it is measured what the machine needs. */
const MEASURED_LEAF_MS = 60_000;
/** Timers and loops may be late. */
const LATE_MS_MAX = 2_000;

/** What becomes of every third request of an identity, in turn. */
const FAULTS: readonly CaFault[] = [
  { kind: "status", code: 14, message: "not now" },
  { kind: "garbage" },
  { kind: "expired" },
  { kind: "wrong key" },
  { kind: "empty chain" },
  { kind: "other identity", uri: "spiffe://cluster.local/ns/soak/sa/somebody" },
];

/** A certificate that the CA gave. Its key is kept in sight, itself not. */
interface Issued {
  /** Of the certificate. */
  readonly key: CertifiedKey["key"];
  readonly certificate: WeakRef<CertifiedKey>;
  readonly generation: number;
  readonly atMs: number;
}

/** What was seen of one identity. */
interface Seen {
  /** Those that were good when they came. */
  readonly issued: Issued[];
  /** Keys of those that were not. */
  readonly refused: Issued["key"][];
  requests: number;
  /** When the manager had its last answer. */
  answeredMs: number;
  /** When the certificate at hand should be replaced, epoch ms; null after a failure. */
  refreshAtMs: number | null;
}

/** An authority that notes when it is asked, and what it gives. */
class NotedAuthority implements CertificateAuthority {
  readonly seen = new Map<string, Seen>();
  failures = 0;
  /** The shortest time from an answer to the next request of the same identity. */
  pauseMsMin = Infinity;
  /** How long after half of a certificate's life it was asked for the next. */
  readonly latenessMs: number[] = [];
  readonly #inner: CertificateAuthority;

  constructor(inner: CertificateAuthority) {
    this.#inner = inner;
  }

  async issue(identity: SpiffeId, signal: AbortSignal): Promise<CertifiedKey> {
    const seen = this.#seen(identity);
    seen.requests++;
    if (seen.requests > 1) {
      this.pauseMsMin = Math.min(this.pauseMsMin, performance.now() - seen.answeredMs);
    }
    if (seen.refreshAtMs !== null) this.latenessMs.push(Date.now() - seen.refreshAtMs);
    seen.refreshAtMs = null;
    try {
      const certificate = await this.#inner.issue(identity, signal);
      const { key, generation, notAfterMs } = certificate;
      if (notAfterMs <= Date.now()) {
        seen.refused.push(key);
        this.failures++;
        return certificate;
      }
      const atMs = performance.now();
      seen.issued.push({ key, certificate: new WeakRef(certificate), generation, atMs });
      seen.refreshAtMs = refreshAtMs(certificate);
      return certificate;
    } catch (error) {
      this.failures++;
      throw error;
    } finally {
      seen.answeredMs = performance.now();
    }
  }

  #seen({ uri }: SpiffeId): Seen {
    let seen = this.seen.get(uri);
    if (seen === undefined) {
      seen = { issued: [], refused: [], requests: 0, answeredMs: 0, refreshAtMs: null };
      this.seen.set(uri, seen);
    }
    return seen;
  }

  get requests(): number {
    return this.#sum(({ requests }) => requests);
  }

  get issued(): number {
    return this.#sum(({ issued }) => issued.length);
  }

  /** Keys not wiped yet. */
  get keysAlive(): number {
    return this.#sum(({ issued, refused }) =>
      [...issued.map(({ key }) => key), ...refused].filter(({ isWiped }) => !isWiped).length
    );
  }

  /** Certificates that something still refers to. Collect first. */
  get certificatesAlive(): number {
    return this.#sum(({ issued }) =>
      issued.filter(({ certificate }) => certificate.deref() !== undefined).length
    );
  }

  /** Keys that are there though they were replaced long ago, or never used. */
  get keysLeftOver(): number {
    const latestMs = performance.now() - RETIRED_KEPT_MS - LATE_MS_MAX;
    return this.#sum(({ issued, refused }) =>
      refused.filter((key) => !key.isWiped).length +
      issued.filter(({ key }, at) => !key.isWiped && (issued[at + 1]?.atMs ?? Infinity) < latestMs)
        .length
    );
  }

  #sum(count: (seen: Seen) => number): number {
    return [...this.seen.values()].reduce((total, seen) => total + count(seen), 0);
  }
}

/** What traffic met; never reset. */
export interface Met {
  /** Full handshakes that ended well, as servers count them. */
  handshakes: number;
  resumed: number;
  handshakeErrors: string[];
  /** Errors of access log lines. */
  connectionErrors: string[];
  /** Certificates handed out. */
  handedOut: number;
  /** Of them, those that had been replaced long before. */
  handedOutOld: number;
}

/** One workload with its proxy, its identity and an application that says its name. */
export interface Member {
  readonly name: string;
  readonly ip: string;
  readonly port: number;
}

/** Everything is running until it is disposed of. */
export interface IdentityMesh extends AsyncDisposable {
  readonly leafMs: number;
  readonly members: readonly Member[];
  readonly manager: CertificateManager;
  readonly authority: NotedAuthority;
  readonly network: Network;
  readonly met: Met;
}

/**
 * @param options.leafMs Life of certificates, all of it after they are asked for; given how long one for each identity
 * takes here, in ms, as many at once as the manager asks for.
 */
export async function startIdentityMesh(
  options: { readonly count: number; readonly leafMs: (issuingMs: number) => number },
): Promise<IdentityMesh> {
  await using opened = new AsyncDisposableStack();
  const { network, clock, ...sockets } = openNetwork(TEST_NETWORK, reportError);
  opened.defer(() => sockets[Symbol.asyncDispose]());
  const leaf = { ms: MEASURED_LEAF_MS };
  const { server, client } = await openCa({ opened, clock, leaf });
  leaf.ms = options.leafMs(await issuingMs(client, options.count));
  misbehave(server);
  const release = setInterval(() => server.release(), RELEASE_EVERY_MS);
  opened.defer(() => clearInterval(release));
  const authority = new NotedAuthority(client);
  const random = new SystemRandom();
  const manager = new CertificateManager({ authority, clock, random, log() {} });
  opened.defer(() => manager.close());

  const met = newMet();
  countHandshakes(network, met);
  const block = loopbackBlock();
  const workloads = Array.from({ length: options.count }, (_, at): TestWorkload => ({
    name: `w${at}`,
    namespace: "soak",
    serviceAccount: `w${at}`,
    ip: `${block}.${at + 1}`,
  }));
  const router = new StateRouter({
    state: new MeshState(parseMeshFile(meshFileText({ workloads }), { source: "test" })),
    settings: {
      network: "",
      hbonePort: HBONE_PORT,
      internalPorts: new Set([HBONE_PORT, SOCKS5_PORT]),
      clusterDomain: "cluster.local",
      nodeName: "",
    },
    clock,
    log() {},
  });
  const members: Member[] = [];
  for (const local of workloads) {
    const { ip, name } = local;
    members.push({ name, ip, port: opened.use(serveName(ip, name)).port });
    const certificates = noted(manager.source(identityOf(name)), authority, met);
    const plane = await new Promise<DataPlane>((resolve, reject) =>
      startDataPlane({
        ...{ network, router, certificates, events: eventsInto(met), clock, random, local },
        listeners: { inbound: { ip, port: HBONE_PORT }, socks5: { ip, port: SOCKS5_PORT } },
        limits: { poolIdleMs: POOL_IDLE_MS },
      }, (outcome) => outcome instanceof ProxyError ? reject(outcome) : resolve(outcome))
    );
    opened.defer(() => new Promise<void>((resolve) => plane.stop(resolve)));
  }
  const owned = opened.move();
  return {
    ...{ leafMs: leaf.ms, members, manager, authority, network, met },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function issuingMs(client: CaClient, count: number): Promise<number> {
  const startMs = performance.now();
  const { signal } = new AbortController();
  let left = count;
  const ask = async () => {
    while (left-- > 0) (await client.issue(identityOf(`w${left}`), signal)).key.wipe();
  };
  await Promise.all(Array.from({ length: CA_REQUESTS_MAX }, ask));
  return performance.now() - startMs;
}

function identityOf(serviceAccount: string): SpiffeId {
  return spiffeId({ trustDomain: "cluster.local", namespace: "soak", serviceAccount });
}

/** A CA on TLS, and our client of it in the way of one proxy for many workloads. */
async function openCa(options: {
  readonly opened: AsyncDisposableStack;
  readonly clock: ConstructorParameters<typeof CaClient>[0]["clock"];
  readonly leaf: { readonly ms: number };
}): Promise<{ readonly server: CaServer; readonly client: CaClient }> {
  const { opened, clock, leaf } = options;
  const ca = await MeshCa.create();
  const ip = `${loopbackBlock()}.250`;
  const tls = await ca.issue({ uris: [], ips: [ip] });
  const certify = ca.certify.bind(ca);
  // istiod's leaves begin 2 min before they are asked for: half of a life of seconds would always be over.
  ca.certify = (key, times) => {
    const nowMs = Date.now();
    const isExpired = times.notAfterMs! < nowMs;
    return certify(
      key,
      isExpired ? times : { ...times, notBeforeMs: nowMs, notAfterMs: nowMs + leaf.ms },
    );
  };
  const server = opened.use(await CaServer.start({ ca, ip, tls }));
  const root = { kind: "pem", pem: ca.rootPem } as const;
  const client = new CaClient({
    transport: openTransport({ address: server.address, root, altHostname: null }, clock),
    headers: () => Promise.resolve([]),
    ttlMs: MEASURED_LEAF_MS,
    impersonate: true,
    clock,
    log() {},
  });
  return { server, client };
}

/**
 * Every third request of an identity fails, so that no two in a row do: half of a certificate's life is time enough for one
 * more attempt, and no chance decides whether one expires.
 */
function misbehave(server: CaServer): void {
  const asked = new Map<string, { readonly at: number; count: number }>();
  server.fault = ({ impersonated }) => {
    server.heard.length = 0; // Its notes would be all that grows.
    const one = asked.get(impersonated!) ?? { at: asked.size, count: 0 };
    asked.set(impersonated!, one);
    const { at, count } = { ...one, count: ++one.count };
    if (count % 3 === 0) return FAULTS[(at + count / 3) % FAULTS.length]!;
    // Not all of them in the same round: they would take all places at once.
    return (at + count) % SLOW_EVERY === 0 ? { kind: "silent" } : null;
  };
}

/** A source that notes what it hands out. */
function noted(
  source: RotatingCertificateSource,
  authority: NotedAuthority,
  met: Met,
): RotatingCertificateSource {
  return {
    identity: source.identity,
    onRotate: (listener) => source.onRotate(listener),
    get: (done) =>
      source.get((outcome) => {
        if (!(outcome instanceof ProxyError)) {
          met.handedOut++;
          const { issued } = authority.seen.get(source.identity.uri)!;
          const at = issued.findLastIndex(({ generation }) => generation === outcome.generation);
          const isOld = (issued[at + 1]?.atMs ?? Infinity) < performance.now() - LATE_MS_MAX;
          if (at < 0 || isOld) met.handedOutOld++;
        }
        done(outcome);
      }),
  };
}

function newMet(): Met {
  return {
    handshakes: 0,
    resumed: 0,
    handshakeErrors: [],
    connectionErrors: [],
    handedOut: 0,
    handedOutOld: 0,
  };
}

function countHandshakes(network: Network, met: Met): void {
  const secureServer = network.secureServer.bind(network);
  network.secureServer = (channel, options, done) =>
    secureServer(channel, options, (outcome) => {
      if (outcome instanceof ProxyError) met.handshakeErrors.push(outcome.message);
      else if (outcome.security.resumed) met.resumed++;
      else met.handshakes++;
      done(outcome);
    });
}

function eventsInto({ connectionErrors }: Met): Events {
  return {
    opened() {},
    closed(_record, { error }) {
      if (error !== null) connectionErrors.push(error.message);
    },
    failedEarly({ error }) {
      connectionErrors.push(error.message);
    },
    log() {},
  };
}
