// Which name server is asked first: those that answered last, the quicker ones before the slower.
import type { SocketAddress } from "../base/address.ts";
import type { Clock } from "../base/clock.ts";

/** A server that failed comes after the others for so long, in milliseconds. */
export const FAILED_MS = 30_000;

/** How much of a new round trip goes into the mean. */
const NEW_SHARE = 0.3;

interface KnownServer {
  readonly address: SocketAddress;
  meanMs: number | null;
  failedMs: number | null;
}

export class NameServers {
  readonly #clock: Clock;
  readonly #servers: readonly KnownServer[];

  constructor(addresses: readonly SocketAddress[], clock: Clock) {
    this.#clock = clock;
    this.#servers = addresses.map((address) => ({ address, meanMs: null, failedMs: null }));
  }

  /** All of them, best first; as listed while nothing is known. */
  ranked(): SocketAddress[] {
    const nowMs = this.#clock.nowMs();
    const rank = ({ meanMs, failedMs }: KnownServer) =>
      failedMs !== null && nowMs - failedMs < FAILED_MS ? Infinity : meanMs ?? 0;
    return this.#servers.map((server) => ({ address: server.address, rank: rank(server) }))
      .sort((a, b) => a.rank === b.rank ? 0 : a.rank - b.rank)
      .map(({ address }) => address);
  }

  /** @param roundTripMs Null: it failed. */
  heard(address: SocketAddress, roundTripMs: number | null): void {
    const server = this.#servers.find((known) => known.address === address);
    if (server === undefined) return;
    if (roundTripMs === null) {
      server.failedMs = this.#clock.nowMs();
      return;
    }
    server.failedMs = null;
    server.meanMs = server.meanMs === null
      ? roundTripMs
      : server.meanMs * (1 - NEW_SHARE) + roundTripMs * NEW_SHARE;
  }
}
