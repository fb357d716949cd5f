// What a data plane's isolate bears in half an hour, in a minute or two: a program for native_churn_test.ts, which reads
// the report from its stdout. Once it is set up it gives ffi up and, as the product's worker, never turns the runtime's
// own event loop again.
//
// deno run -A --v8-flags=--expose-gc native_churn.ts [ROUNDS]
import { assert, assertEquals } from "@std/assert";
import type { SocketAddress } from "../../src/base/address.ts";
import type { Cancel, Channel } from "../../src/base/channel.ts";
import { adoptBlock } from "../../src/base/block.ts";
import { ProxyError } from "../../src/base/errors.ts";
import { SystemRandom } from "../../src/base/random.ts";
import { type DataPlane, type DataPlaneOptions, startDataPlane } from "../../src/dataplane.ts";
import { FakeCa } from "../../src/identity/fake_ca.ts";
import { HANDSHAKES_MAX } from "../../src/net/secure_attempt.ts";
import type { Listener, SecureChannel } from "../../src/net/network.ts";
import { openNativeRuntime } from "../../src/net/native/runtime.ts";
import type { Events } from "../../src/seam/events.ts";
import type { LocalWorkloadName } from "../../src/seam/workload.ts";
import { parseMeshFile } from "../../src/state/mesh_file.ts";
import { MeshState } from "../../src/state/mesh_state.ts";
import { StateRouter } from "../../src/state/state_router.ts";
import { CLIENT, identityOf, SERVER } from "../support/data_plane_world.ts";
import { loopbackBlock } from "../support/loopback.ts";
import { meshFileText } from "../support/mesh_file.ts";
import { DIAL, LISTEN, LOOPBACK } from "../support/real_sockets.ts";
import { Caller, Echo, ENDINGS, must, Mute, RotatingSource, SocksUser } from "./churn_parties.ts";

/** In each round. */
export const ROUND = {
  handshakes: 1_000,
  /** TLS inside TLS, over memory. */
  nested: 50,
  /** Ended by us or the peer in one of the handshake's steps. */
  broken: 200,
  /** Connections that begin a handshake and go no further. */
  halfOpen: 60,
  /** Applications' connections through two data planes. */
  tunnels: 200,
  rotations: 20,
} as const;
const AT_ONCE = 16;
const CERTIFICATES = 8;
const STUCK_AFTER_MS = 30_000;
/** More than were ever open at one time. */
const DESCRIPTOR_NUMBERS = 10_000;
const F_GETFD = 1;

/** What the process holds between two rounds. */
export interface Holding {
  readonly descriptors: number;
  /** After the collector ran and the C library gave back what it could. */
  readonly residentBytes: number;
  /** Of these, the heap's, in use or not. */
  readonly heapBytes: number;
  readonly contexts: number;
  readonly timers: number;
  readonly sockets: number;
  readonly blocksLent: number;
  /** Live native objects by kind. */
  readonly objects: Readonly<Record<string, number>>;
}

export interface ChurnReport {
  readonly rounds: readonly Holding[];
  /** Completed on both sides, nested ones included, those of tunnels not. */
  readonly handshakes: number;
  readonly broken: number;
  readonly halfOpen: number;
  readonly halfOpenRefused: number;
  readonly tunnels: number;
  readonly rotations: number;
  readonly bugs: readonly string[];
  /** After everything was closed. */
  readonly leaked: Readonly<Record<string, number>>;
  readonly seconds: number;
}

const bugs: string[] = [];
const runtime = openNativeRuntime({
  openSslLibDir: Deno.env.get("OPENSSL_LIB_DIR") ?? null,
  tls12: false,
  pqc: false,
  fips: null,
  packetMark: null,
  markListeners: false,
  reusePort: false,
  descriptorsMax: null,
  inheritedFds: [],
}, { onBug: (thrown) => bugs.push(thrown instanceof Error ? thrown.stack! : String(thrown)) });
const { network, loop, engine, libc, objects } = runtime;
const { clock } = loop;

const ca = await FakeCa.create({ nowMs: Date.now() });
async function source(local: LocalWorkloadName): Promise<RotatingSource> {
  const issued = Array.from(
    { length: CERTIFICATES },
    () => ca.issue(identityOf(local), { nowMs: Date.now() }),
  );
  return new RotatingSource(await Promise.all(issued), engine, clock);
}
const clientSource = await source(CLIENT);
const serverSource = await source(SERVER);
Deno.permissions.revokeSync({ name: "ffi" });

/** Turns the loop until `condition`. */
function drive(what: string, condition: () => boolean): void {
  const deadline = performance.now() + STUCK_AFTER_MS;
  while (!condition()) {
    loop.turn(10);
    if (performance.now() > deadline) throw new Error(`stuck: ${what}`);
  }
}

function listen(
  onChannel: (channel: Channel) => void,
  address = LOOPBACK as SocketAddress,
): Listener {
  let listener: Listener | null = null;
  network.listen(address, LISTEN, onChannel, (outcome) => listener = must(outcome));
  drive("listen", () => listener !== null);
  return listener!;
}

const counts = {
  handshakes: 0,
  broken: 0,
  halfOpen: 0,
  halfOpenRefused: 0,
  tunnels: 0,
  accepted: 0,
};

function serve(channel: Channel, then: (channel: SecureChannel) => void): void {
  network.secureServer(channel, { certificates: serverSource, timeoutMs: 20_000 }, (outcome) => {
    if (outcome instanceof ProxyError) return;
    counts.accepted++;
    then(outcome);
  });
}

const EXPECTED = [identityOf(SERVER)];
const tlsOptions = () => ({
  certificate: clientSource.current,
  expected: EXPECTED,
  timeoutMs: 20_000,
});
const echoes = listen((channel) => serve(channel, (secure) => void new Echo(secure)));
const nests = listen((channel) =>
  serve(channel, (outer) => serve(outer, (inner) => void new Echo(inner)))
);
const app = (ip: string) => listen((channel) => void new Echo(channel), { ip, port: 0 });

/** Keeps `AT_ONCE` of something going until `total` are over. */
function many(what: string, total: number, begin: (at: number, over: () => void) => void): void {
  let begun = 0;
  let finished = 0;
  const more = () => {
    while (begun < total && begun - finished < AT_ONCE) {
      let isOver = false;
      begin(begun++, () => {
        assert(!isOver, "over twice");
        isOver = true;
        finished++;
      });
    }
  };
  drive(what, () => {
    more();
    return finished === total;
  });
}

function handshakes(): void {
  const everyMany = ROUND.handshakes / ROUND.rotations;
  many("handshakes", ROUND.handshakes, (at, over) => {
    if (at % everyMany === 0) {
      clientSource.rotate();
      serverSource.rotate();
    }
    network.dialSecure(echoes.local, { ...DIAL, tls: tlsOptions() }, (outcome) => {
      counts.handshakes++;
      new Caller(must(outcome), ENDINGS[at % ENDINGS.length]!, over);
    });
  });
}

function nested(): void {
  many("nested handshakes", ROUND.nested, (at, over) => {
    network.dialSecure(nests.local, { ...DIAL, tls: tlsOptions() }, (outer) => {
      network.secureClient(must(outer), tlsOptions(), (inner) => {
        counts.handshakes += 2;
        new Caller(must(inner), ENDINGS[at % ENDINGS.length]!, over);
      });
    });
  });
}

/** Handshakes given up after none, one, two … turns; from outside by RST, or by our own cancel. */
function broken(): void {
  many("broken handshakes", ROUND.broken, (at, over) => {
    let handshake: Cancel = { cancel() {} };
    network.dial(echoes.local, DIAL, (outcome) => {
      const channel = must(outcome);
      const way = at % 4;
      if (way === 0) { // Plain octets, then RST.
        new Mute(channel, over);
        channel.write(adoptBlock(new Uint8Array(at).fill(22)), 0, at);
        afterTurns(at % 5, () => channel.reset(null));
      } else if (way === 1) { // The hello of somebody who will not listen: FIN.
        new Mute(channel, over);
        channel.write(adoptBlock(Uint8Array.of(22, 3, 1, 2, 0, 1)), 0, 6);
        channel.endWrite();
      } else {
        let isOver = false;
        handshake = network.secureClient(channel, tlsOptions(), (secure) => {
          if (isOver) return;
          isOver = true;
          if (!(secure instanceof ProxyError)) secure.reset(null);
          over();
        });
        afterTurns(at % 7, () => {
          handshake.cancel();
          if (isOver) return;
          isOver = true;
          over();
        });
      }
      counts.broken++;
    });
  });
}

function afterTurns(turns: number, run: () => void): void {
  if (turns === 0) return clock.soon({ runTask: run });
  loop.nextTurn({ runTask: () => afterTurns(turns - 1, run) });
}

/** Begins `count` handshakes that nobody goes on with; above the limit the oldest are refused. */
function halfOpen(count: number): void {
  const before = engine.attempts.refused;
  const held: Channel[] = [];
  let gone = 0;
  const expected = Math.max(0, count - HANDSHAKES_MAX);
  many("half-open connections", count, (_at, over) => {
    network.dial(echoes.local, DIAL, (outcome) => {
      const channel = must(outcome);
      held.push(channel);
      new Mute(channel, () => gone++);
      channel.write(adoptBlock(Uint8Array.of(22, 3, 1, 2, 0, 1)), 0, 6);
      over();
    });
  });
  drive(
    "half-open handshakes",
    () => engine.attempts.underWay === Math.min(count, HANDSHAKES_MAX) && gone === expected,
  );
  counts.halfOpen += count;
  counts.halfOpenRefused += engine.attempts.refused - before;
  for (const channel of held) channel.reset(null);
  drive("half-open handshakes' end", () => engine.attempts.underWay === 0 && gone === count);
}

// Two data planes.

const SILENT: Events = { opened() {}, closed() {}, failedEarly() {}, log() {} };
const block = loopbackBlock();
const [clientIp, serverIp] = [`${block}.1`, `${block}.2`];
const INTERNAL_PORTS: ReadonlySet<number> = new Set([15008, 15080]);
const router = new StateRouter({
  state: new MeshState(
    parseMeshFile(
      meshFileText({ workloads: [{ ...CLIENT, ip: clientIp }, { ...SERVER, ip: serverIp }] }),
      { source: "churn" },
    ),
  ),
  settings: {
    network: "",
    hbonePort: 15008,
    nodeName: null,
    clusterDomain: "cluster.local",
    internalPorts: INTERNAL_PORTS,
  },
  clock,
  log() {},
});

function startPlane(
  local: LocalWorkloadName,
  certificates: RotatingSource,
  listeners: DataPlaneOptions["listeners"],
): DataPlane {
  let plane: DataPlane | null = null;
  startDataPlane({
    network,
    router,
    certificates,
    events: SILENT,
    clock,
    random: new SystemRandom(),
    local,
    listeners,
    // Few connections for one tunnel each: there are as many handshakes as can be had.
    limits: { poolIdleMs: 20, poolStreamsMax: 2 },
    settings: { internalPorts: INTERNAL_PORTS },
  }, (outcome) => plane = must(outcome));
  drive("start", () => plane !== null);
  return plane!;
}

const inbound = startPlane(SERVER, serverSource, { inbound: { ip: serverIp, port: 15008 } });
const outbound = startPlane(CLIENT, clientSource, { socks5: { ip: clientIp, port: 15080 } });
const target = app(serverIp);

function tunnels(): void {
  many("tunnels", ROUND.tunnels, (at, over) => {
    const ending = ENDINGS[at % ENDINGS.length]!;
    network.dial({ ip: clientIp, port: 15080 }, DIAL, (outcome) => {
      new SocksUser(must(outcome), target.local, ending, (bytes) => {
        counts.tunnels++;
        if (ending === "in order") assertEquals(bytes, 2_000);
        over();
      });
    });
  });
}

// The rounds.

const LISTENERS = 5;
const collect = (globalThis as unknown as { readonly gc: () => void }).gc;

/** The runtime lists them for nobody who gave a permission up; so each number is asked for. */
function openDescriptors(): number {
  let open = 0;
  for (let fd = 0; fd < DESCRIPTOR_NUMBERS; fd++) if (libc.fcntl(fd, F_GETFD, 0) >= 0) open++;
  return open;
}

function look(): Holding {
  collect();
  collect();
  libc.trimHeap();
  const { rss, heapTotal } = Deno.memoryUsage();
  return {
    descriptors: openDescriptors(),
    residentBytes: rss,
    heapBytes: heapTotal,
    contexts: engine.contexts,
    timers: loop.timersWaiting,
    sockets: network.openSockets,
    blocksLent: network.blocksLent,
    objects: Object.fromEntries(objects.counts),
  };
}

const startMs = performance.now();
const rounds: Holding[] = [];
const total = Number(Deno.args[0] ?? 20);
for (let round = 0; round < total; round++) {
  handshakes();
  nested();
  broken();
  // Once in a while more than may be under way.
  halfOpen(round % 10 === 0 ? HANDSHAKES_MAX + 76 : ROUND.halfOpen);
  tunnels();
  drive("quiet", () => network.openSockets === LISTENERS && outbound.statsNow().pooled === 0);
  rounds.push(look());
}
const seconds = (performance.now() - startMs) / 1000;

let stopped = 0;
for (const plane of [outbound, inbound]) plane.stop(() => stopped++);
for (const listener of [echoes, nests, target]) listener.close();
drive("the end", () => stopped === 2 && network.openSockets === 0);
clientSource.close();
serverSource.close();
const leaked = runtime.close();
const report: ChurnReport = {
  rounds,
  handshakes: counts.handshakes,
  broken: counts.broken,
  halfOpen: counts.halfOpen,
  halfOpenRefused: counts.halfOpenRefused,
  tunnels: counts.tunnels,
  rotations: clientSource.rotations + serverSource.rotations,
  bugs: [...bugs],
  leaked,
  seconds,
};
// deno-lint-ignore no-console -- read by the test
console.log(JSON.stringify(report));
