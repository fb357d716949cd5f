// The `traceparent` header: one trace id per user connection, the same on both nodes (spec/data-path §1.6).
import type { Random } from "../base/random.ts";

const FORM = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$/i;

/** A trace id, and the header that carries it. */
export interface TraceParent {
  /** 32 lower-case hex digits. */
  readonly traceId: string;
  readonly header: string;
}

/** Draws a new one. */
export function newTraceParent(random: Random): TraceParent {
  const traceId = hex32(random) + hex32(random) + hex32(random) + hex32(random);
  return { traceId, header: `00-${traceId}-${hex32(random)}${hex32(random)}-00` };
}

/** The trace id of a received header; null for anything that is not exactly of its form. */
export function receivedTraceId(value: string | null): string | null {
  const match = value === null ? null : FORM.exec(value);
  return match === null ? null : match[1]!.toLowerCase();
}

/** Each octet's two digits. */
const HEX = Array.from({ length: 256 }, (_, octet) => octet.toString(16).padStart(2, "0"));

function hex32(random: Random): string {
  const drawn = random.uint32();
  return HEX[drawn >>> 24]! + HEX[drawn >>> 16 & 255]! + HEX[drawn >>> 8 & 255]! +
    HEX[drawn & 255]!;
}
