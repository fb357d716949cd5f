// What a seed means: links, hosts' settings, conversations and disturbances, drawn before anything runs.
import type { H2Limits } from "../../src/h2/options.ts";
import type { ConnectFate, LinkPlan } from "../../src/net/memory/link_plan.ts";
import type { Draws } from "./draws.ts";
import type { PartyScript } from "./party.ts";

/** Hosts with a proxy each; then one without. */
export const MESHED_HOSTS = 3;
export const PLAIN_HOST = 3;

/** Where a conversation's server application listens: this and its number. */
export const FIRST_PORT = 8_000;

/**
 * `whole`: both send everything and end in order. `broken`: somebody resets. `refused`: nobody listens.
 * `denied`: policy forbids it. `unroutable`: the Router has no answer.
 */
export type ConversationKind = "whole" | "broken" | "refused" | "denied" | "unroutable";

/**
 * How the Router sends it: `direct`, `named` where the workload is known by name, `double` through the gateway of another
 * network. Conversations that no outbound side carries are direct.
 */
export type Way = "direct" | "named" | "double";

export interface ConversationPlan {
  readonly number: number;
  readonly kind: ConversationKind;
  readonly way: Way;
  readonly from: number;
  readonly to: number;
  /** `plaintext`: from the host without a proxy, captured on its way in. */
  readonly entry: "socks" | "socksByName" | "captured" | "plaintext";
  readonly startMs: number;
  readonly client: PartyScript;
  readonly server: PartyScript;
}

export type Disturbance =
  | { readonly kind: "reset" | "cut" | "cutToServer" | "cutToClient"; readonly atMs: number }
  | { readonly kind: "stall"; readonly atMs: number; readonly forMs: number }
  | { readonly kind: "rotate"; readonly atMs: number; readonly host: number }
  | { readonly kind: "deny"; readonly atMs: number; readonly conversation: number }
  /** The leaf that a host began with is revoked, as the data plane of `by` learns. */
  | { readonly kind: "revoke"; readonly atMs: number; readonly host: number; readonly by: number }
  /** The gateway ends all it carries, and goes on. */
  | { readonly kind: "gateway"; readonly atMs: number }
  /** New connections to a host's 15008, or the gateway's, fail for a time. */
  | {
    readonly kind: "wall";
    readonly atMs: number;
    readonly forMs: number;
    readonly host: number | "gateway";
    readonly fate: Exclude<ConnectFate, "accept">;
  }
  | {
    readonly kind: "drain";
    readonly atMs: number;
    readonly host: number;
    /** 0 stops at once. */
    readonly deadlineMs: number;
  };

export interface Scenario {
  readonly seed: number;
  /** See `VirtualClock.timersPerTurn`. */
  readonly timersPerTurn: number;
  readonly http2: Partial<H2Limits>;
  readonly poolStreamsMax: number;
  readonly spoofSource: boolean;
  readonly applicationLink: LinkPlan;
  readonly tunnelLink: LinkPlan;
  readonly conversations: readonly ConversationPlan[];
  readonly disturbances: readonly Disturbance[];
}

/** Conversations start, and disturbances happen, within this time. */
const ACTIVE_MS = 4_000;

export function drawScenario(seed: number, draws: Draws): Scenario {
  // Byte by byte costs an event per octet, so then there are few.
  const fine = draws.oneIn(8);
  const conversationCount = fine ? draws.between(2, 5) : draws.between(2, 16);
  const conversations = Array.from(
    { length: conversationCount },
    (_, number) => drawConversation(number, fine, draws),
  );
  const calm = draws.oneIn(3);
  const streamWindowBytes = fine
    ? draws.pick([1, 20, 65_535])
    : draws.pick([700, 16_384, 65_535, 4_194_304]);
  const ways = waysWith(streamWindowBytes);
  return {
    seed,
    timersPerTurn: draws.between(1, 4),
    http2: {
      streamWindowBytes,
      connectionWindowBytes: draws.pick([65_535, 65_535, 100_000, 16_777_216]),
      frameBytesMax: draws.pick([16_384, 1_048_576]),
    },
    poolStreamsMax: draws.pick([1, 2, 5, 100]),
    spoofSource: draws.oneIn(2),
    applicationLink: drawLink(fine, draws),
    tunnelLink: drawLink(fine, draws),
    conversations: conversations.map((plan) => ({ ...plan, way: drawWay(plan, ways, draws) })),
    disturbances: calm ? [] : drawDisturbances(conversationCount, draws),
  };
}

function drawLink(fine: boolean, draws: Draws): LinkPlan {
  const delayMinMs = draws.pick([0, 0, 1, 20]);
  const delayMaxMs = delayMinMs + draws.pick([0, 0, 3, 30]);
  const coalesceMs = draws.pick([0, 0, 5, 25]);
  // Little room on a slow link would be a handshake of minutes.
  const instant = delayMaxMs + coalesceMs === 0;
  const deliverMinBytes = fine ? 1 : draws.pick([1, 1, 500, 32_768]);
  return {
    connect: "accept",
    connectMs: draws.pick([0, 1, 40]),
    delayMinMs,
    delayMaxMs,
    coalesceMs,
    deliverMinBytes,
    deliverMaxBytes: fine
      ? draws.pick([1, 2, 7])
      : Math.max(deliverMinBytes, draws.pick([300, 3_000, 32_768])),
    capacityBytes: draws.pick(
      fine ? instant ? [1, 50] : [4_000, 4_000] : [2_000, 10_000, 65_536, 1_000_000],
    ),
    resetDropsUnread: draws.oneIn(2),
  };
}

/** Which ways there are: an inner handshake through a window of some octets would take minutes. */
export function waysWith(streamWindowBytes: number): readonly Way[] {
  const narrow: readonly Way[] = ["direct", "direct", "named"];
  return streamWindowBytes < 16_384 ? narrow : [...narrow, "double", "double"];
}

function drawWay(
  { kind, entry, to }: Omit<ConversationPlan, "way">,
  ways: readonly Way[],
  draws: Draws,
): Way {
  if (kind === "unroutable" || entry === "plaintext") return "direct";
  const way = draws.pick(ways);
  return way === "double" && to === PLAIN_HOST ? "named" : way;
}

function drawConversation(
  number: number,
  fine: boolean,
  draws: Draws,
): Omit<ConversationPlan, "way"> {
  const kind = draws.pick<ConversationKind>([
    ...new Array<ConversationKind>(12).fill("whole"),
    ...new Array<ConversationKind>(5).fill("broken"),
    "refused",
    "denied",
    "unroutable",
  ]);
  const entry = draws.pick<ConversationPlan["entry"]>([
    "socks",
    "socksByName",
    "captured",
    "captured",
    "plaintext",
  ]);
  const meshed = draws.below(MESHED_HOSTS);
  const elsewhere = (meshed + draws.between(1, MESHED_HOSTS - 1)) % MESHED_HOSTS;
  const outside = kind !== "denied" && draws.oneIn(6);
  const [from, to] = entry === "plaintext"
    ? [PLAIN_HOST, elsewhere]
    : [meshed, outside ? PLAIN_HOST : elsewhere];
  const client = drawParty(fine, draws);
  const server = drawParty(fine, draws);
  // Two that wait for each other's end would wait for ever.
  const bothWait = client.endsAfterPeer && server.endsAfterPeer;
  return {
    number,
    kind,
    from,
    to,
    entry,
    startMs: draws.oneIn(3) ? 0 : draws.below(ACTIVE_MS),
    client: kind === "broken" ? breaking(client, draws) : client,
    server: {
      ...kind === "broken" && draws.oneIn(2) ? breaking(server, draws) : server,
      ...bothWait ? { endsAfterPeer: false } : {},
    },
  };
}

function drawParty(fine: boolean, draws: Draws): PartyScript {
  const sizes = fine ? [0, 1, 30, 300, 1_500] : [0, 1, 100, 3_000, 20_000, 70_000, 200_000];
  const sendBytes = draws.below(draws.pick(sizes) + 1);
  return {
    sendBytes,
    writeBytesMax: draws.pick(
      sendBytes > 5_000 ? [1_500, 16_384, 60_000, 200_000] : [1, 10, 1_500, 60_000],
    ),
    restMsMax: draws.pick([0, 0, 0, 5, sendBytes > 5_000 ? 0 : 300]),
    dawdleEveryBytes: draws.oneIn(2) ? Infinity : draws.between(1, 1 + (sendBytes >> 1) + 20_000),
    dawdleMsMax: draws.pick([1, 50, 2_000]),
    endsAfterPeer: draws.oneIn(3),
    resetAtBytes: Infinity,
    resetsAtPeerEnd: false,
  };
}

/** The same, but it resets: after some bytes, or where it should end. */
function breaking(script: PartyScript, draws: Draws): PartyScript {
  if (draws.oneIn(4)) return { ...script, resetsAtPeerEnd: true };
  return { ...script, resetAtBytes: draws.below(script.sendBytes * 2 + 1) };
}

function drawDisturbances(conversations: number, draws: Draws): Disturbance[] {
  const count = draws.between(1, 5);
  return Array.from({ length: count }, (): Disturbance => {
    const atMs = draws.below(ACTIVE_MS + 1_000);
    switch (draws.below(15)) {
      case 0:
      case 1:
      case 2:
        return { kind: "reset", atMs };
      case 3:
      case 4:
        return { kind: draws.pick(["cut", "cut", "cutToServer", "cutToClient"]), atMs };
      case 5:
      case 6:
      case 7:
      case 8:
        return { kind: "stall", atMs, forMs: draws.between(10, 4_000) };
      case 9:
        return { kind: "rotate", atMs, host: draws.below(MESHED_HOSTS) };
      case 10:
        return {
          kind: "revoke",
          atMs,
          host: draws.below(MESHED_HOSTS),
          by: draws.below(MESHED_HOSTS),
        };
      case 11:
        return {
          kind: "wall",
          atMs: draws.oneIn(2) ? 0 : atMs,
          forMs: draws.between(1, 12_000),
          host: draws.oneIn(4) ? "gateway" : draws.below(MESHED_HOSTS),
          fate: draws.pick(["refuse", "unreachable", "vanish"]),
        };
      case 12:
        return { kind: "deny", atMs, conversation: draws.below(conversations) };
      case 13:
        return { kind: "gateway", atMs };
      default:
        return {
          kind: "drain",
          atMs,
          host: draws.below(MESHED_HOSTS),
          deadlineMs: draws.pick([0, 1_000, 5_000, 60_000]),
        };
    }
  });
}

/** A small whole conversation between two hosts, to see that they still can. */
export function probePlan(
  number: number,
  from: number,
  to: number,
  ways: readonly Way[],
  draws: Draws,
): ConversationPlan {
  const script = { ...drawParty(true, draws), endsAfterPeer: false };
  return {
    number,
    kind: "whole",
    way: from === PLAIN_HOST ? "direct" : draws.pick(ways),
    from,
    to,
    entry: from === PLAIN_HOST ? "plaintext" : draws.pick(["socks", "captured"]),
    startMs: 0,
    client: script,
    server: { ...script, sendBytes: draws.below(2_000) },
  };
}
