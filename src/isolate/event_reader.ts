// Batches of a data plane's events, turned back into calls of each plane's Events.
import type { SocketAddress } from "../base/address.ts";
import type { ProxyError } from "../base/errors.ts";
import type { BaggageFacts, ConnectionRecord, Events, LogValue } from "../seam/events.ts";
import type { ServiceFacts, WorkloadFacts } from "../seam/workload.ts";
import { type SpiffeId, spiffeId } from "../tls/spiffe_id.ts";
import { MessageError, RemoteError } from "./errors.ts";
import {
  ABSENT,
  DIRECTIONS,
  EVENT,
  type EventItem,
  FLAGS,
  INTERNED_MAX,
  LEVELS,
  LISTENERS,
  LOG_FIELDS_MAX,
  LOG_VALUE,
  PROTOCOLS,
} from "./event_codes.ts";
import { SlotReader } from "./slot_ring.ts";

/** Live connections that a data plane may tell of: all that its planes may hold. */
export const RECORDS_MAX = 1_048_576;

interface LiveRecord extends ConnectionRecord {
  /** Whoever is told of it. */
  readonly events: Events;
}

/**
 * Reads what an `EventWriter` wrote. The records it gives are updated until they are closed. Nothing in a batch is
 * trusted: what cannot be is a {@link MessageError}, and then nothing more of this data plane can be read.
 */
export class EventReader {
  readonly #eventsOf: (plane: number) => Events | null;
  readonly #identities = new SlotReader<SpiffeId>(INTERNED_MAX);
  readonly #workloads = new SlotReader<WorkloadFacts>(INTERNED_MAX);
  readonly #services = new SlotReader<ServiceFacts>(INTERNED_MAX);
  readonly #baggages = new SlotReader<BaggageFacts>(INTERNED_MAX);
  /** By number, without gaps: the writer takes free numbers first. No Map: `base/roster.ts` says why. */
  readonly #records: (LiveRecord | null)[] = [];
  #live = 0;
  #items: readonly EventItem[] = [];
  #at = 0;

  /** @param eventsOf The consumer of a plane's events; null where there is no such plane. */
  constructor(eventsOf: (plane: number) => Events | null) {
    this.#eventsOf = eventsOf;
  }

  /** Connections opened and not closed. */
  get liveRecords(): number {
    return this.#live;
  }

  /** @throws {MessageError} */
  read(items: readonly EventItem[]): void {
    this.#items = items;
    this.#at = 0;
    while (this.#at < items.length) this.#event();
    this.#items = [];
  }

  #event(): void {
    const kind = this.#number();
    switch (kind) {
      case EVENT.identity:
        return this.#identities.define(this.#number(), this.#readIdentity());
      case EVENT.workload:
        return this.#workloads.define(this.#number(), this.#readWorkload());
      case EVENT.service:
        return this.#services.define(this.#number(), this.#readService());
      case EVENT.baggage:
        return this.#baggages.define(this.#number(), this.#readBaggage());
      case EVENT.opened:
        return this.#opened();
      case EVENT.closed:
        return this.#closed();
      case EVENT.failedEarly:
        return this.#failedEarly();
      case EVENT.log:
        return this.#log();
      case EVENT.bytes:
        return this.#bytes(this.#record());
      default:
        throw new MessageError(`Cannot read events: there is no kind ${kind}`);
    }
  }

  #opened(): void {
    const events = this.#plane();
    const number = this.#count(Math.min(RECORDS_MAX, this.#records.length + 1));
    if ((this.#records[number] ?? null) !== null) {
      throw new MessageError(`Record ${number} is opened twice`);
    }
    const record: LiveRecord = {
      facts: {
        direction: this.#of(DIRECTIONS),
        protocol: this.#of(PROTOCOLS),
        listener: this.#of(LISTENERS),
        mutualTls: this.#flag(),
        sourceAddress: this.#address(),
        destinationAddress: this.#address(),
        hboneAuthority: this.#textOrNull(),
        source: this.#slot(this.#workloads),
        sourceIdentity: this.#slot(this.#identities),
        sourceBaggage: this.#slot(this.#baggages),
        destination: this.#slot(this.#workloads),
        destinationIdentity: this.#slot(this.#identities),
        destinationBaggage: this.#slot(this.#baggages),
        service: this.#slot(this.#services),
        traceId: this.#text(),
      },
      bytesToServer: 0,
      bytesToClient: 0,
      events,
    };
    this.#records[number] = record;
    this.#live++;
    events.opened(record);
  }

  #closed(): void {
    const number = this.#number();
    const record = this.#known(number);
    this.#bytes(record);
    const durationMs = this.#number();
    const flag = this.#of(FLAGS);
    const error = this.#error();
    this.#records[number] = null;
    this.#live--;
    record.events.closed(record, { durationMs, flag, error });
  }

  #failedEarly(): void {
    const events = this.#plane();
    const direction = this.#of(DIRECTIONS);
    const sourceAddress = this.#address();
    const destinationAddress = this.#address();
    const error = this.#error();
    if (error === null) throw new MessageError("Cannot read events: a failure has no error");
    events.failedEarly({ direction, sourceAddress, destinationAddress, error });
  }

  #log(): void {
    const events = this.#plane();
    const level = this.#of(LEVELS);
    const scope = this.#text();
    const message = this.#text();
    const count = this.#count(LOG_FIELDS_MAX + 1);
    if (count === 0) {
      events.log(level, scope, message);
      return;
    }
    const fields: Record<string, LogValue> = Object.create(null);
    for (let field = 0; field < count; field++) fields[this.#text()] = this.#logValue();
    events.log(level, scope, message, fields);
  }

  #logValue(): LogValue {
    const kind = this.#number();
    switch (kind) {
      case LOG_VALUE.text:
        return this.#text();
      case LOG_VALUE.number:
        return this.#number();
      case LOG_VALUE.boolean:
        return this.#flag();
      case LOG_VALUE.unquoted:
        return { unquoted: this.#text() };
      default:
        throw new MessageError(`Cannot read events: no log value is of kind ${kind}`);
    }
  }

  #bytes(record: LiveRecord): void {
    record.bytesToServer = this.#number();
    record.bytesToClient = this.#number();
  }

  #error(): ProxyError | null {
    const code = this.#textOrNull();
    const name = this.#textOrNull();
    const message = this.#textOrNull();
    if (code === null || name === null || message === null) return null;
    return new RemoteError({ code, name, message });
  }

  #readIdentity(): SpiffeId {
    return spiffeId({
      trustDomain: this.#text(),
      namespace: this.#text(),
      serviceAccount: this.#text(),
    });
  }

  #readWorkload(): WorkloadFacts {
    const identity = this.#identities.get(this.#number());
    return Object.freeze({
      identity,
      uid: this.#text(),
      name: this.#text(),
      namespace: this.#text(),
      trustDomain: this.#text(),
      serviceAccount: this.#text(),
      workloadType: this.#text(),
      workloadName: this.#text(),
      canonicalName: this.#text(),
      canonicalRevision: this.#text(),
      clusterId: this.#text(),
      region: this.#text(),
      zone: this.#text(),
    });
  }

  #readService(): ServiceFacts {
    return Object.freeze({
      hostname: this.#text(),
      name: this.#text(),
      namespace: this.#text(),
    });
  }

  #readBaggage(): BaggageFacts {
    return Object.freeze({
      clusterId: this.#textOrNull(),
      namespace: this.#textOrNull(),
      workloadType: this.#textOrNull(),
      workloadName: this.#textOrNull(),
      service: this.#textOrNull(),
      revision: this.#textOrNull(),
      region: this.#textOrNull(),
      zone: this.#textOrNull(),
    });
  }

  #plane(): Events {
    const plane = this.#number();
    const events = this.#eventsOf(plane);
    if (events === null) throw new MessageError(`Cannot read events: there is no plane ${plane}`);
    return events;
  }

  #record(): LiveRecord {
    return this.#known(this.#number());
  }

  #known(number: number): LiveRecord {
    const record = this.#records[number] ?? null;
    if (record === null) throw new MessageError(`Record ${number} is not open`);
    return record;
  }

  #address(): SocketAddress {
    return { ip: this.#text(), port: this.#count(65_536) };
  }

  #slot<Value>(slots: SlotReader<Value>): Value | null {
    const slot = this.#number();
    return slot === ABSENT ? null : slots.get(slot);
  }

  #number(): number {
    const item = this.#items[this.#at++];
    if (typeof item !== "number") throw this.#unexpected("a number", item);
    return item;
  }

  /** 0 to `below`-1, whole. */
  #count(below: number): number {
    const count = this.#number();
    if (!Number.isInteger(count) || count < 0 || count >= below) {
      throw this.#unexpected(`a count below ${below}`, count);
    }
    return count;
  }

  #flag(): boolean {
    return this.#count(2) === 1;
  }

  #of<Value extends string>(values: readonly Value[]): Value {
    return values[this.#count(values.length)]!;
  }

  #text(): string {
    const item = this.#items[this.#at++];
    if (typeof item !== "string") throw this.#unexpected("a text", item);
    return item;
  }

  #textOrNull(): string | null {
    const item = this.#items[this.#at++];
    if (item === ABSENT) return null;
    if (typeof item !== "string") throw this.#unexpected("a text or none", item);
    return item;
  }

  #unexpected(wanted: string, item: unknown): MessageError {
    const seen = item === undefined ? "the batch ends" : `there is ${typeof item} ${String(item)}`;
    return new MessageError(
      `Cannot read events: at item ${this.#at - 1} of ${this.#items.length} ` +
        `${wanted} is needed, ${seen.slice(0, 100)}`,
    );
  }
}
