// Live inbound connections, so that a change of policy can find them and end them (spec/data-path §4.7).
import { formatAddress, type SocketAddress } from "../base/address.ts";
import { type Cancel, NOTHING_TO_CANCEL } from "../base/channel.ts";
import { ProxyError } from "../base/errors.ts";
import { Listed, Roster } from "../base/roster.ts";
import { PolicyChanged } from "../hbone/errors.ts";
import type { DataPlaneParts } from "../hbone/parts.ts";
import { RecentTouches } from "../hbone/recent_touches.ts";
import { judge, type Verdict } from "../rbac/judge.ts";
import type { Policy, PolicyInput } from "../rbac/policy.ts";
import type { InboundRoute, PolicySelection } from "../seam/route.ts";
import type { StateChange } from "../seam/router.ts";
import type { SpiffeId } from "../tls/spiffe_id.ts";

/** A connection as policy sees it, and what tells it apart from others (R4). */
export interface InboundSubject {
  readonly source: SocketAddress;
  readonly identity: SpiffeId | null;
  readonly route: InboundRoute;
}

/** What is ended when policy no longer allows it. */
export interface Tracked {
  terminate(reason: ProxyError): void;
}

class Member extends Listed {
  readonly tracked: Tracked;

  constructor(tracked: Tracked) {
    super();
    this.tracked = tracked;
  }
}

/** Streams that policy cannot tell apart; judged together, closed together. */
interface Entry {
  readonly key: string;
  readonly subject: InboundSubject;
  readonly input: PolicyInput;
  readonly members: Roster<Member>;
}

/** Entries that the same policies apply to: asked for once after a change. */
interface Circle {
  readonly key: string;
  readonly selection: PolicySelection;
  readonly entries: Map<string, Entry>;
  asking: Cancel;
}

/** One tracked connection's place; given back at its end. */
export interface Registration {
  /** Judges it by the policies of its route, now that a change would find it (R3). */
  judge(): Verdict;
  /** Idempotent. */
  release(): void;
}

/** Tracks the inbound connections of one data plane. Bounded by the connections there may be. */
export class ConnectionManager {
  readonly #parts: DataPlaneParts;
  readonly #circles = new Map<string, Circle>();
  readonly #selectionKeys = new WeakMap<PolicySelection, string>();
  #watch: Cancel;
  /** By the changes of policies, for routes compiled before them. */
  readonly #touches = new RecentTouches();

  constructor(parts: DataPlaneParts) {
    this.#parts = parts;
    this.#watch = parts.router.onChange((change) => this.#onChange(change));
  }

  /** Entries, not connections: equal ones share one. */
  get entries(): number {
    let count = 0;
    for (const circle of this.#circles.values()) count += circle.entries.size;
    return count;
  }

  /** Tracks a connection. To be called before it is judged (R3), and released at its end. */
  register(subject: InboundSubject, tracked: Tracked): Registration {
    const circle = this.#circle(subject.route.selection);
    const key = subjectKey(subject);
    let entry = circle.entries.get(key);
    if (entry === undefined) {
      entry = { key, subject, input: policyInput(subject), members: new Roster() };
      circle.entries.set(key, entry);
    }
    const { members, input } = entry;
    const member = new Member(tracked);
    members.add(member);
    return {
      judge: () => {
        const verdict = judge(subject.route.policies, input);
        this.#logDecision(verdict);
        // A change touched the route, and this registration came too late to be found by it.
        if (this.#touches.isStale(subject.route)) this.#ask(circle);
        return verdict;
      },
      release: () => {
        if (members.delete(member) && members.size === 0) this.#forget(circle, key);
      },
    };
  }

  /** Stops watching, at the start of a drain (spec/data-path §6.1). Idempotent. */
  stop(): void {
    this.#watch.cancel();
    this.#watch = NOTHING_TO_CANCEL;
    for (const circle of this.#circles.values()) circle.asking.cancel();
  }

  #circle(selection: PolicySelection): Circle {
    const key = this.#selectionKey(selection);
    let circle = this.#circles.get(key);
    if (circle === undefined) {
      circle = { key, selection, entries: new Map(), asking: NOTHING_TO_CANCEL };
      this.#circles.set(key, circle);
    }
    return circle;
  }

  /** Selections are the state's and live as long as its answers; each has its text made once. */
  #selectionKey(selection: PolicySelection): string {
    let key = this.#selectionKeys.get(selection);
    if (key === undefined) {
      key = JSON.stringify([selection.namespace, selection.listed]);
      this.#selectionKeys.set(selection, key);
    }
    return key;
  }

  #forget(circle: Circle, entryKey: string): void {
    circle.entries.delete(entryKey);
    if (circle.entries.size > 0) return;
    circle.asking.cancel();
    this.#circles.delete(circle.key);
  }

  #onChange(change: StateChange): void {
    if (!change.policies) return;
    this.#touches.note(change.generation, change.touched);
    for (const circle of [...this.#circles.values()]) this.#ask(circle);
  }

  /** Judges a circle by the policies of today. A newer question replaces one still unanswered. */
  #ask(circle: Circle): void {
    circle.asking.cancel();
    try {
      circle.asking = this.#parts.router.policies(circle.selection, (outcome) => {
        circle.asking = NOTHING_TO_CANCEL;
        this.#rejudge(circle, outcome);
      });
    } catch (thrown) {
      this.#rejudge(circle, this.#parts.faults.caught(thrown, "inbound/connection_manager"));
    }
  }

  /** Without an answer nothing can be allowed to stay: policy fails closed. */
  #rejudge(circle: Circle, policies: readonly Policy[] | ProxyError): void {
    for (const entry of [...circle.entries.values()]) {
      if (!(policies instanceof ProxyError) && this.#stillAllowed(policies, entry)) continue;
      this.#parts.events.log(
        "info",
        "ztunnel::proxy::connection_manager",
        `connection ${connectionText(entry.subject)} closed because it's no longer allowed after ` +
          "a policy update",
      );
      for (const { tracked } of entry.members.members()) tracked.terminate(new PolicyChanged());
    }
  }

  #stillAllowed(policies: readonly Policy[], entry: Entry): boolean {
    try {
      const verdict = judge(policies, entry.input);
      this.#logDecision(verdict);
      return verdict.kind === "allow";
    } catch (thrown) {
      this.#parts.faults.caught(thrown, "inbound/connection_manager");
      return false;
    }
  }

  #logDecision(verdict: Verdict): void {
    const { events, settings } = this.#parts;
    const level = settings.policyInfoLogging ? "info" : "debug";
    for (const { message, policy } of verdict.lines) {
      if (policy === null) events.log(level, "ztunnel::state", message);
      else events.log(level, "ztunnel::state", message, { policy });
    }
  }
}

function policyInput({ source, identity, route }: InboundSubject): PolicyInput {
  return {
    identity,
    sourceIp: source.ip,
    destinationIp: route.policyTarget.ip,
    destinationPort: route.policyTarget.port,
  };
}

/** R4: source, destination, identity and service; the network is the data plane's own. */
function subjectKey({ source, identity, route }: InboundSubject): string {
  const { policyTarget, service } = route;
  const uri = identity === null ? "-" : `${identity.uri.length} ${identity.uri}`;
  const host = service === null ? "-" : `=${service.hostname}`;
  return `${source.ip} ${source.port} ${policyTarget.ip} ${policyTarget.port} ${uri} ${host}`;
}

/** `SRC(IDENTITY)->DST (UID)`, as every ztunnel writes it (R8). */
function connectionText({ source, identity, route }: InboundSubject): string {
  const from = `${formatAddress(source)}(${identity?.uri ?? "None"})`;
  return `${from}->${formatAddress(route.policyTarget)} (${route.destination.uid})`;
}
