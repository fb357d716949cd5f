// Messages of the data plane are checked before anything is done with them: it holds ffi, the control isolate does not.
import { parseIp } from "../base/address.ts";
import { MessageError } from "./errors.ts";
import type { FromDataPlane } from "./messages.ts";

/** Characters of a name, address or host name in a question. */
const NAME_CHARS_MAX = 65_536;
const LISTED_POLICIES_MAX = 65_536;

type Check = (value: unknown) => boolean;

const number: Check = (value) => typeof value === "number";
const count: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0;
const descriptorOrNone: Check = (value) => value === -1 || count(value);
const port: Check = (value) => count(value) && (value as number) < 65_536;
const text: Check = (value) => typeof value === "string" && value.length <= NAME_CHARS_MAX;
const flag: Check = (value) => typeof value === "boolean";
const ip: Check = (value) => typeof value === "string" && parseIp(value) === value;
const items: Check = (value) => Array.isArray(value);

function oneOf(...values: readonly unknown[]): Check {
  return (value) => values.includes(value);
}

function orNull(check: Check): Check {
  return (value) => value === null || check(value);
}

function listOf(check: Check, lengthMax: number): Check {
  return (value) => Array.isArray(value) && value.length <= lengthMax && value.every(check);
}

function shape(fields: Readonly<Record<string, Check>>): Check {
  const checks = Object.entries(fields);
  return (value) =>
    typeof value === "object" && value !== null &&
    checks.every(([name, check]) => check((value as Record<string, unknown>)[name]));
}

function recordOf(check: Check): Check {
  return (value) =>
    typeof value === "object" && value !== null && Object.values(value).every(check);
}

/** Told apart by `kind`. */
function kinds(shapes: Readonly<Record<string, Readonly<Record<string, Check>>>>): Check {
  const checks = new Map(Object.entries(shapes).map(([kind, fields]) => [kind, shape(fields)]));
  return (value) => {
    const kind: unknown = (value as { kind?: unknown } | null)?.kind;
    return typeof kind === "string" && (checks.get(kind)?.(value) ?? false);
  };
}

const address = shape({ ip, port });
const local = shape({ namespace: text, name: text, serviceAccount: text });
const error = shape({ name: text, code: text, message: text, route: flag });
const listener = orNull(shape({ address, transparent: flag }));

const question = kinds({
  localWorkload: { local },
  outbound: { question: shape({ local, source: address, destination: address }) },
  inbound: {
    question: shape({
      local,
      localIp: ip,
      peerIp: ip,
      authority: kinds({ address: { address }, hostname: { hostname: text, port } }),
      forwardedHost: orNull(text),
      fromGateway: flag,
    }),
  },
  inboundPlaintext: { question: shape({ local, peerIp: ip, destination: address }) },
  policies: { selection: shape({ namespace: text, listed: listOf(text, LISTED_POLICIES_MAX) }) },
  resolve: { local, name: text, family: oneOf(4, 6) },
  resolveHost: {
    question: shape({ local, hostname: text, workloadUid: text, family: oneOf(4, 6) }),
  },
});

/** One row for each message; the type makes sure that none is forgotten. */
const SHAPES: Readonly<Record<FromDataPlane["kind"], Readonly<Record<string, Check>>>> = {
  opened: {
    wakeFd: descriptorOrNone,
    info: shape({ openssl: text, fips: orNull(text), policy: oneOf("default", "pqc") }),
  },
  failed: { code: text, message: text },
  planeOpened: {
    plane: count,
    listeners: shape({
      inbound: listener,
      inboundPlaintext: listener,
      outbound: listener,
      socks5: listener,
    }),
  },
  planeFailed: { plane: count, error },
  planeEnded: { plane: count },
  stats: { request: count, stats: recordOf(number) },
  revoked: { counts: shape({ source: count, destination: count }) },
  gone: { request: count },
  certificateWanted: { plane: count },
  ask: { router: count, question: count, about: question },
  cancel: { question: count },
  events: { items },
  pong: {
    heapUsedBytes: count,
    heapLimitBytes: count,
    health: shape({
      loop: shape({ turns: number, wakes: number, turnP99Us: number, turnMaxUs: number }),
      nativeObjects: recordOf(count),
    }),
  },
  bug: { stack: text },
  refused: { count, connectionsMax: count },
  dying: { reason: text },
  closed: { leaked: recordOf(count) },
};

const isMessage = kinds(SHAPES);

/**
 * The message, if it is one. What the items of `events` mean is for `EventReader` to check.
 * @throws {MessageError} which names its kind and shows nothing of it.
 */
export function checkMessage(value: unknown): FromDataPlane {
  if (isMessage(value)) return value as FromDataPlane;
  const kind: unknown = (value as { kind?: unknown } | null)?.kind;
  const known = typeof kind === "string" && Object.hasOwn(SHAPES, kind);
  throw new MessageError(
    known
      ? `Cannot read a message of kind ${kind} of the data plane: a field is not what it must be`
      : "Cannot read a message of the data plane: there is no such kind",
  );
}
