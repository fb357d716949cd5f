// What a simulated connection does to its bytes: values, drawn by a test, obeyed by the pipes.

/** How a dial ends: `vanish` leaves it to its own deadline, as dropped packets do. */
export type ConnectFate = "accept" | "refuse" | "unreachable" | "vanish";

/** How one connection behaves, decided when it is dialled. All times in milliseconds, all sizes in octets. */
export interface LinkPlan {
  readonly connect: ConnectFate;
  /** From the dial to its outcome. */
  readonly connectMs: number;
  /** Each written piece arrives this much later, drawn uniformly; order is kept. */
  readonly delayMinMs: number;
  readonly delayMaxMs: number;
  /** Arrivals wait for the next multiple of this, so that pieces meet and coalesce; 0 for no waiting. */
  readonly coalesceMs: number;
  /** One `onData` gives between these many octets, drawn uniformly, or what has arrived if that is less. */
  readonly deliverMinBytes: number;
  readonly deliverMaxBytes: number;
  /** Octets the "kernel" holds per direction: beyond it a write answers false. */
  readonly capacityBytes: number;
  /** True when a RST discards what the receiver has not read; false when that is delivered first. Real ones do either. */
  readonly resetDropsUnread: boolean;
}

/** Largest delivery: one block of the fabric's pool. */
export const DELIVER_BYTES_MAX = 32_768;

/** Nothing in the way: everything arrives in the next turn, whole. */
export const PERFECT_LINK: LinkPlan = Object.freeze({
  connect: "accept",
  connectMs: 0,
  delayMinMs: 0,
  delayMaxMs: 0,
  coalesceMs: 0,
  deliverMinBytes: DELIVER_BYTES_MAX,
  deliverMaxBytes: DELIVER_BYTES_MAX,
  capacityBytes: 65_536,
  resetDropsUnread: false,
});
