// Proof that a run stands on its own: every door to the runtime's event loop is locked while it lasts.

/** Something under test started a promise, a microtask or a timer of the runtime. */
export class EventLoopUsed extends Error {
  override readonly name = "EventLoopUsed";
}

type Place = { readonly holder: object; readonly key: string };

const globals = globalThis as unknown as Record<string, unknown>;

/** All ways for JavaScript to have something called later. `await` alone cannot be caught: see `await_test.ts`. */
const DOORS: readonly Place[] = [
  ...[
    "Promise",
    "queueMicrotask",
    "setTimeout",
    "setInterval",
    "setImmediate",
    "MessageChannel",
    "fetch",
  ].filter((key) => key in globals).map((key) => ({ holder: globalThis, key })),
  ...["then", "catch", "finally"].map((key) => ({ holder: Promise.prototype, key })),
  ...["resolve", "reject", "all", "race", "any", "withResolvers"].map((key) => ({
    holder: Promise,
    key,
  })),
  ...(process === undefined ? [] : [{ holder: process, key: "nextTick" }]),
];

/** Calls `run`, in which using any of them throws {@link EventLoopUsed}. */
export function withoutEventLoop<Value>(run: () => Value): Value {
  const saved = DOORS.map(({ holder, key }) => Object.getOwnPropertyDescriptor(holder, key));
  const uses: string[] = [];
  for (const { holder, key } of DOORS) {
    // Not an arrow function: `new Promise(…)` must get here too.
    const refuse = function (): never {
      uses.push(key);
      throw new EventLoopUsed(`${key} was used in a synchronous run`);
    };
    // `Promise.resolve` and its like are looked up on what stands in for `Promise`.
    const value = new Proxy(refuse, {
      get: (target, name) => name === "prototype" ? target.prototype : refuse,
    });
    Object.defineProperty(holder, key, { configurable: true, writable: true, value });
  }
  try {
    const value = run();
    // Code that swallows exceptions does not swallow this.
    if (uses.length > 0) throw new EventLoopUsed(`${uses.join(", ")} used in a synchronous run`);
    return value;
  } finally {
    DOORS.forEach(({ holder, key }, index) => {
      const descriptor = saved[index];
      if (descriptor === undefined) delete (holder as Record<string, unknown>)[key];
      else Object.defineProperty(holder, key, descriptor);
    });
  }
}
