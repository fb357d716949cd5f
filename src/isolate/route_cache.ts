// A Router with a memory: compiled answers serve until the state changes (design §3.4).
import type { SocketAddress } from "../base/address.ts";
import type { Cancel, Done } from "../base/channel.ts";
import type { Clock } from "../base/clock.ts";
import type { Policy } from "../rbac/policy.ts";
import type { InboundRoute, PolicySelection, Route } from "../seam/route.ts";
import type {
  HostQuestion,
  InboundQuestion,
  OutboundQuestion,
  PlaintextQuestion,
  Router,
  StateChange,
} from "../seam/router.ts";
import type { LocalWorkloadName, WorkloadFacts } from "../seam/workload.ts";
import { AnswerCache } from "./answer_cache.ts";

/** Outbound routes kept, and as many inbound ones (design §3.4). */
export const ROUTES_MAX = 65_536;
/** Candidates of all outbound routes kept, as a service may have thousands. */
export const CACHED_CANDIDATES_MAX = 262_144;
/** Dependencies noted for all outbound routes kept, and as many for inbound ones: 16 per route, and most have fewer. */
export const CACHED_LINKS_MAX = 1_048_576;
/** A question longer than this is asked each time: its host names are a peer's words. */
export const KEY_CHARS_MAX = 1024;

/**
 * Asks `router` what it does not know. Serves one isolate as well as two. A refusal is not remembered; a change of
 * state forgets what depends on anything it touched, and such an answer from before the change that comes after it is
 * not kept.
 */
export class RouteCache implements Router {
  readonly #router: Router;
  readonly #outbound: AnswerCache<Route>;
  readonly #inbound: AnswerCache<InboundRoute>;
  readonly #names = new WeakMap<LocalWorkloadName, string>();
  readonly #watch: Cancel;

  /** @param options.routesMax {@link ROUTES_MAX} */
  constructor(
    router: Router,
    options: { readonly clock: Clock; readonly routesMax?: number },
  ) {
    const { clock, routesMax: entriesMax = ROUTES_MAX } = options;
    this.#router = router;
    this.#outbound = new AnswerCache({
      clock,
      entriesMax,
      weightMax: CACHED_CANDIDATES_MAX,
      linksMax: CACHED_LINKS_MAX,
      weigh: ({ candidates }) => candidates.length,
    });
    this.#inbound = new AnswerCache({
      clock,
      entriesMax,
      weightMax: entriesMax,
      linksMax: CACHED_LINKS_MAX,
      weigh: () => 1,
    });
    // Before anybody else hears of a change and asks again.
    this.#watch = router.onChange((change) => {
      this.#outbound.change(change);
      this.#inbound.change(change);
    });
  }

  /** Routes kept. */
  get sizes(): { readonly outbound: number; readonly inbound: number } {
    return { outbound: this.#outbound.size, inbound: this.#inbound.size };
  }

  /** Stops watching the state; not to be asked afterwards. */
  close(): void {
    this.#watch.cancel();
  }

  outbound(question: OutboundQuestion, done: Done<Route>): Cancel {
    const { local, source, destination } = question;
    // The application's IP counts (a waypoint's own calls pass it by, spec/data-path §2.4), its port does not.
    const key = `${this.#nameOf(local)} ${source.ip} ${destination.ip} ${destination.port}`;
    return this.#outbound.get(key, (answer) => this.#router.outbound(question, answer), done);
  }

  inbound(question: InboundQuestion, done: Done<InboundRoute>): Cancel {
    const key = inboundKey(question, this.#nameOf(question.local));
    if (key.length > KEY_CHARS_MAX) return this.#router.inbound(question, done);
    return this.#inbound.get(key, (answer) => this.#router.inbound(question, answer), done);
  }

  inboundPlaintext(question: PlaintextQuestion, done: Done<InboundRoute>): Cancel {
    const { local, peerIp, destination } = question;
    const key = `${this.#nameOf(local)} plain ${peerIp} ${addressKey(destination)}`;
    const ask = (answer: Done<InboundRoute>) => this.#router.inboundPlaintext(question, answer);
    return this.#inbound.get(key, ask, done);
  }

  localWorkload(local: LocalWorkloadName, done: Done<WorkloadFacts>): Cancel {
    return this.#router.localWorkload(local, done);
  }

  policies(selection: PolicySelection, done: Done<readonly Policy[]>): Cancel {
    return this.#router.policies(selection, done);
  }

  resolve(local: LocalWorkloadName, name: string, family: 4 | 6, done: Done<string>): Cancel {
    return this.#router.resolve(local, name, family, done);
  }

  resolveHost(question: HostQuestion, done: Done<string>): Cancel {
    return this.#router.resolveHost(question, done);
  }

  onChange(listener: (change: StateChange) => void): Cancel {
    return this.#router.onChange(listener);
  }

  /** One text per workload, built once for each data plane. */
  #nameOf(local: LocalWorkloadName): string {
    let name = this.#names.get(local);
    if (name === undefined) {
      name = JSON.stringify([local.namespace, local.name, local.serviceAccount]);
      this.#names.set(local, name);
    }
    return name;
  }
}

/** Differs wherever the question does: what a peer chose comes last or after its length. */
function inboundKey(question: InboundQuestion, local: string): string {
  const { localIp, peerIp, authority, forwardedHost, fromGateway } = question;
  const target = authority.kind === "address"
    ? addressKey(authority.address)
    : `h${authority.hostname.length} ${authority.hostname} ${authority.port}`;
  const host = forwardedHost === null ? "" : `=${forwardedHost}`;
  return `${local} ${localIp} ${peerIp} ${fromGateway ? "g" : "-"} ${target} ${host}`;
}

function addressKey({ ip, port }: SocketAddress): string {
  return `a${ip} ${port}`;
}
