// The networks on real sockets, for suites that must come out the same on each of them.
import type { Clock } from "../../src/base/clock.ts";
import { SystemClock } from "../../src/base/system_clock.ts";
import { DenoNetwork } from "../../src/net/deno/deno_network.ts";
import type { Network } from "../../src/net/network.ts";
import { NativeTls } from "./native_tls.ts";

export type NetworkKind = "deno" | "native";

/**
 * What suites run on, in one run: `TEST_NETWORK`, else the runtime's own sockets, which need nothing installed.
 * Processes get it as `IO_PROVIDER`.
 */
export const TEST_NETWORK: NetworkKind = networkOf(Deno.env.get("TEST_NETWORK") ?? "deno");

function networkOf(text: string): NetworkKind {
  if (text === "deno" || text === "native") return text;
  throw new Error(`TEST_NETWORK=${text} is neither deno nor native`);
}

/** A network with its clock; what it and its clock catch goes to `onBug`. */
export interface OpenNetwork extends AsyncDisposable {
  readonly network: Network;
  readonly clock: Clock;
  /** Timers set and not run yet. */
  timersWaiting(): number;
}

/** Opens a network of a kind. Everything opened on it is closed before it is disposed of. */
export function openNetwork(kind: NetworkKind, onBug: (error: unknown) => void): OpenNetwork {
  if (kind === "native") {
    const native = new NativeTls({ onBug });
    return {
      network: native.network,
      clock: native.loop.clock,
      timersWaiting: () => native.timersWaiting,
      [Symbol.asyncDispose]: () => native[Symbol.asyncDispose](),
    };
  }
  const clock = new SystemClock({ onBug });
  return {
    network: new DenoNetwork({ clock, onBug }),
    clock,
    timersWaiting: () => clock.waiting,
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
