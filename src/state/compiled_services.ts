// The endpoints of services as candidates, made once for all connections from the same place (issue: 5 µs a decision).
import type { SocketAddress } from "../base/address.ts";
import type { Candidate } from "../seam/route.ts";
import { ranksEndpoints } from "./endpoints.ts";
import type { KnownService } from "./mesh_view.ts";
import type { GatewayAddress, Workload } from "./resources.ts";

/** Candidates kept, in all; about 300 bytes each. One more forgets all of them. */
export const COMPILED_CANDIDATES_MAX = 131_072;

/** What one service offers to one kind of source. */
export interface CompiledUpstreams {
  /** In the source's network, or out of reach. */
  readonly direct: readonly Candidate[];
  /** In other networks, summed up by the gateway that leads there. */
  readonly remote: readonly {
    readonly weight: number;
    /** One of those behind the gateway. */
    readonly workload: Workload;
    readonly gateway: GatewayAddress;
  }[];
}

/** Where a source is, as text: two with the same text get the same endpoints. */
interface Place {
  /** Enough where the service does not rank its endpoints. */
  readonly network: string;
  readonly whole: string;
}

/**
 * Remembers by the service's value, which a change of the service, its endpoints or their workloads replaces; hence
 * nothing here is ever stale, and what nobody uses any more is collected.
 */
export class CompiledServices {
  readonly #max: number;
  readonly #places = new WeakMap<Workload, Place>();
  #byService = new WeakMap<KnownService, Map<string, CompiledUpstreams>>();
  #candidates = 0;

  /** @param options.candidatesMax {@link COMPILED_CANDIDATES_MAX} */
  constructor(options: { readonly candidatesMax?: number } = {}) {
    this.#max = options.candidatesMax ?? COMPILED_CANDIDATES_MAX;
  }

  /** Candidates made since it was last empty; at most the bound. */
  get size(): number {
    return this.#candidates;
  }

  get(
    known: KnownService,
    source: Workload,
    dialled: SocketAddress,
  ): CompiledUpstreams | undefined {
    const kept = this.#byService.get(known);
    return kept === undefined ? undefined : kept.get(this.#key(known, source, dialled));
  }

  keep(
    known: KnownService,
    source: Workload,
    dialled: SocketAddress,
    compiled: CompiledUpstreams,
  ): void {
    const size = 1 + compiled.direct.length + compiled.remote.length;
    if (size > this.#max) return;
    if (this.#candidates + size > this.#max) {
      this.#byService = new WeakMap();
      this.#candidates = 0;
    }
    let kept = this.#byService.get(known);
    if (kept === undefined) {
      kept = new Map();
      this.#byService.set(known, kept);
    }
    kept.set(this.#key(known, source, dialled), compiled);
    this.#candidates += size;
  }

  /** The dialled IP counts: it may be an endpoint's own, and its family is preferred. */
  #key({ service }: KnownService, source: Workload, { ip, port }: SocketAddress): string {
    const place = this.#placeOf(source);
    const where = ranksEndpoints(service.loadBalancer) ? place.whole : place.network;
    return `${ip} ${port} ${where}`;
  }

  #placeOf(source: Workload): Place {
    let place = this.#places.get(source);
    if (place === undefined) {
      const { network, clusterId, node, locality: { region, zone, subzone } } = source;
      place = {
        network: JSON.stringify(network),
        whole: JSON.stringify([network, clusterId, node, region, zone, subzone]),
      };
      this.#places.set(source, place);
    }
    return place;
  }
}
