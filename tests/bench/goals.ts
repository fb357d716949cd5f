// What the figures must be (issue by issue), as ratios of medians of one run. Pure.
import { DENO, NATIVE, NODE_HTTP2 } from "./arms.ts";
import {
  IDLE_WAKES,
  MEMORY_PER_CONNECTION,
  POOLED_CONNECTIONS,
  TURN_P99,
  UNPOOLED_CONNECTIONS,
  VERIFICATION_SHARE,
} from "./cells.ts";
import type { Goal } from "./report.ts";
import { isAtLeast } from "./tls_library.ts";

/** A mode at 40 ms shows at least this share of samples there, and more than in the band before it. */
const DELAYED_SHARE_MAX = 0.0002;
/** What the comparison with the original is about; older ones take longer for the same records. */
export const OPENSSL_FOR_GOALS = "3.5";

const BULK = [
  "bulk 1 stream forward",
  "bulk 1 stream reverse",
  "bulk 8 streams forward",
  "bulk 8 streams reverse",
];
const PING_PONGS = ["1 KB ping-pong, 1 conn", "1 KB ping-pong, 50 conn"];
const BUSY = PING_PONGS[1]!;

type Limits = { readonly atLeast: number } | { readonly atMost: number };

function ratio(arm: string, against: string, measure: string, limits: Limits): Goal {
  return { name: `${arm} / ${against}: ${measure}`, measure, arm, against, ...limits };
}

/** The default network beside the runtime's own HTTP/2. */
function denoGoals(): Goal[] {
  return [
    ...BULK.flatMap((measure) => [
      ratio(DENO, NODE_HTTP2, measure, { atLeast: 1.6 }),
      ratio(DENO, NODE_HTTP2, `${measure}, CPU both`, { atMost: 0.6 }),
    ]),
    ...PING_PONGS.map((name): Goal => ({
      name: `${DENO}: ${name}, no 40 ms mode`,
      measure: `${name}, 40 ms mode`,
      arm: DENO,
      against: null,
      atMost: DELAYED_SHARE_MAX * 100,
    })),
  ];
}

/** Our own look at the peer's certificates beside what a connection with its handshake costs. */
function verificationGoals(): Goal[] {
  return [DENO, NATIVE].map((arm) => ({
    name: `${arm}: ${VERIFICATION_SHARE}, %`,
    measure: VERIFICATION_SHARE,
    arm,
    against: null,
    atMost: 10,
  }));
}

/** What its loop owes whatever it runs beside. */
function loopGoals(): Goal[] {
  const own = { arm: NATIVE, against: null };
  return [
    { ...own, name: `${NATIVE}: ${IDLE_WAKES}, per second`, measure: IDLE_WAKES, atMost: 2 },
    { ...own, name: `${NATIVE}: ${TURN_P99}, µs`, measure: TURN_P99, atMost: 2_000 },
  ];
}

/** The native network beside the default one. */
function nativeGoals(openSsl: string | null): Goal[] {
  const handshakes = openSsl !== null && isAtLeast(openSsl, OPENSSL_FOR_GOALS) ? 2 : 1.4;
  return [
    ...BULK.map((measure) => ratio(NATIVE, DENO, measure, { atLeast: 1.2 })),
    ratio(NATIVE, DENO, `${BUSY}, requests`, { atLeast: 1.8 }),
    ratio(NATIVE, DENO, `${BUSY}, CPU both`, { atMost: 0.6 }),
    ratio(NATIVE, DENO, POOLED_CONNECTIONS, { atLeast: 2 }),
    ratio(NATIVE, DENO, UNPOOLED_CONNECTIONS, { atLeast: handshakes }),
  ];
}

/** The native network beside the original. */
function originalGoals(original: string): Goal[] {
  return [
    ...BULK.flatMap((measure) => [
      ratio(NATIVE, original, measure, { atLeast: 1.15 }),
      ratio(NATIVE, original, `${measure}, CPU both`, { atMost: 1 }),
    ]),
    ratio(NATIVE, original, `${PING_PONGS[0]}, p50`, { atMost: 1 }),
    ratio(NATIVE, original, `${BUSY}, requests`, { atLeast: 1.5 }),
    ratio(NATIVE, original, `${BUSY}, CPU both`, { atMost: 0.6 }),
    ratio(NATIVE, original, POOLED_CONNECTIONS, { atLeast: 1.4 }),
    ratio(NATIVE, original, MEMORY_PER_CONNECTION, { atMost: 1 }),
  ];
}

/**
 * The goals that this run can judge: those whose arms and measures it had.
 * @param ran.openSsl Version used by the native arm; goals against the original hold from 3.5 on only.
 * @param ran.original Name of the original's arm; null without it. With it only goals against it are judged, since
 *   the others are about loopback.
 */
export function goalsOf(ran: {
  readonly arms: readonly string[];
  readonly measures: readonly string[];
  readonly openSsl: string | null;
  readonly original: string | null;
}): Goal[] {
  const { original, openSsl } = ran;
  const judged = openSsl !== null && isAtLeast(openSsl, OPENSSL_FOR_GOALS);
  const goals = original === null
    ? [...denoGoals(), ...nativeGoals(openSsl), ...verificationGoals(), ...loopGoals()]
    : judged
    ? originalGoals(original)
    : [];
  return goals.filter(({ arm, against, measure }) =>
    ran.arms.includes(arm) && (against === null || ran.arms.includes(against)) &&
    ran.measures.includes(measure)
  );
}
