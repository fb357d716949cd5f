// What the items of an event batch mean: one flat array of numbers and texts, cheap to build and to clone.
import type { ConnectionFacts, LogLevel, ResponseFlag } from "../seam/events.ts";

/** One item of a batch. An absent text is {@link ABSENT}. */
export type EventItem = number | string;

/** Stands for null, where a text or a slot could be. */
export const ABSENT = -1;

/** The first item of each event; what follows is written beside it. Booleans are 0 and 1. */
export const EVENT = {
  /** slot, trust domain, namespace, service account */
  identity: 1,
  /** slot, slot of the identity, uid, name, namespace, trust domain, service account, then the other 7 texts */
  workload: 2,
  /** slot, hostname, name, namespace */
  service: 3,
  /** slot, 8 texts or absents */
  baggage: 4,
  /**
   * plane, record, direction, protocol, listener, mutual TLS, source ip, port, destination ip, port, HBONE
   * authority, 7 slots, trace id
   */
  opened: 5,
  /** record, octets to the server, to the client, duration in ms, flag, error's code, name and message */
  closed: 6,
  /** plane, direction, source ip, port, destination ip, port, error's code, name and message */
  failedEarly: 7,
  /** plane, level, scope, message, number of fields; each field: key, kind of value, value */
  log: 8,
  /** record, octets to the server, to the client: so far */
  bytes: 9,
} as const;

/** Slots for facts that were sent, in one data-plane isolate. */
export const INTERNED_MAX = 4096;
/** Facts that one opened connection names at most, identities of its workloads included. */
export const INTERNED_PER_EVENT_MAX = 16;
/** Fields of one log line; further ones are left out. */
export const LOG_FIELDS_MAX = 32;

/** Positions in the tables below cross the border. */
export const DIRECTIONS = ["outbound", "inbound"] as const;
export const PROTOCOLS = ["TCP", "HBONE", "DOUBLEHBONE"] as const;
export const LISTENERS = ["outbound", "socks5", "inbound", "inbound plaintext"] as const;
export const LEVELS = ["trace", "debug", "info", "warn", "error"] as const;
export const FLAGS = [
  "-",
  "DENY",
  "CONNECT",
  "TLS_FAILURE",
  "H2_HANDSHAKE_FAILURE",
  "NETWORK_POLICY",
  "IDENTITY_ERROR",
  "CERT_REVOKED",
] as const;

/** Kinds of a log field's value. */
export const LOG_VALUE = { text: 0, number: 1, boolean: 2, unquoted: 3 } as const;

// Whatever the seam may say has a code, or this does not compile.
type Covers<Said extends Coded, Coded> = Said;
/** Holds the tables to the seam's types. */
export type CodesCoverTheSeam = [
  Covers<ConnectionFacts["direction"], typeof DIRECTIONS[number]>,
  Covers<ConnectionFacts["protocol"], typeof PROTOCOLS[number]>,
  Covers<ConnectionFacts["listener"], typeof LISTENERS[number]>,
  Covers<LogLevel, typeof LEVELS[number]>,
  Covers<ResponseFlag, typeof FLAGS[number]>,
];
