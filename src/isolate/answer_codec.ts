// Answers of the Router as messages: facts and policies that were sent before are named by a slot.
import { type Random, randomPoint } from "../base/random.ts";
import type { Policy } from "../rbac/policy.ts";
import type { Candidate, InboundRoute, Route } from "../seam/route.ts";
import type { ServiceFacts, WorkloadFacts } from "../seam/workload.ts";
import { SlotReader, SlotSender } from "./slot_ring.ts";

/** Candidates that cross in one route; of more, so many are drawn by weight, each with weight 1. */
export const CANDIDATES_MAX = 1024;
/** Slots for facts that were sent to one data-plane isolate. */
export const ROUTE_FACTS_MAX = 4096;
/** Slots for lists of policies: few, since one list may be long. */
export const POLICY_LISTS_MAX = 64;

/** What an answer names at most: one fact per candidate, source, destination, service. */
const FACTS_PER_ANSWER_MAX = CANDIDATES_MAX + 4;

/** Slot of null. */
const NONE = -1;

interface WireCandidate {
  readonly weight: number;
  readonly hop: Candidate["hop"];
  readonly destination: number;
}

interface WireRoute extends Omit<Route, "source" | "candidates" | "service"> {
  readonly source: number;
  readonly candidates: readonly WireCandidate[];
  readonly service: number;
}

type InternedFields = "source" | "destination" | "service" | "policies";

interface WireInboundRoute extends Omit<InboundRoute, InternedFields> {
  readonly source: number;
  readonly destination: number;
  readonly service: number;
  readonly policies: number;
}

/** A slot and what it means from now on. */
type Definition<Value> = readonly [slot: number, value: Value];

/** Values to be known before the answer is read. */
interface Definitions {
  readonly facts: readonly Definition<WorkloadFacts | ServiceFacts>[];
  readonly policies: readonly Definition<readonly Policy[]>[];
}

export type WireAnswer =
  | { readonly kind: "localWorkload"; readonly facts: WorkloadFacts }
  | { readonly kind: "outbound"; readonly define: Definitions; readonly route: WireRoute }
  | { readonly kind: "inbound"; readonly define: Definitions; readonly route: WireInboundRoute }
  | { readonly kind: "policies"; readonly policies: readonly Policy[] }
  | { readonly kind: "resolve"; readonly ip: string };

/** The control side's half. What it encodes is to be sent, in this order. */
export class AnswerEncoder {
  readonly #random: Random;
  readonly #facts = new SlotSender<WorkloadFacts | ServiceFacts>({
    slots: ROUTE_FACTS_MAX,
    newcomersMax: FACTS_PER_ANSWER_MAX,
  });
  readonly #policies = new SlotSender<readonly Policy[]>({
    slots: POLICY_LISTS_MAX,
    newcomersMax: 1,
  });
  #newFacts: Definition<WorkloadFacts | ServiceFacts>[] = [];
  #newPolicies: Definition<readonly Policy[]>[] = [];

  /** @param random Draws candidates where there are too many. */
  constructor(random: Random) {
    this.#random = random;
  }

  outbound(route: Route): WireAnswer {
    const { source, service, ...rest } = route;
    const candidates = boundedCandidates(route.candidates, this.#random).map((candidate) => ({
      weight: candidate.weight,
      hop: candidate.hop,
      destination: this.#slotOf(candidate.destination),
    }));
    const slots = { source: this.#slotOf(source), service: this.#slotOf(service) };
    return { kind: "outbound", define: this.#taken(), route: { ...rest, ...slots, candidates } };
  }

  inbound(route: InboundRoute): WireAnswer {
    const { source, destination, service, policies, ...rest } = route;
    const slots = {
      source: this.#slotOf(source),
      destination: this.#slotOf(destination),
      service: this.#slotOf(service),
      policies: this.#slotOfPolicies(policies),
    };
    return { kind: "inbound", define: this.#taken(), route: { ...rest, ...slots } };
  }

  #slotOf(facts: WorkloadFacts | ServiceFacts | null): number {
    if (facts === null) return NONE;
    const known = this.#facts.find(facts);
    if (known >= 0) return known;
    const slot = this.#facts.add(facts);
    this.#newFacts.push([slot, facts]);
    return slot;
  }

  #slotOfPolicies(policies: readonly Policy[]): number {
    const known = this.#policies.find(policies);
    if (known >= 0) return known;
    const slot = this.#policies.add(policies);
    this.#newPolicies.push([slot, policies]);
    return slot;
  }

  #taken(): Definitions {
    const taken = { facts: this.#newFacts, policies: this.#newPolicies };
    this.#newFacts = [];
    this.#newPolicies = [];
    return taken;
  }
}

/** The data plane's half. Answers that name the same facts share one object, as in one isolate. */
export class AnswerDecoder {
  readonly #facts = new SlotReader<WorkloadFacts | ServiceFacts>(ROUTE_FACTS_MAX);
  readonly #policies = new SlotReader<readonly Policy[]>(POLICY_LISTS_MAX);

  outbound({ define, route }: Extract<WireAnswer, { kind: "outbound" }>): Route {
    this.#define(define);
    return {
      ...route,
      source: this.#workload(route.source),
      service: this.#serviceOrNull(route.service),
      candidates: route.candidates.map(({ weight, hop, destination }): Candidate => ({
        weight,
        hop,
        destination: this.#workloadOrNull(destination),
      })),
    };
  }

  inbound({ define, route }: Extract<WireAnswer, { kind: "inbound" }>): InboundRoute {
    this.#define(define);
    return {
      ...route,
      source: this.#workloadOrNull(route.source),
      destination: this.#workload(route.destination),
      service: this.#serviceOrNull(route.service),
      policies: this.#policies.get(route.policies),
    };
  }

  /** To be called for every answer, also where nobody waits for it any longer: later ones may name what it defines. */
  note(answer: WireAnswer): void {
    if (answer.kind === "outbound" || answer.kind === "inbound") this.#define(answer.define);
  }

  #define({ facts, policies }: Definitions): void {
    for (const [slot, value] of facts) this.#facts.define(slot, value);
    for (const [slot, value] of policies) this.#policies.define(slot, value);
  }

  #workload(slot: number): WorkloadFacts {
    return this.#facts.get(slot) as WorkloadFacts;
  }

  #workloadOrNull(slot: number): WorkloadFacts | null {
    return slot === NONE ? null : this.#workload(slot);
  }

  #serviceOrNull(slot: number): ServiceFacts | null {
    return slot === NONE ? null : this.#facts.get(slot) as ServiceFacts;
  }
}

/** At most {@link CANDIDATES_MAX}: a sample, drawn anew for each question, keeps the proportions on average. */
function boundedCandidates(
  candidates: readonly Candidate[],
  random: Random,
): readonly Candidate[] {
  if (candidates.length <= CANDIDATES_MAX) return candidates;
  const sums: number[] = [];
  let sum = 0;
  for (const { weight } of candidates) sums.push(sum += weight);
  return Array.from({ length: CANDIDATES_MAX }, () => {
    const drawn = randomPoint(random, sum);
    let low = 0;
    let high = sums.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sums[middle]! > drawn) high = middle;
      else low = middle + 1;
    }
    return { ...candidates[low]!, weight: 1 };
  });
}
