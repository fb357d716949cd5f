// Whatever changes, and however late it is heard: nobody gets a route that a change they could know of has touched.
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Cancel, Done } from "../base/channel.ts";
import { ProxyError } from "../base/errors.ts";
import { VirtualClock } from "../base/virtual_clock.ts";
import type { Route } from "../seam/route.ts";
import type { OutboundQuestion, Router, StateChange } from "../seam/router.ts";
import { spiffeId } from "../tls/spiffe_id.ts";
import { RouteCache } from "./route_cache.ts";

const LOCAL = { namespace: "default", name: "client", serviceAccount: "client" };
const IDENTITY = spiffeId({ trustDomain: "td", namespace: "default", serviceAccount: "client" });
const KEYS = 5;
const DEPENDENCIES = 6;

/**
 * As another isolate's: changes and answers are heard late, in order. As the same isolate's: answers are, and changes at
 * once, so that one may overtake answers compiled before it.
 */
class LateRouter {
  readonly clock = new VirtualClock();
  readonly history: StateChange[] = [];
  /** The generation that the cache has heard of. */
  heard = 1;
  generation = 1;
  asked = 0;
  readonly #sameIsolate: boolean;
  readonly #random: () => number;
  readonly #onTheWay: (() => void)[] = [];
  readonly #questions: (() => void)[] = [];
  #listener: (change: StateChange) => void = () => {};
  /** What the answer of each key depends on now. */
  readonly #dependsOn: string[][] = Array.from({ length: KEYS }, () => []);

  constructor(sameIsolate: boolean, random: () => number) {
    this.#sameIsolate = sameIsolate;
    this.#random = random;
    for (let key = 0; key < KEYS; key++) this.#draw(key);
  }

  outbound({ destination }: OutboundQuestion, done: Done<Route>): Cancel {
    this.asked++;
    let cancelled = false;
    this.#questions.push(() => {
      const { generation } = this;
      const dependsOn = this.#dependsOn[destination.port]!;
      const answer: Route = {
        generation,
        dependsOn,
        source: { identity: IDENTITY } as Route["source"],
        candidates: [],
        service: null,
      };
      this.#onTheWay.push(() => {
        if (!cancelled) done(answer);
      });
    });
    return { cancel: () => void (cancelled = true) };
  }

  onChange(listener: (change: StateChange) => void): Cancel {
    this.#listener = listener;
    return { cancel() {} };
  }

  /** A question arrives and is answered from the state as it is. */
  compile(): void {
    this.#questions.shift()?.();
  }

  change(touched: readonly string[] | null): void {
    const change = { generation: ++this.generation, policies: false, touched };
    this.history.push(change);
    // An answer may depend on other things after a change of what it depended on.
    this.#dependsOn.forEach((before, key) => {
      if (touched === null || before.some((each) => touched.includes(each))) this.#draw(key);
    });
    const hear = () => {
      this.heard = change.generation;
      this.#listener(change);
    };
    if (this.#sameIsolate) hear();
    else this.#onTheWay.push(hear);
  }

  /** The next answer or change is heard. */
  deliver(): boolean {
    const next = this.#onTheWay.shift();
    next?.();
    this.clock.runUntilIdle();
    return next !== undefined;
  }

  settle(): void {
    while (this.#questions.length > 0) this.compile();
    while (this.deliver());
  }

  #draw(key: number): void {
    const count = this.#random() % 4;
    this.#dependsOn[key] = Array.from({ length: count }, () => `d${this.#random() % DEPENDENCIES}`);
  }
}

type Step =
  | { readonly kind: "ask"; readonly key: number; readonly patience: number }
  | { readonly kind: "change"; readonly touched: readonly string[] | null }
  | { readonly kind: "compile" | "deliver" };

const STEPS: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant("ask" as const),
        key: fc.nat(KEYS - 1),
        patience: fc.nat(9),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant("change" as const),
        touched: fc.option(
          fc.array(fc.nat(DEPENDENCIES - 1).map((each) => `d${each}`), { maxLength: 3 }),
          { freq: 12 },
        ),
      }),
    },
    { weight: 4, arbitrary: fc.constant({ kind: "compile" as const }) },
    { weight: 5, arbitrary: fc.constant({ kind: "deliver" as const }) },
  ),
  { minLength: 60, maxLength: 150 },
);

Deno.test.each([{ where: "the same isolate" }, { where: "another isolate" }])(
  "RouteCache over a router in $where never gives an answer that a change heard before the question has touched",
  ({ where }) => {
    let remembered = 0;
    fc.assert(
      fc.property(STEPS, fc.integer({ min: 1, max: 2 ** 31 - 1 }), (steps, seed) => {
        let state = seed;
        const late = new LateRouter(
          where === "the same isolate",
          () => state = Math.imul(state, 48_271) >>> 1,
        );
        const cache = new RouteCache(late as unknown as Router, {
          clock: late.clock,
          routesMax: 4,
        });
        let told = 0;
        let asked = 0;
        for (const step of steps) {
          switch (step.kind) {
            case "ask": {
              const { heard } = late;
              const before = late.asked;
              const destination = { ip: "10.0.0.1", port: step.key };
              const source = { ip: "10.0.0.2", port: 1 };
              const waiting = cache.outbound({ local: LOCAL, source, destination }, (outcome) => {
                if (outcome instanceof ProxyError) throw outcome;
                told++;
                for (const { generation, touched } of late.history) {
                  if (generation <= outcome.generation || generation > heard) continue;
                  const stale = touched === null ||
                    outcome.dependsOn.some((each) => touched.includes(each));
                  assert(!stale, `of ${outcome.generation}, touched by ${generation}`);
                }
              });
              if (late.asked === before) remembered++;
              if (step.patience === 0) waiting.cancel();
              else asked++;
              late.clock.runUntilIdle();
              break;
            }
            case "change":
              late.change(step.touched);
              break;
            case "compile":
              late.compile();
              break;
            case "deliver":
              late.deliver();
          }
        }
        late.settle();
        assertEquals(told, asked);
        cache.close();
      }),
      { numRuns: 500 },
    );
    assert(remembered > 500, `only ${remembered} questions found an answer`);
  },
);
