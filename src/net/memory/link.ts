// A simulated TCP connection: its two ends, and the hand that disturbs it.
import type { SocketAddress } from "../../base/address.ts";
import type { Clock } from "../../base/clock.ts";
import type { Random } from "../../base/random.ts";
import type { Keepalive } from "../network.ts";
import type { LinkPlan } from "./link_plan.ts";
import { MemoryChannel } from "./memory_channel.ts";
import { Pipe } from "./pipe.ts";
import type { PoisonedBlockPool } from "./poisoned_pool.ts";

export interface LinkParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly pool: PoisonedBlockPool;
  readonly plan: LinkPlan;
  /** The dialling end's address, and the one it dialled. */
  readonly client: SocketAddress;
  readonly server: SocketAddress;
  /** What the accepting end takes for its own address: another one where it was redirected. */
  readonly serverLocal: SocketAddress;
  readonly clientKeepalive: Keepalive | null;
  readonly serverKeepalive: Keepalive | null;
  /** Called once per end. */
  readonly onEndGone: (end: "client" | "server") => void;
}

/** Which way bytes go. */
export type LinkDirection = "toServer" | "toClient";

/** One connection of the fabric. Faults may be given at any time and in any combination. */
export class Link {
  readonly plan: LinkPlan;
  readonly client: SocketAddress;
  readonly server: SocketAddress;
  readonly clientEnd: MemoryChannel;
  readonly serverEnd: MemoryChannel;
  readonly #clock: Clock;
  readonly #toServer: Pipe;
  readonly #toClient: Pipe;

  constructor(parts: LinkParts) {
    const { clock, random, pool, plan, client, server } = parts;
    this.plan = plan;
    this.client = client;
    this.server = server;
    this.#clock = clock;
    this.#toServer = new Pipe(plan, random);
    this.#toClient = new Pipe(plan, random);
    this.clientEnd = new MemoryChannel({
      clock,
      pool,
      plan,
      peer: server,
      local: client,
      incoming: this.#toClient,
      outgoing: this.#toServer,
      keepalive: parts.clientKeepalive,
      onGone: () => parts.onEndGone("client"),
    });
    this.serverEnd = new MemoryChannel({
      clock,
      pool,
      plan,
      peer: client,
      local: parts.serverLocal,
      incoming: this.#toServer,
      outgoing: this.#toClient,
      keepalive: parts.serverKeepalive,
      onGone: () => parts.onEndGone("server"),
    });
    MemoryChannel.join(this.clientEnd, this.serverEnd);
  }

  /** Octets on the way or unread, per direction: never above the plan's capacity. */
  heldBytes(direction: LinkDirection): number {
    return this.#pipe(direction).heldBytes;
  }

  /** RST to both ends at once; what is under way is lost. */
  reset(): void {
    for (const pipe of [this.#toServer, this.#toClient]) pipe.resetNow(this.#clock.nowMs());
    this.#notice(false);
  }

  /** Packets vanish from now on, in one direction or both; nobody is told. */
  cutSilently(direction?: LinkDirection): void {
    for (const each of ["toServer", "toClient"] as const) {
      if (direction === undefined || direction === each) this.#pipe(each).cut(this.#clock.nowMs());
    }
    this.#notice(true);
  }

  /** What is written in the next `forMs` milliseconds arrives after them, in one direction or both. */
  stall(forMs: number, direction?: LinkDirection): void {
    for (const each of ["toServer", "toClient"] as const) {
      if (direction !== undefined && direction !== each) continue;
      this.#pipe(each).stall(this.#clock.nowMs() + forMs);
    }
  }

  #pipe(direction: LinkDirection): Pipe {
    return direction === "toServer" ? this.#toServer : this.#toClient;
  }

  #notice(cut: boolean): void {
    this.clientEnd.noticePlanChange(cut);
    this.serverEnd.noticePlanChange(cut);
  }
}
