// One simulation: whole proxies on the memory network, from the first listener to the last timer, in one call.
import { assert, assertEquals } from "@std/assert";
import { formatAddress, type SocketAddress } from "../../src/base/address.ts";
import type { Channel } from "../../src/base/channel.ts";
import { ProxyError } from "../../src/base/errors.ts";
import { VirtualClock } from "../../src/base/virtual_clock.ts";
import { type DataPlane, startDataPlane } from "../../src/dataplane.ts";
import { FakeCa } from "../../src/identity/fake_ca.ts";
import { sha256Hex } from "../../src/tls/chain.ts";
import type { Link } from "../../src/net/memory/link.ts";
import {
  type ConnectFate,
  DELIVER_BYTES_MAX,
  type LinkPlan,
} from "../../src/net/memory/link_plan.ts";
import { type LinkQuestion, MemoryFabric } from "../../src/net/memory/memory_fabric.ts";
import type { MemoryNetwork } from "../../src/net/memory/memory_network.ts";
import type { Keepalive, Listener } from "../../src/net/network.ts";
import type { CertifiedKey } from "../../src/tls/certificate.ts";
import { FixedCertificates, meshIdentity } from "../support/fixed_certificates.ts";
import { NotedEvents } from "../support/data_plane_world.ts";
import { GatewayPeer } from "../support/gateway_peer.ts";
import type { ConnectionFacts } from "../../src/seam/events.ts";
import { Draws } from "./draws.ts";
import { Party, type PartyScript } from "./party.ts";
import {
  type ConversationPlan,
  type Disturbance,
  drawScenario,
  FIRST_PORT,
  MESHED_HOSTS,
  PLAIN_HOST,
  probePlan,
  type Scenario,
  type Way,
  waysWith,
} from "./scenario.ts";
import { farAuthority, type Host, StaticRouter, UNROUTABLE_PORT } from "./static_router.ts";

/** Virtual time in which everything undisturbed must have ended. */
const CONVERSATIONS_MS_MAX = 1_800_000;
/** After which pooled connections have left, cut ones have died of silence, and no timer may be left. */
const QUIET_MS = 360_000;
/** For disturbed conversations to end by themselves: longer than keepalive, PING and all limits of the data path. */
const CHANCE_MS = 60_000;
/** In which a change of policy has reached every connection: the Router's slowest answer, and a turn. */
const POLICY_MS = 100;
/** In which a kernel gives up on what it cannot deliver (see `RETRANSMIT_GIVE_UP_MS`). */
const GIVE_UP_MS = 1_000_000;
/** Short, so that cut connections of applications are noticed soon. */
const KEEPALIVE: Keepalive = { idleMs: 20_000, intervalMs: 5_000, probes: 3 };

const INBOUND_REDIRECT = { port: 15006, exceptPorts: [15008] };

const INTERNAL_PORTS: ReadonlySet<number> = new Set([15001, 15006, 15008, 15080]);

export const HOSTS: readonly Host[] = Array.from({ length: MESHED_HOSTS + 1 }, (_, index) => ({
  ip: `10.0.0.${index + 1}`,
  name: `host-${index}`,
  identity: meshIdentity("default", `host-${index}`),
  plain: index === MESHED_HOSTS,
}));

/** Between the networks: it knows where hosts are, and nobody's octets. */
const GATEWAY = {
  ip: "10.0.0.100",
  peer: { ip: "10.0.0.100", port: 15008 },
  identity: meshIdentity("istio-system", "gateway"),
};

/** What takes promises to make, made before any run: two certificates per host, and the gateway's. */
export interface Materials {
  readonly certificates: readonly (readonly [CertifiedKey, CertifiedKey])[];
  readonly gateway: CertifiedKey;
}

export async function prepareMaterials(): Promise<Materials> {
  const nowMs = new VirtualClock().wallMs();
  const ca = await FakeCa.create({ nowMs });
  const validity = { nowMs, lifetimeMs: 864_000_000, backdateMs: 120_000 };
  const certificates: [CertifiedKey, CertifiedKey][] = [];
  for (const { identity } of HOSTS) {
    certificates.push([await ca.issue(identity, validity), await ca.issue(identity, validity)]);
  }
  return { certificates, gateway: await ca.issue(GATEWAY.identity, validity) };
}

/** What a run did, to be added up and compared. */
export interface RunReport {
  /** Equal for equal runs: every octet count, end and time went into it. */
  readonly digest: number;
  readonly conversations: number;
  /** Conversations that nothing disturbed, and whose every octet arrived. */
  readonly wholeConversations: number;
  /** Those of them that went through the gateway, and those to a workload known by name. */
  readonly wholeDouble: number;
  readonly wholeNamed: number;
  readonly payloadBytes: number;
  readonly virtualMs: number;
}

/** Runs the scenario of `seed`. Throws at the first thing that is wrong. */
export function simulate(seed: number, materials: Materials): RunReport {
  const draws = new Draws(seed);
  const run = new Run(drawScenario(seed, draws), draws, materials);
  run.start();
  run.converse();
  run.probe();
  run.settle();
  run.stop();
  return run.report();
}

interface Conversation {
  readonly plan: ConversationPlan;
  readonly destination: SocketAddress;
  readonly client: Party;
  readonly server: Party;
  /** Something happened that may cost it bytes or its end. */
  disturbed: boolean;
  /** A proxy of it drains, and will cut it at this time; Infinity for none. What ends before must be whole. */
  graceUntilMs: number;
  started: boolean;
  /** The dial failed: there is nothing else to wait for on the client's side. */
  dialError: ProxyError | null;
  accepted: boolean;
  /** Tunnels of it that were stalled. */
  stalls: number;
  /** The most octets that were written and not yet received, per direction, while none could get lost. */
  readonly underWay: { toServer: number; toClient: number };
}

interface Plane {
  readonly host: Host;
  readonly certificates: FixedCertificates;
  readonly events: NotedEvents;
  plane: DataPlane;
  drained: "no" | "asked" | "done";
}

class Run {
  readonly #scenario: Scenario;
  readonly #draws: Draws;
  readonly #materials: Materials;
  readonly #clock = new VirtualClock();
  readonly #fabric: MemoryFabric;
  readonly #router: StaticRouter;
  readonly #planes: Plane[] = [];
  readonly #conversations: Conversation[] = [];
  readonly #listeners: Listener[] = [];
  readonly #networks = new Map<string, MemoryNetwork>();
  readonly #ways: readonly Way[];
  #gateway!: GatewayPeer;
  readonly #stalled = new Set<Link>();
  /** Hosts whose 15008 cannot be reached now. */
  readonly #walls = new Map<string, ConnectFate>();
  /** A link was cut silently. */
  #cut = false;
  /** Those among them that PING must find. */
  readonly #cutTunnels = new Set<Link>();
  #digest = 0x811c9dc5;

  constructor(scenario: Scenario, draws: Draws, materials: Materials) {
    this.#scenario = scenario;
    this.#draws = draws;
    this.#materials = materials;
    this.#clock.timersPerTurn = scenario.timersPerTurn;
    this.#fabric = new MemoryFabric({
      clock: this.#clock,
      random: draws,
      plan: (question) => this.#linkPlan(question),
    });
    this.#router = new StaticRouter(this.#clock, draws, HOSTS, {
      deniedPorts: scenario.conversations.filter(({ kind }) => kind === "denied").map(portOf),
      gateway: GATEWAY,
      wayOf: (port) => this.#conversations[port - FIRST_PORT]?.plan.way ?? "direct",
    });
    this.#ways = waysWith(scenario.http2.streamWindowBytes!);
  }

  start(): void {
    for (let index = 0; index < MESHED_HOSTS; index++) this.#startPlane(index);
    this.#startGateway();
    for (const plan of this.#scenario.conversations) this.#prepare(plan);
    this.#clock.runUntilIdle();
    assertEquals(this.#listeners.length, this.#conversations.length - this.#count("refused"));
    for (const conversation of this.#conversations) {
      this.#clock.after(conversation.plan.startMs, () => this.#dial(conversation));
    }
    for (const disturbance of this.#scenario.disturbances) {
      this.#clock.after(disturbance.atMs, () => this.#disturb(disturbance));
    }
  }

  /** Until everybody has ended who can. */
  converse(): void {
    this.#drive(
      () => this.#conversations.every((each) => this.#isSettled(each)),
      CONVERSATIONS_MS_MAX,
    );
    // The disturbed ones get their chance, then they are ended by hand.
    this.#clock.advance(CHANCE_MS);
    for (const link of this.#cutTunnels) {
      assert(!this.#fabric.links.has(link), "PING did not find a tunnel that was cut");
    }
    for (const { client, server } of this.#conversations) {
      client.reset();
      server.reset();
    }
    this.#clock.advance(this.#cut ? GIVE_UP_MS : 1_000);
    for (const conversation of this.#conversations) this.#judge(conversation);
    this.#judgeEvents();
  }

  /** Whatever happened before: proxies that were not told to stop carry new conversations, from and to each. */
  probe(): void {
    const running = HOSTS.map((_, index) => index).filter((index) =>
      this.#planes[index]?.drained === "no"
    );
    const before = this.#conversations.length;
    for (const from of [...running, PLAIN_HOST]) {
      for (const to of running) {
        if (from === to) continue;
        this.#prepare(probePlan(this.#conversations.length, from, to, this.#ways, this.#draws));
      }
    }
    const probes = this.#conversations.slice(before);
    this.#clock.runUntilIdle();
    for (const conversation of probes) this.#dial(conversation);
    this.#drive(() => probes.every((each) => this.#isOver(each)), CONVERSATIONS_MS_MAX);
    this.#clock.advance(1_000);
    for (const conversation of probes) this.#judge(conversation);
    this.#judgeEvents();
  }

  /** Nothing may be left but pooled connections, then not even those. */
  settle(): void {
    for (const { plane, host } of this.#planes) {
      const { connections, streams, tracked, heldBytes, blocksLent, faults } = plane.statsNow();
      assertEquals(
        { connections, streams, tracked, heldBytes, blocksLent, faults },
        { connections: 0, streams: 0, tracked: 0, heldBytes: 0, blocksLent: 0, faults: 0 },
        `left in the data plane of ${host.name}`,
      );
    }
    assertEquals(this.#gateway.spliced, 0, "streams left in the gateway");
    assertEquals(this.#fabric.pool.lent, 0, "blocks of the network still lent");
    this.#clock.advance(QUIET_MS);
    for (const { plane, host } of this.#planes) {
      const { outboundTransports, inboundTransports, pooled, timers } = plane.statsNow();
      assertEquals(
        { outboundTransports, inboundTransports, pooled, timers },
        { outboundTransports: 0, inboundTransports: 0, pooled: 0, timers: 0 },
        `left in the data plane of ${host.name} after ${QUIET_MS} ms of silence`,
      );
    }
    assertEquals(this.#gateway.open, 0, "connections left in the gateway");
  }

  stop(): void {
    this.#gateway.close();
    let stopped = 0;
    for (const { plane } of this.#planes) plane.stop(() => stopped++);
    for (const listener of this.#listeners) listener.close();
    this.#clock.advance(60_000);
    assertEquals(stopped, this.#planes.length, "data planes that said they have stopped");
    for (const { drained, host } of this.#planes) {
      assert(drained !== "asked", `${host.name} never said that it was drained`);
    }
    // A cut connection whose other end is gone may be all that is left; it is nobody's.
    assertEquals(
      {
        sockets: this.#fabric.openSockets,
        links: this.#fabric.links.size,
        blocks: this.#fabric.pool.lent,
        timers: this.#clock.pendingTimers,
      },
      { sockets: 0, links: 0, blocks: 0, timers: 0 },
    );
  }

  report(): RunReport {
    const whole = this.#conversations.filter((each) => this.#mustBeWhole(each));
    return {
      digest: this.#digest,
      conversations: this.#conversations.length,
      wholeConversations: whole.length,
      wholeDouble: whole.filter(({ plan }) => plan.way === "double").length,
      wholeNamed: whole.filter(({ plan }) => plan.way === "named").length,
      payloadBytes: this.#conversations.reduce(
        (sum, { client, server }) => sum + client.receivedBytes + server.receivedBytes,
        0,
      ),
      virtualMs: this.#clock.nowMs(),
    };
  }

  #linkPlan({ destination }: LinkQuestion): LinkPlan {
    if (destination.port !== 15008) return this.#scenario.applicationLink;
    const fate = this.#walls.get(destination.ip);
    const { tunnelLink } = this.#scenario;
    return fate === undefined ? tunnelLink : { ...tunnelLink, connect: fate };
  }

  #startPlane(index: number): void {
    const host = HOSTS[index]!;
    const certificates = new FixedCertificates(
      this.#clock,
      this.#materials.certificates[index]![0],
    );
    const events = new NotedEvents();
    startDataPlane({
      network: this.#network(`proxy of ${host.name}`, host),
      router: this.#router,
      certificates,
      events,
      clock: this.#clock,
      random: this.#draws,
      local: { namespace: "default", name: host.name, serviceAccount: host.name },
      listeners: {
        inbound: { ip: host.ip, port: 15008 },
        inboundPlaintext: { ip: host.ip, port: 15006 },
        outbound: { ip: host.ip, port: 15001 },
        socks5: { ip: "127.0.0.1", port: 15080 },
      },
      limits: { poolStreamsMax: this.#scenario.poolStreamsMax },
      http2: this.#scenario.http2,
      settings: { internalPorts: INTERNAL_PORTS, keepalive: KEEPALIVE },
    }, (plane) => {
      if (plane instanceof ProxyError) throw plane;
      this.#planes[index] = { host, certificates, events, plane, drained: "no" };
    });
    this.#clock.runUntilIdle();
  }

  #startGateway(): void {
    this.#gateway = new GatewayPeer({
      network: this.#fabric.network({ label: "gateway", ips: [GATEWAY.ip] }),
      clock: this.#clock,
      certificates: new FixedCertificates(this.#clock, this.#materials.gateway),
      address: GATEWAY.peer,
      targets: {
        get: (authority) => {
          const conversation = this.#conversations.find(({ plan }) =>
            authorityOf(plan) === authority
          );
          const host = conversation && HOSTS[conversation.plan.to]!;
          return host && { ip: host.ip, port: 15008 };
        },
      },
      keepalive: KEEPALIVE,
      http2: this.#scenario.http2,
    });
  }

  #network(label: string, host: Host, redirectPort?: number): MemoryNetwork {
    let network = this.#networks.get(label);
    if (network === undefined) {
      const options = {
        label,
        ips: [host.ip],
        transparent: this.#scenario.spoofSource,
        ...(host.plain ? {} : { inboundRedirect: INBOUND_REDIRECT }),
      };
      network = this.#fabric.network(
        redirectPort === undefined ? options : { ...options, redirectPort },
      );
      this.#networks.set(label, network);
    }
    return network;
  }

  /** Its parties, and the server application's listener. */
  #prepare(plan: ConversationPlan): void {
    const host = HOSTS[plan.to]!;
    const port = plan.kind === "unroutable" ? UNROUTABLE_PORT : portOf(plan);
    const destination = { ip: host.ip, port };
    const salts = { toServer: plan.number * 2 + 1, toClient: plan.number * 2 + 2 };
    const underWay = { toServer: 0, toClient: 0 };
    const common = {
      clock: this.#clock,
      draws: this.#draws,
      onWrite: () => {
        const { client, server, disturbed, graceUntilMs } = conversation;
        if (disturbed || this.#clock.nowMs() >= graceUntilMs) return; // What is lost never arrives.
        underWay.toServer = Math.max(underWay.toServer, client.sentBytes - server.receivedBytes);
        underWay.toClient = Math.max(underWay.toClient, server.sentBytes - client.receivedBytes);
      },
    };
    const conversation: Conversation = {
      plan,
      destination,
      client: new Party({
        ...common,
        name: `client ${plan.number}`,
        script: plan.client,
        sendSalt: salts.toServer,
        receiveSalt: salts.toClient,
        ...asksBySocks(plan) ? { socks: socksDialog(plan, destination, host) } : {},
      }),
      server: new Party({
        ...common,
        name: `server ${plan.number}`,
        script: plan.server,
        sendSalt: salts.toClient,
        receiveSalt: salts.toServer,
      }),
      disturbed: false,
      graceUntilMs: Infinity,
      started: false,
      dialError: null,
      accepted: false,
      stalls: 0,
      underWay,
    };
    this.#conversations.push(conversation);
    if (plan.kind === "refused") return;
    this.#network(`application of ${host.name}`, host).listen(
      { ip: host.ip, port: portOf(plan) },
      { backlog: 8, keepalive: null },
      (channel) => {
        assert(!conversation.accepted, `conversation ${plan.number} was dialled twice`);
        conversation.accepted = true;
        conversation.server.start(channel);
      },
      (listener) => {
        if (listener instanceof ProxyError) throw listener;
        this.#listeners.push(listener);
      },
    );
  }

  #dial(conversation: Conversation): void {
    const { plan, destination } = conversation;
    const host = HOSTS[plan.from]!;
    const captured = plan.entry === "captured";
    const network = captured
      ? this.#network(`captured on ${host.name}`, host, 15001)
      : this.#network(`application of ${host.name}`, host);
    const target = asksBySocks(plan) ? { ip: "127.0.0.1", port: 15080 } : destination;
    const options = { timeoutMs: 60_000, keepalive: null, sourceIp: host.ip };
    conversation.started = true;
    network.dial(target, options, (channel: Channel | ProxyError) => {
      if (channel instanceof ProxyError) conversation.dialError = channel;
      else conversation.client.start(channel);
    });
  }

  #disturb(disturbance: Disturbance): void {
    switch (disturbance.kind) {
      case "rotate": {
        const { host } = disturbance;
        this.#planes[host]!.certificates.current = this.#materials.certificates[host]![1];
        return;
      }
      case "deny": {
        const conversation = this.#conversations[disturbance.conversation]!;
        this.#disturbed(conversation);
        const denied = this.#scenario.conversations.filter(({ kind }) => kind === "denied");
        this.#router.deny([...denied, conversation.plan].map(portOf));
        this.#clock.after(POLICY_MS, () => this.#judgeDenied(conversation));
        return;
      }
      case "revoke": {
        const revoked = sha256Hex(this.#materials.certificates[disturbance.host]![0].chainDer[0]!);
        this.#disturbHosts(disturbance.host, disturbance.by);
        this.#planes[disturbance.by]!.plane.revoke(({ peerLeafSha256 }) =>
          peerLeafSha256 === revoked
        );
        return;
      }
      case "wall": {
        const { host } = disturbance;
        const { ip } = host === "gateway" ? GATEWAY : HOSTS[host]!;
        this.#walls.set(ip, disturbance.fate);
        this.#clock.after(disturbance.forMs, () => void this.#walls.delete(ip));
        if (host === "gateway") this.#disturbGateway();
        else this.#disturbHosts(host, null);
        return;
      }
      case "gateway":
        this.#disturbGateway();
        this.#gateway.drop();
        return;
      case "drain":
        this.#drain(this.#planes[disturbance.host]!, disturbance.deadlineMs);
        return;
      default:
        this.#disturbLink(disturbance);
    }
  }

  #disturbGateway(): void {
    for (const conversation of this.#conversations) {
      if (conversation.plan.way === "double") this.#disturbed(conversation);
    }
  }

  /** After a push no inbound connection that it forbids may live; a draining proxy no longer looks (spec/data-path §6.1). */
  #judgeDenied({ plan, destination }: Conversation): void {
    const target = this.#planes[plan.to];
    if (target === undefined || target.drained !== "no") return;
    const { openedRecords, closedRecords } = target.events;
    const closed = new Set(closedRecords.map(({ record }) => record));
    const live = openedRecords.filter((record) =>
      record.facts.direction === "inbound" && !closed.has(record) &&
      [formatAddress(destination), authorityOf(plan)].includes(
        record.facts.hboneAuthority ?? formatAddress(record.facts.destinationAddress),
      )
    );
    assertEquals(live.length, 0, `conversation ${plan.number} lives on although policy forbids it`);
  }

  #drain(target: Plane, deadlineMs: number): void {
    const host = HOSTS.indexOf(target.host);
    for (const conversation of this.#conversations) {
      const { plan, accepted } = conversation;
      if (plan.from !== host && plan.to !== host) continue;
      if (deadlineMs === 0 || !accepted) this.#disturbed(conversation);
      const untilMs = this.#clock.nowMs() + deadlineMs;
      conversation.graceUntilMs = Math.min(conversation.graceUntilMs, untilMs);
    }
    target.drained = "asked";
    const done = () => void (target.drained = "done");
    if (deadlineMs === 0) target.plane.stop(done);
    else target.plane.drain(deadlineMs, done);
  }

  #disturbLink(disturbance: Disturbance): void {
    const links = [...this.#fabric.links];
    if (links.length === 0) return;
    const link = this.#draws.pick(links);
    const users = this.#usersOf(link);
    if (users === null) return; // Not known yet whose it is.
    // One stall is within every time limit; two may add up to more.
    if (disturbance.kind !== "stall" || this.#stalled.has(link)) {
      for (const user of users) this.#disturbed(user);
    }
    // Two tunnels wait in turn for what a third one brings.
    for (const user of users) {
      if (disturbance.kind === "stall" && ++user.stalls > 1 && user.plan.way === "double") {
        this.#disturbed(user);
      }
    }
    if (disturbance.kind.startsWith("cut")) {
      this.#cut = true;
      if (link.server.port === 15008) this.#cutTunnels.add(link);
    }
    switch (disturbance.kind) {
      case "reset":
        return link.reset();
      case "cut":
        return link.cutSilently();
      case "cutToServer":
        return link.cutSilently("toServer");
      case "cutToClient":
        return link.cutSilently("toClient");
      case "stall":
        this.#stalled.add(link);
        return link.stall(disturbance.forMs, this.#draws.pick(["toServer", "toClient"]));
    }
  }

  /** Conversations that a link carries or may carry. */
  #usersOf({ client, server }: Link): Conversation[] | null {
    if (server.port === 15008) {
      return this.#conversations.filter(({ plan }) => {
        const [from, to] = [HOSTS[plan.from]!.ip, HOSTS[plan.to]!.ip];
        if (plan.way !== "double") return from === client.ip && to === server.ip;
        return (from === client.ip && server.ip === GATEWAY.ip) ||
          (client.ip === GATEWAY.ip && to === server.ip);
      });
    }
    const user = server.port === 15080
      ? this.#conversations.find((each) => each.client.channel?.local.port === client.port)
      : this.#conversations.find(({ destination }) =>
        destination.ip === server.ip && destination.port === server.port
      );
    return user === undefined ? null : [user];
  }

  /** Conversations between two hosts, either way; null for any other host. */
  #disturbHosts(one: number, other: number | null): void {
    for (const conversation of this.#conversations) {
      const { from, to } = conversation.plan;
      const here = from === one && (other === null || to === other);
      const there = to === one && (other === null || from === other);
      if (here || there) this.#disturbed(conversation);
    }
  }

  #disturbed(conversation: Conversation): void {
    if (!this.#isOver(conversation)) conversation.disturbed = true;
  }

  /** Nothing more is to be waited for. */
  #isSettled(conversation: Conversation): boolean {
    const { disturbed, started, graceUntilMs } = conversation;
    return (disturbed && started) || this.#isOver(conversation) ||
      this.#clock.nowMs() > graceUntilMs;
  }

  /** True when all of it must have arrived. */
  #mustBeWhole({ plan, disturbed, client, server, graceUntilMs }: Conversation): boolean {
    const inTime = Math.max(client.closedAtMs, server.closedAtMs) < graceUntilMs;
    return plan.kind === "whole" && !disturbed && (inTime || graceUntilMs === Infinity);
  }

  #isOver({ started, dialError, client, server, accepted }: Conversation): boolean {
    if (!started) return false;
    const clientOver = dialError !== null || client.closed;
    return clientOver && (!accepted || server.closed);
  }

  /** What a conversation must have come to. */
  #judge(conversation: Conversation): void {
    const { plan, client, server, disturbed, accepted, dialError, graceUntilMs } = conversation;
    const name = `${plan.kind} conversation ${plan.number}`;
    this.#note(client.receivedBytes, server.receivedBytes, client.sentBytes, server.sentBytes);
    this.#note(Number(client.closed), Number(server.closed), Number(disturbed), Number(accepted));
    if (dialError === null) assert(client.closed, `${name}: the client's side never ended`);
    if (accepted) assert(server.closed, `${name}: the server's side never ended`);
    assert(server.receivedBytes <= client.sentBytes, `${name}: more received than sent`);
    assert(client.receivedBytes <= server.sentBytes, `${name}: more received than sent`);
    if (plan.kind !== "whole" && plan.kind !== "broken") {
      assertEquals(accepted, false, `${name} reached its application`);
      assertEquals(client.receivedBytes, 0, `${name}: client heard something`);
    }
    for (
      const [bytes, script] of [
        [conversation.underWay.toServer, plan.client],
        [conversation.underWay.toClient, plan.server],
      ] as const
    ) {
      assert(
        bytes <= this.#underWayBytesMax(script, plan.way),
        `${name}: ${bytes} octets were under way`,
      );
    }
    if (!disturbed && graceUntilMs === Infinity) {
      assertEquals([dialError, client.turnedAway], [null, false], `${name}: dial`);
    }
    if (this.#mustBeWhole(conversation)) {
      assertEquals(
        {
          toServer: server.receivedBytes,
          toClient: client.receivedBytes,
          ends: [client.peerEnded, server.peerEnded],
          errors: [client.closeError, server.closeError],
        },
        {
          toServer: plan.client.sendBytes,
          toClient: plan.server.sendBytes,
          ends: [true, true],
          errors: [null, null],
        },
        name,
      );
    }
  }

  /** Every record is closed once and counts what its application saw. */
  #judgeEvents(): void {
    for (const { events, host } of this.#planes) {
      assertEquals(
        events.closedRecords.length,
        events.openedRecords.length,
        `records of ${host.name}`,
      );
      for (const { record, end } of events.closedRecords) {
        this.#note(record.bytesToServer, record.bytesToClient, end.durationMs, end.flag.length);
      }
    }
    for (const conversation of this.#conversations) {
      const { plan, client } = conversation;
      if (!this.#mustBeWhole(conversation)) continue;
      const { port } = client.channel!.local;
      const closedBy = (host: number, isIt: (facts: ConnectionFacts) => boolean) =>
        this.#planes[host]!.events.closedRecords.find(({ record }) => isIt(record.facts))!;
      const records = [];
      if (plan.entry === "plaintext") {
        records.push(
          closedBy(
            plan.to,
            (facts) => facts.listener === "inbound plaintext" && facts.sourceAddress.port === port,
          ),
        );
      } else {
        const outbound = closedBy(
          plan.from,
          (facts) => facts.direction === "outbound" && facts.sourceAddress.port === port,
        );
        records.push(outbound);
        const { traceId } = outbound.record.facts;
        if (!HOSTS[plan.to]!.plain) {
          records.push(
            closedBy(
              plan.to,
              (facts) => facts.direction === "inbound" && facts.traceId === traceId,
            ),
          );
        }
      }
      for (const { record, end } of records) {
        assertEquals(
          [record.bytesToServer, record.bytesToClient, end.flag, end.error],
          [plan.client.sendBytes, plan.server.sendBytes, "-", null],
          `${record.facts.direction} record of conversation ${plan.number}`,
        );
      }
    }
  }

  /**
   * What three links, two streams and the buffers between may hold, and the write that was refused; through a gateway
   * one link and two streams more.
   */
  #underWayBytesMax({ writeBytesMax }: PartyScript, way: Way): number {
    const { applicationLink, tunnelLink, http2 } = this.#scenario;
    const tunnelBytes = tunnelLink.capacityBytes + 2 * (http2.streamWindowBytes ?? 0) +
      2 * DELIVER_BYTES_MAX;
    return writeBytesMax + 2 * applicationLink.capacityBytes + DELIVER_BYTES_MAX +
      (way === "double" ? 2 : 1) * tunnelBytes;
  }

  #count(kind: ConversationPlan["kind"]): number {
    return this.#conversations.filter(({ plan }) => plan.kind === kind).length;
  }

  #drive(condition: () => boolean, withinMs: number): void {
    const limitMs = this.#clock.nowMs() + withinMs;
    while (!condition()) {
      // The last turn of all may bring it about.
      if (!this.#clock.advanceToNext(limitMs) && !condition()) throw new Error(this.#stuck());
    }
  }

  #stuck(): string {
    const stuck = this.#conversations.filter((each) => !this.#isSettled(each));
    return `Stuck at ${this.#clock.nowMs()} ms:\n` + stuck.map(({ plan, client, server }) => {
      const sides = [client, server].map((party) =>
        `sent ${party.sentBytes}/${party.script.sendBytes}, received ${party.receivedBytes}, ` +
        `ended ${party.sendEnded}, peer ended ${party.peerEnded}, closed ${party.closed}`
      );
      return `  ${plan.kind} ${plan.number} by ${plan.entry}, ${plan.from} to ${plan.to}\n` +
        `    client: ${sides[0]}\n    server: ${sides[1]}`;
    }).join("\n");
  }

  #note(...values: number[]): void {
    for (const value of values) this.#digest = Math.imul(this.#digest ^ value, 0x01000193) >>> 0;
  }
}

function asksBySocks({ entry }: ConversationPlan): boolean {
  return entry === "socks" || entry === "socksByName";
}

/** What the CONNECT of a conversation through the gateway says. */
function authorityOf(plan: ConversationPlan): string {
  return farAuthority(HOSTS[plan.to]!, portOf(plan));
}

function portOf(plan: ConversationPlan): number {
  return FIRST_PORT + plan.number;
}

/** Greeting and request in one go, and the answers to both. */
function socksDialog(
  plan: ConversationPlan,
  destination: SocketAddress,
  host: Host,
): { sends: Uint8Array<ArrayBuffer>[]; hears: number[] } {
  const port = [destination.port >> 8, destination.port & 255];
  const name = new TextEncoder().encode(host.name);
  const address = plan.entry === "socks"
    ? [1, ...destination.ip.split(".").map(Number)]
    : [3, name.length, ...name];
  return {
    sends: [Uint8Array.of(5, 1, 0), Uint8Array.of(5, 1, 0, ...address, ...port)],
    hears: [5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0],
  };
}
