// How many connections a limit on descriptors leaves room for (design §5).

/** Descriptors kept for everything that is not a connection: this share of the limit … */
export const DESCRIPTOR_RESERVE_SHARE = 0.1;
/** … and at least this many. */
export const DESCRIPTOR_RESERVE_MIN = 64;

/** Connections that may be open for a descriptor limit: all but the reserve, never below 16. */
export function connectionsMaxFor(descriptorsMax: number): number {
  const reserve = Math.max(DESCRIPTOR_RESERVE_MIN, descriptorsMax * DESCRIPTOR_RESERVE_SHARE);
  return Math.max(16, Math.floor(descriptorsMax - reserve));
}
