// The networks on real sockets, for suites that must come out the same on each of them.
import type { Clock } from "../../src/base/clock.ts";
import { SystemClock } from "../../src/base/system_clock.ts";
import { DenoNetwork } from "../../src/net/deno/deno_network.ts";
import type { Network } from "../../src/net/network.ts";
import { NativeTls } from "./native_tls.ts";

export type NetworkKind = "deno" | "native";

/** Kinds that a suite runs on, in the order of their first line in the table of contents. */
export const NETWORK_KINDS: readonly NetworkKind[] = ["deno", "native"];

/** A network with its clock; what it and its clock catch goes to `onBug`. */
export interface OpenNetwork extends AsyncDisposable {
  readonly network: Network;
  readonly clock: Clock;
}

/** Opens a network of a kind. Everything opened on it is closed before it is disposed of. */
export function openNetwork(kind: NetworkKind, onBug: (error: unknown) => void): OpenNetwork {
  if (kind === "native") {
    const native = new NativeTls({ onBug });
    return {
      network: native.network,
      clock: native.loop.clock,
      [Symbol.asyncDispose]: () => native[Symbol.asyncDispose](),
    };
  }
  const clock = new SystemClock({ onBug });
  return {
    network: new DenoNetwork({ clock, onBug }),
    clock,
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** Registers a test for each network; its name tells which one. */
export function testOnEachNetwork(
  name: string,
  body: (kind: NetworkKind) => Promise<void>,
): void {
  for (const kind of NETWORK_KINDS) Deno.test(`[${kind}] ${name}`, () => body(kind));
}
