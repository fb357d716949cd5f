// What each answer of the CA makes of an identity's state, as a table.
import { assert, assertEquals } from "@std/assert";
import type { CertifiedKey } from "../tls/certificate.ts";
import { PrivateKey } from "../tls/private_key.ts";
import { spiffeId } from "../tls/spiffe_id.ts";
import {
  afterFailure,
  afterIssue,
  type CertificateState,
  fetchOutcome,
  REFRESH_WAIT_MIN_MS,
  refreshAtMs,
  type Standing,
  stateText,
} from "./certificate_state.ts";
import { IdentityError } from "./errors.ts";
import { PRIORITY } from "./request_queue.ts";

/** Epoch milliseconds of the moments here. */
const WALL_MS = 1_000_000;
const NOW = { nowMs: 5000, wallMs: WALL_MS, draw: 0.5 };
const DOWN = new IdentityError("CA_DOWN", "down");
const EARLIER = new IdentityError("CA_DOWN", "down before");

/** Begins and ends so many ms from now. */
function certificate(beginsMs: number, endsMs: number): CertifiedKey {
  return {
    identity: spiffeId({ trustDomain: "td", namespace: "ns", serviceAccount: "sa" }),
    chainDer: [],
    chainPem: "",
    key: new PrivateKey(new Uint8Array([1])),
    rootsDer: [],
    rootsPem: "",
    notBeforeMs: WALL_MS + beginsMs,
    notAfterMs: WALL_MS + endsMs,
    generation: 1,
  };
}

function standing(state: CertificateState): Standing {
  return { state, retry: null, early: null };
}

const VALID = certificate(-1000, 60_000);
const EXPIRED = certificate(-1000, 0);
const NEWER = certificate(0, 80_000);
const INITIALIZING: CertificateState = { kind: "initializing", priority: PRIORITY.realTime };
const AVAILABLE: CertificateState = { kind: "available", certificate: VALID };
const EXPIRED_UNREPLACED: CertificateState = { kind: "available", certificate: EXPIRED };
const UNAVAILABLE: CertificateState = { kind: "unavailable", error: EARLIER, held: null };
const UNAVAILABLE_HOLDING: CertificateState = {
  kind: "unavailable",
  error: EARLIER,
  held: EXPIRED,
};

Deno.test.each([
  { from: INITIALIZING, to: { kind: "unavailable", error: DOWN, held: null } as const },
  { from: AVAILABLE, to: AVAILABLE },
  { from: EXPIRED_UNREPLACED, to: { kind: "unavailable", error: DOWN, held: EXPIRED } as const },
  { from: UNAVAILABLE, to: { kind: "unavailable", error: DOWN, held: null } as const },
  { from: UNAVAILABLE_HOLDING, to: { kind: "unavailable", error: DOWN, held: EXPIRED } as const },
])("afterFailure() $from.kind -> $to.kind", ({ from, to }) => {
  const step = afterFailure(standing(from), DOWN, NOW);
  assertEquals(step.state, to);
  assertEquals([step.retry, step.waitMs], [{ failures: 1, sinceMs: NOW.nowMs }, 1000]);
});

Deno.test.each([INITIALIZING, AVAILABLE, EXPIRED_UNREPLACED, UNAVAILABLE, UNAVAILABLE_HOLDING])(
  "afterIssue() $kind -> available",
  (from) => {
    const retry = { failures: 3, sinceMs: 0 };
    const step = afterIssue({ state: from, retry, early: retry }, NEWER, NOW);
    assertEquals(step, {
      state: { kind: "available", certificate: NEWER },
      retry: null,
      early: null,
      waitMs: 40_000,
    });
  },
);

Deno.test.each([
  { what: "one that has expired", issued: EXPIRED, from: INITIALIZING, refused: true },
  { what: "one that ends a moment later", issued: certificate(-9, 1), from: INITIALIZING },
  { what: "one to come, where there is none", issued: certificate(1, 9000), from: INITIALIZING },
  {
    what: "one to come, beside a valid one",
    issued: certificate(1, 9),
    from: AVAILABLE,
    refused: true,
  },
  {
    what: "one to come, beside an expired one",
    issued: certificate(1, 9),
    from: EXPIRED_UNREPLACED,
  },
  { what: "one without times", issued: certificate(NaN, 9000), from: INITIALIZING, refused: true },
  { what: "one without an end", issued: certificate(0, NaN), from: INITIALIZING, refused: true },
])("afterIssue() given $what", ({ issued, from, refused = false }) => {
  const step = afterIssue(standing(from), issued, NOW);
  assertEquals(step.retry !== null, refused);
  assert(step.waitMs >= REFRESH_WAIT_MIN_MS);
});

Deno.test("afterFailure() waits no longer than the certificate at hand lasts", () => {
  const retry = { failures: 9, sinceMs: 0 };
  const { waitMs } = afterFailure({ state: AVAILABLE, retry, early: null }, DOWN, NOW);
  assertEquals(waitMs, 60_000);
});

Deno.test.each([
  { name: "half of its life", given: certificate(0, 100), expected: 50 },
  {
    name: "its end, where that lies before its start",
    given: certificate(0, -100),
    expected: -100,
  },
])("refreshAtMs() is $name", ({ given, expected }) => {
  assertEquals(refreshAtMs(given) - WALL_MS, expected);
});

Deno.test.each([
  { state: INITIALIZING, text: "Initializing", outcome: null },
  { state: AVAILABLE, text: "Available", outcome: VALID },
  { state: UNAVAILABLE, text: "Unavailable: down before", outcome: EARLIER },
  { state: UNAVAILABLE_HOLDING, text: "Unavailable: down before", outcome: EARLIER },
  {
    state: { kind: "unavailable", error: EARLIER, held: VALID } as const,
    text: "Available",
    outcome: VALID,
  },
])("stateText() $state.kind, $text", ({ state, text, outcome }) => {
  assertEquals(stateText(state, WALL_MS), text);
  assert(fetchOutcome(state, WALL_MS) === outcome);
});
