// The data plane's Events, gathered into batches for the control isolate (design §3.5).
import { assert } from "../base/assert.ts";
import type { Clock, Timer } from "../base/clock.ts";
import type { ProxyError } from "../base/errors.ts";
import type {
  BaggageFacts,
  ConnectionEnd,
  ConnectionRecord,
  EarlyFailure,
  Events,
  LogLevel,
  LogValue,
} from "../seam/events.ts";
import type { ServiceFacts, WorkloadFacts } from "../seam/workload.ts";
import type { SpiffeId } from "../tls/spiffe_id.ts";
import { cutText } from "./errors.ts";
import {
  ABSENT,
  DIRECTIONS,
  EVENT,
  type EventItem,
  FLAGS,
  INTERNED_MAX,
  INTERNED_PER_EVENT_MAX,
  LEVELS,
  LISTENERS,
  LOG_FIELDS_MAX,
  LOG_VALUE,
  PROTOCOLS,
} from "./event_codes.ts";
import { SlotSender } from "./slot_ring.ts";

/** Events of one batch. */
export const BATCH_EVENTS_MAX = 512;
/** Characters kept of each text of a peer's baggage: names and labels of Kubernetes have 253 at most. */
export const BAGGAGE_CHARS_MAX = 512;
/** How long an event may wait for others, in ms. */
export const FLUSH_MS = 10;
/** Batches on their way to a reader who has not said that it read them; beyond, they wait here. */
export const UNREAD_BATCHES_MAX = 32;
/** Full batches that wait here, 1,048,576 events; beyond, the control isolate is taken for dead. */
export const HELD_BATCHES_MAX = 2048;
/** The reader tells of so many batches at a time; so it may owe one less. */
export const READ_BATCHES_TOLD = 8;

/** A live record's place. */
interface Live {
  readonly record: ConnectionRecord;
  sentToServer: number;
  sentToClient: number;
}

export interface EventWriterOptions {
  readonly clock: Clock;
  /** Takes a batch over. */
  readonly post: (items: EventItem[]) => void;
  /** The reader fell behind (true: accept nothing new) or caught up (false). */
  readonly onBehind: (behind: boolean) => void;
  /** {@link HELD_BATCHES_MAX} was reached: nothing can be kept any longer. */
  readonly onOverflow: () => void;
}

/**
 * Gathers the events of all planes of an isolate. An open or a close is never lost, and their order stays. While the
 * reader is behind, byte counts merge and lines below `info` are left out (and counted).
 */
export class EventWriter {
  readonly #options: EventWriterOptions;
  readonly #slots = new SlotSender<object | string>({
    slots: INTERNED_MAX,
    newcomersMax: INTERNED_PER_EVENT_MAX,
  });
  /** By the record's number, which is its mark. No Map: `base/roster.ts` says why. */
  readonly #live: (Live | null)[] = [];
  /** Record numbers that are free again; the reader frees them with the same event. */
  readonly #freeNumbers: number[] = [];
  readonly #held: EventItem[][] = [];
  #items: EventItem[] = [];
  #events = 0;
  #unread = 0;
  #behind = false;
  #linesLeftOut = 0;
  #timer: Timer | null = null;
  #level: number = LEVELS.indexOf("trace");
  readonly #flushLate = () => {
    this.#timer = null;
    this.flush();
  };

  constructor(options: EventWriterOptions) {
    this.#options = options;
  }

  /** Connections opened and not closed. */
  get liveRecords(): number {
    return this.#live.length - this.#freeNumbers.length;
  }

  /** Full batches that wait for the reader. */
  get heldBatches(): number {
    return this.#held.length;
  }

  /** Lines below this level are nobody's concern. */
  setLevel(level: LogLevel): void {
    this.#level = LEVELS.indexOf(level);
  }

  /** The events of one plane. */
  eventsOf(plane: number): Events {
    return {
      opened: (record) => this.#opened(plane, record),
      closed: (record, end) => this.#closed(record, end),
      failedEarly: (failure) => this.#failedEarly(plane, failure),
      log: (level, scope, message, fields) => this.#log(plane, level, scope, message, fields),
    };
  }

  /** Tells the octets so far of every live record that moved any since it was last told. Nothing while behind. */
  countBytes(): void {
    if (this.#behind) return;
    for (let number = 0; number < this.#live.length; number++) {
      const live = this.#live[number]!;
      if (live === null) continue;
      const { record } = live;
      const { bytesToServer, bytesToClient } = record;
      if (live.sentToServer === bytesToServer && live.sentToClient === bytesToClient) continue;
      live.sentToServer = bytesToServer;
      live.sentToClient = bytesToClient;
      this.#items.push(EVENT.bytes, number, bytesToServer, bytesToClient);
      this.#added();
    }
  }

  /** Sends what was gathered; it waits here while too much is unread. */
  flush(): void {
    this.#timer?.cancel();
    this.#timer = null;
    if (this.#events === 0) return;
    if (this.#unread >= UNREAD_BATCHES_MAX || this.#held.length > 0) {
      this.#hold();
      return;
    }
    const items = this.#items;
    this.#items = [];
    this.#events = 0;
    this.#send(items);
  }

  /** The reader has read so many batches more. */
  read(batches: number): void {
    assert(batches <= this.#unread, "No more is read than was sent");
    this.#unread -= batches;
    while (this.#held.length > 0 && this.#unread < UNREAD_BATCHES_MAX) {
      this.#send(this.#held.shift()!);
    }
    if (!this.#behind || this.#unread > UNREAD_BATCHES_MAX / 2) return;
    this.#behind = false;
    this.#sayLeftOut();
    this.flush();
    this.#options.onBehind(false);
  }

  /** Sends all there is, however much is unread: at the end of a plane, when nothing may come after it. */
  flushAll(): void {
    for (const items of this.#held.splice(0)) this.#send(items);
    this.#timer?.cancel();
    this.#timer = null;
    if (this.#events === 0) return;
    const items = this.#items;
    this.#items = [];
    this.#events = 0;
    this.#send(items);
  }

  #send(items: EventItem[]): void {
    this.#unread++;
    this.#options.post(items);
  }

  /** A batch that is not full goes on growing: waiting costs no more memory than its events. */
  #hold(): void {
    if (this.#events >= BATCH_EVENTS_MAX) {
      if (this.#held.length >= HELD_BATCHES_MAX) {
        this.#options.onOverflow();
        return;
      }
      this.#held.push(this.#items);
      this.#items = [];
      this.#events = 0;
    }
    if (this.#behind) return;
    this.#behind = true;
    this.#options.onBehind(true);
  }

  #added(): void {
    if (++this.#events >= BATCH_EVENTS_MAX) this.flush();
    else if (this.#timer === null && !this.#behind) {
      this.#timer = this.#options.clock.after(FLUSH_MS, this.#flushLate);
    }
  }

  #opened(plane: number, record: ConnectionRecord): void {
    const { facts } = record;
    const source = this.#workload(facts.source);
    const sourceIdentity = this.#identity(facts.sourceIdentity);
    const sourceBaggage = this.#baggage(facts.sourceBaggage);
    const destination = this.#workload(facts.destination);
    const destinationIdentity = this.#identity(facts.destinationIdentity);
    const destinationBaggage = this.#baggage(facts.destinationBaggage);
    const service = this.#service(facts.service);
    const number = this.#freeNumbers.pop() ?? this.#live.length;
    this.#live[number] = { record, sentToServer: 0, sentToClient: 0 };
    record.mark = number;
    this.#items.push(
      EVENT.opened,
      plane,
      number,
      DIRECTIONS.indexOf(facts.direction),
      PROTOCOLS.indexOf(facts.protocol),
      LISTENERS.indexOf(facts.listener),
      facts.mutualTls ? 1 : 0,
      facts.sourceAddress.ip,
      facts.sourceAddress.port,
      facts.destinationAddress.ip,
      facts.destinationAddress.port,
      facts.hboneAuthority === null ? ABSENT : cutText(facts.hboneAuthority),
      source,
      sourceIdentity,
      sourceBaggage,
      destination,
      destinationIdentity,
      destinationBaggage,
      service,
      facts.traceId,
    );
    this.#added();
  }

  #closed(record: ConnectionRecord, end: ConnectionEnd): void {
    const number = record.mark ?? -1;
    assert(this.#live[number]?.record === record, "A record is closed once, after it was opened");
    this.#live[number] = null;
    this.#freeNumbers.push(number);
    this.#items.push(
      EVENT.closed,
      number,
      record.bytesToServer,
      record.bytesToClient,
      end.durationMs,
      FLAGS.indexOf(end.flag),
    );
    this.#error(end.error);
    this.#added();
  }

  #failedEarly(plane: number, failure: EarlyFailure): void {
    const { sourceAddress, destinationAddress } = failure;
    this.#items.push(
      EVENT.failedEarly,
      plane,
      DIRECTIONS.indexOf(failure.direction),
      sourceAddress.ip,
      sourceAddress.port,
      destinationAddress.ip,
      destinationAddress.port,
    );
    this.#error(failure.error);
    this.#added();
  }

  #error(error: ProxyError | null): void {
    if (error === null) this.#items.push(ABSENT, ABSENT, ABSENT);
    else this.#items.push(error.code, error.name, cutText(error.message));
  }

  #log(
    plane: number,
    level: LogLevel,
    scope: string,
    message: string,
    fields: Readonly<Record<string, LogValue>> = {},
  ): void {
    const rank = LEVELS.indexOf(level);
    if (rank < this.#level) return;
    if (this.#behind && rank < LEVELS.indexOf("info")) {
      this.#linesLeftOut++;
      return;
    }
    const keys = Object.keys(fields).slice(0, LOG_FIELDS_MAX);
    this.#items.push(EVENT.log, plane, rank, scope, cutText(message), keys.length);
    for (const key of keys) this.#field(key, fields[key]!);
    this.#added();
    // What tells of a bug may be the last that this isolate says.
    if (level === "error") this.flush();
  }

  #field(key: string, value: LogValue): void {
    const items = this.#items;
    switch (typeof value) {
      case "string":
        items.push(key, LOG_VALUE.text, cutText(value));
        break;
      case "number":
        items.push(key, LOG_VALUE.number, value);
        break;
      case "boolean":
        items.push(key, LOG_VALUE.boolean, value ? 1 : 0);
        break;
      default:
        items.push(key, LOG_VALUE.unquoted, cutText(value.unquoted));
    }
  }

  #sayLeftOut(): void {
    if (this.#linesLeftOut === 0) return;
    const count = this.#linesLeftOut;
    this.#linesLeftOut = 0;
    const text = "log lines were left out while the control isolate was behind";
    this.#log(0, "warn", "ztunnel::isolate", text, { count });
  }

  // Facts are known again by the object where the object stays (the route cache keeps it), else by what they say.

  #workload(facts: WorkloadFacts | null): number {
    if (facts === null) return ABSENT;
    const known = this.#slots.find(facts);
    if (known >= 0) return known;
    const identity = this.#identity(facts.identity);
    const slot = this.#slots.add(facts);
    this.#items.push(
      EVENT.workload,
      slot,
      identity,
      facts.uid,
      facts.name,
      facts.namespace,
      facts.trustDomain,
      facts.serviceAccount,
      facts.workloadType,
      facts.workloadName,
      facts.canonicalName,
      facts.canonicalRevision,
      facts.clusterId,
      facts.region,
      facts.zone,
    );
    return slot;
  }

  #identity(identity: SpiffeId | null): number {
    if (identity === null) return ABSENT;
    const known = this.#slots.find(identity.uri);
    if (known >= 0) return known;
    const slot = this.#slots.add(identity.uri);
    const { trustDomain, namespace, serviceAccount } = identity;
    this.#items.push(EVENT.identity, slot, trustDomain, namespace, serviceAccount);
    return slot;
  }

  #service(service: ServiceFacts | null): number {
    if (service === null) return ABSENT;
    const known = this.#slots.find(service);
    if (known >= 0) return known;
    const slot = this.#slots.add(service);
    this.#items.push(EVENT.service, slot, service.hostname, service.name, service.namespace);
    return slot;
  }

  #baggage(baggage: BaggageFacts | null): number {
    if (baggage === null) return ABSENT;
    const key = baggageKey(baggage); // The peer's words: what is kept of them is short.
    const known = this.#slots.find(key);
    if (known >= 0) return known;
    const slot = this.#slots.add(key);
    this.#items.push(
      EVENT.baggage,
      slot,
      textOrAbsent(baggage.clusterId),
      textOrAbsent(baggage.namespace),
      textOrAbsent(baggage.workloadType),
      textOrAbsent(baggage.workloadName),
      textOrAbsent(baggage.service),
      textOrAbsent(baggage.revision),
      textOrAbsent(baggage.region),
      textOrAbsent(baggage.zone),
    );
    return slot;
  }
}

function textOrAbsent(text: string | null): EventItem {
  return text === null ? ABSENT : cutText(text, BAGGAGE_CHARS_MAX);
}

/** Equal for equal baggage only: each text is preceded by its length, null by none. Never a SPIFFE URI. */
function baggageKey(baggage: BaggageFacts): string {
  return keyPart(baggage.clusterId) + keyPart(baggage.namespace) +
    keyPart(baggage.workloadType) + keyPart(baggage.workloadName) + keyPart(baggage.service) +
    keyPart(baggage.revision) + keyPart(baggage.region) + keyPart(baggage.zone);
}

function keyPart(text: string | null): string {
  return text === null ? "-" : `${text.length}:${cutText(text, BAGGAGE_CHARS_MAX)}`;
}
