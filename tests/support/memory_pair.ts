// Two connected ends of the memory network, and a mesh of hosts, for tests.
import { assert, assertEquals } from "@std/assert";
import type { SocketAddress } from "../../src/base/address.ts";
import type { Channel, Done } from "../../src/base/channel.ts";
import { ProxyError } from "../../src/base/errors.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { VirtualClock } from "../../src/base/virtual_clock.ts";
import type { Link } from "../../src/net/memory/link.ts";
import { type LinkPlan, PERFECT_LINK } from "../../src/net/memory/link_plan.ts";
import { MemoryFabric } from "../../src/net/memory/memory_fabric.ts";
import type { MemoryNetwork } from "../../src/net/memory/memory_network.ts";
import type { ChannelPair } from "./channel_contract.ts";

/** Virtual time after which a wait of a test is taken for endless, in milliseconds. */
const WAIT_MS_MAX = 3_600_000;

export const SERVER_ADDRESS: SocketAddress = { ip: "10.0.0.2", port: 80 };

export interface MemoryPair extends ChannelPair {
  readonly clock: VirtualClock;
  readonly fabric: MemoryFabric;
  readonly link: Link;
  /** The hosts of `a` and `b`. */
  readonly clientNetwork: MemoryNetwork;
  readonly serverNetwork: MemoryNetwork;
  drive(condition: () => boolean): void;
  settle(): void;
  dispose(): void;
}

/** Collects the outcome of something with a completion callback. */
export class Outcome<Value> {
  readonly values: (Value | ProxyError)[] = [];
  readonly done: Done<Value> = (value) => void this.values.push(value);

  /** The value, which must have come, once, and be no error. */
  get value(): Value {
    const only = this.only;
    if (only instanceof ProxyError) throw only;
    return only as Value;
  }

  /** The error, which must have come, once. */
  get error(): ProxyError {
    const only = this.only;
    assert(only instanceof ProxyError, "expected an error");
    return only as ProxyError;
  }

  get only(): Value | ProxyError {
    assertEquals(this.values.length, 1, "outcomes");
    return this.values[0]!;
  }
}

/** Runs `clock` until `condition` holds. */
export function driveClock(clock: VirtualClock, condition: () => boolean): void {
  const limitMs = clock.nowMs() + WAIT_MS_MAX;
  clock.runUntilIdle();
  while (!condition()) {
    assert(
      clock.advanceToNext(limitMs),
      "Nothing more will happen, and the condition does not hold",
    );
  }
}

/** Dials between two hosts; `plan` overrides single properties of a perfect link. */
export function memoryPair(plan: Partial<LinkPlan> = {}, seed = 1): MemoryPair {
  const clock = new VirtualClock();
  const fabric = new MemoryFabric({
    clock,
    random: new SeededRandom(seed),
    plan: () => ({ ...PERFECT_LINK, ...plan }),
  });
  const client = fabric.network({ label: "client", ips: ["10.0.0.1"] });
  const server = fabric.network({ label: "server", ips: [SERVER_ADDRESS.ip] });
  const accepted: Channel[] = [];
  const listening = new Outcome<{ close(): void }>();
  server.listen(
    SERVER_ADDRESS,
    { backlog: 16, keepalive: null },
    (channel) => accepted.push(channel),
    listening.done,
  );
  clock.runUntilIdle();
  const dialled = new Outcome<Channel>();
  client.dial(
    SERVER_ADDRESS,
    { timeoutMs: 60_000, keepalive: null, sourceIp: null },
    dialled.done,
  );
  driveClock(clock, () => dialled.values.length === 1 && accepted.length === 1);
  return {
    a: dialled.value,
    b: accepted[0]!,
    clock,
    fabric,
    link: [...fabric.links][0]!,
    clientNetwork: client,
    serverNetwork: server,
    drive: (condition) => driveClock(clock, condition),
    settle: () => clock.advance(60_000),
    dispose() {
      listening.value.close();
      clock.advance(WAIT_MS_MAX);
      assertEquals(
        { sockets: fabric.openSockets, blocks: fabric.pool.lent, timers: clock.pendingTimers },
        { sockets: 0, blocks: 0, timers: 0 },
      );
    },
  };
}
