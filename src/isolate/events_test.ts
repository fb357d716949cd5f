// What a data plane reports arrives as it was said: every field, in order, none lost, however slow the reader.
import { assert, assertEquals, assertThrows } from "@std/assert";
import { NotedEvents } from "../../tests/support/data_plane_world.ts";
import { DeadlineError } from "../base/errors.ts";
import { SeededRandom } from "../base/random.ts";
import { VirtualClock } from "../base/virtual_clock.ts";
import type {
  BaggageFacts,
  ConnectionEnd,
  ConnectionFacts,
  ConnectionRecord,
} from "../seam/events.ts";
import type { WorkloadFacts } from "../seam/workload.ts";
import { spiffeId } from "../tls/spiffe_id.ts";
import { cutText, MessageError, RemoteError, TEXT_CHARS_MAX } from "./errors.ts";
import {
  EVENT,
  type EventItem,
  INTERNED_MAX,
  INTERNED_PER_EVENT_MAX,
  LOG_FIELDS_MAX,
} from "./event_codes.ts";
import { EventReader, RECORDS_MAX } from "./event_reader.ts";
import {
  BAGGAGE_CHARS_MAX,
  BATCH_EVENTS_MAX,
  EventWriter,
  FLUSH_MS,
  HELD_BATCHES_MAX,
  UNREAD_BATCHES_MAX,
} from "./event_writer.ts";

function workload(name: string): WorkloadFacts {
  return {
    uid: `Kubernetes//Pod/default/${name}`,
    name,
    namespace: "default",
    trustDomain: "cluster.local",
    serviceAccount: name,
    identity: spiffeId({
      trustDomain: "cluster.local",
      namespace: "default",
      serviceAccount: name,
    }),
    workloadType: "deployment",
    workloadName: name,
    canonicalName: `${name}-canonical`,
    canonicalRevision: "v1",
    clusterId: "Kubernetes",
    region: "r",
    zone: "",
  };
}

function baggage(service: string | null): BaggageFacts {
  return {
    clusterId: "c",
    namespace: null,
    workloadType: "pod",
    workloadName: "w",
    service,
    revision: null,
    region: "",
    zone: "z",
  };
}

const CLIENT = workload("client");
const SERVER = workload("server");

function facts(over: Partial<ConnectionFacts> = {}): ConnectionFacts {
  return {
    direction: "inbound",
    protocol: "HBONE",
    listener: "inbound plaintext",
    sourceAddress: { ip: "10.0.0.1", port: 40_000 },
    destinationAddress: { ip: "2001:db8::1", port: 65_535 },
    hboneAuthority: "10.0.0.2:80",
    source: CLIENT,
    sourceIdentity: CLIENT.identity,
    sourceBaggage: baggage("s"),
    destination: SERVER,
    destinationIdentity: SERVER.identity,
    destinationBaggage: baggage(null),
    service: { hostname: "a.b", name: "a", namespace: "b" },
    mutualTls: true,
    traceId: "0123456789abcdef0123456789abcdef",
    ...over,
  };
}

function record(over: Partial<ConnectionFacts> = {}): ConnectionRecord {
  return { facts: facts(over), bytesToServer: 0, bytesToClient: 0 };
}

/** As NotedEvents, for many: what it checks costs the same however many there are. */
class ManyEvents extends NotedEvents {
  readonly #live = new Set<ConnectionRecord>();

  override opened(record: ConnectionRecord): void {
    this.openedRecords.push(record);
    this.#live.add(record);
  }

  override closed(record: ConnectionRecord, end: ConnectionEnd): void {
    assert(this.#live.delete(record), "a record is closed once, after it was opened");
    this.closedRecords.push({ record, end });
  }
}

/** A writer, a reader of one plane (1), and the border between them, which copies as structured clone does. */
class Border {
  readonly clock = new VirtualClock();
  readonly noted = new ManyEvents();
  readonly reader = new EventReader((plane) => plane <= 1 ? this.noted : null);
  readonly posted: EventItem[][] = [];
  readonly behind: boolean[] = [];
  overflows = 0;
  readonly writer = new EventWriter({
    clock: this.clock,
    post: (items) => this.posted.push(structuredClone(items)),
    onBehind: (behind) => this.behind.push(behind),
    onOverflow: () => this.overflows++,
  });
  readonly events = this.writer.eventsOf(1);

  /** Lets the reader read all that was posted, and say so. */
  read(): void {
    for (let items = this.posted.shift(); items !== undefined; items = this.posted.shift()) {
      this.reader.read(items);
      this.writer.read(1);
    }
  }

  flush(): void {
    this.writer.flush();
    this.read();
  }
}

const OK = { durationMs: 12.75, flag: "-", error: null } as const;

Deno.test("opened and closed arrive with every fact, count and error", () => {
  const border = new Border();
  const { events, noted } = border;
  const sent = record();
  events.opened(sent);
  border.flush();
  assertEquals(noted.openedRecords[0]!.facts, sent.facts);
  sent.bytesToServer = 2 ** 40;
  sent.bytesToClient = 7;
  events.closed(sent, { durationMs: 0.5, flag: "CERT_REVOKED", error: new DeadlineError() });
  border.flush();
  const [closed] = noted.closedRecords;
  assert(closed!.record === noted.openedRecords[0], "the same record");
  assertEquals([closed!.record.bytesToServer, closed!.record.bytesToClient], [2 ** 40, 7]);
  assertEquals([closed!.end.durationMs, closed!.end.flag], [0.5, "CERT_REVOKED"]);
  const error = closed!.end.error!;
  assert(error instanceof RemoteError);
  assertEquals(
    [error.code, error.name, error.message],
    ["DEADLINE_ELAPSED", "DeadlineError", "deadline has elapsed"],
  );
});

Deno.test.each(
  [
    { name: "no facts at all", over: NO_FACTS() },
    { name: "texts of a peer's", over: { hboneAuthority: "\x1f,\u2028\u{1f600}" } },
    { name: "socks5", over: { listener: "socks5", protocol: "TCP", mutualTls: false } },
    { name: "double", over: { direction: "outbound", protocol: "DOUBLEHBONE" } },
  ] as const,
)("a record with $name arrives as it is", ({ over }) => {
  const border = new Border();
  border.events.opened(record(over as Partial<ConnectionFacts>));
  border.flush();
  assertEquals(border.noted.openedRecords[0]!.facts, facts(over as Partial<ConnectionFacts>));
});

function NO_FACTS(): Partial<ConnectionFacts> {
  return {
    hboneAuthority: null,
    source: null,
    sourceIdentity: null,
    sourceBaggage: null,
    destination: null,
    destinationIdentity: null,
    destinationBaggage: null,
    service: null,
  };
}

Deno.test("facts cross once; then a connection is a few numbers and texts", () => {
  const border = new Border();
  const first = record();
  border.events.opened(first);
  border.writer.flush();
  // Equal words in other objects are the same baggage and identity, as each request brings its own.
  border.events.opened(
    record({ sourceBaggage: baggage("s"), sourceIdentity: { ...CLIENT.identity } }),
  );
  border.writer.flush();
  const kinds = (items: EventItem[]) => items.includes(CLIENT.uid);
  const service = first.facts.service;
  assertEquals(border.posted.map(kinds), [true, false]);
  assert(service !== null && border.posted[1]!.length < 30, `${border.posted[1]!.length} items`);
});

Deno.test("INTERNED_MAX facts are known at a time; more of them arrive all the same (seeded)", () => {
  const border = new Border();
  const random = new SeededRandom(3);
  const all = Array.from({ length: INTERNED_MAX }, (_, index) => workload(`w${index}`));
  const sent: ConnectionRecord[] = [];
  for (let round = 0; round < 3 * INTERNED_MAX; round++) {
    const one = record({
      source: all[random.uint32() % all.length]!,
      destination: all[random.uint32() % 50]!,
      sourceBaggage: baggage(`${random.uint32() % 100}`),
    });
    sent.push(one);
    border.events.opened(one);
    if (round % 100 === 0) border.flush();
  }
  border.flush();
  assertEquals(border.noted.openedRecords.length, sent.length);
  const wrong = border.noted.openedRecords.findIndex(({ facts }, index) => {
    const meant = sent[index]!.facts;
    return facts.source!.uid !== meant.source!.uid ||
      facts.destination!.identity.uri !== meant.destination!.identity.uri ||
      facts.sourceBaggage!.service !== meant.sourceBaggage!.service;
  });
  assertEquals(wrong, -1);
});

Deno.test("INTERNED_PER_EVENT_MAX covers what one record can bring anew", () => {
  const border = new Border();
  const other = (serviceAccount: string) => spiffeId({ ...CLIENT, serviceAccount });
  border.events.opened(record({ sourceIdentity: other("x"), destinationIdentity: other("y") }));
  border.writer.flush();
  // The service comes last, so its slot counts the others: two workloads, four identities, two baggages.
  const definitions = Number(border.posted[0]!.at(-2)) + 1;
  assertEquals(definitions, 9);
  assert(definitions <= INTERNED_PER_EVENT_MAX);
});

Deno.test("BAGGAGE_CHARS_MAX of each text of a peer's baggage are kept", () => {
  const border = new Border();
  for (const length of [BAGGAGE_CHARS_MAX - 1, BAGGAGE_CHARS_MAX, BAGGAGE_CHARS_MAX + 1]) {
    border.events.opened(record({ sourceBaggage: baggage("x".repeat(length)) }));
  }
  border.flush();
  const lengths = border.noted.openedRecords.map(({ facts }) => facts.sourceBaggage!.service);
  assertEquals(lengths.map((text) => [text!.length, text!.endsWith("…")]), [
    [BAGGAGE_CHARS_MAX - 1, false],
    [BAGGAGE_CHARS_MAX, false],
    [BAGGAGE_CHARS_MAX, true],
  ]);
});

Deno.test("failedEarly and log arrive with all they say", () => {
  const border = new Border();
  const failure = {
    direction: "outbound",
    sourceAddress: { ip: "10.0.0.1", port: 1 },
    destinationAddress: { ip: "10.0.0.2", port: 0 },
  } as const;
  border.events.failedEarly({ ...failure, error: new DeadlineError() });
  border.events.log("debug", "ztunnel::x", "plain");
  border.events.log("warn", "ztunnel::x", "with fields", {
    text: "a b",
    number: 1.5,
    yes: true,
    no: false,
    bare: { unquoted: "1.2.3.4:5" },
    __proto__: "own" as never,
  });
  border.flush();
  const { error, ...rest } = border.noted.early[0]!;
  assertEquals(rest, failure);
  assertEquals(error.message, "deadline has elapsed");
  assertEquals(border.noted.lines.map(({ message, level }) => [level, message]), [
    ["debug", "plain"],
    ["warn", "with fields"],
  ]);
  assertEquals({ ...border.noted.lines[1]!.fields }, {
    text: "a b",
    number: 1.5,
    yes: true,
    no: false,
    bare: { unquoted: "1.2.3.4:5" },
  });
});

Deno.test("LOG_FIELDS_MAX fields of a line cross, and TEXT_CHARS_MAX characters of a text", () => {
  const border = new Border();
  for (const count of [LOG_FIELDS_MAX, LOG_FIELDS_MAX + 1]) {
    const fields = Object.fromEntries(
      Array.from({ length: count }, (_, index) => [`f${index}`, 1]),
    );
    border.events.log("info", "x", "y".repeat(TEXT_CHARS_MAX + count), fields);
  }
  border.flush();
  for (const { fields, message } of border.noted.lines) {
    assertEquals(Object.keys(fields).length, LOG_FIELDS_MAX);
    assertEquals([message.length, message.at(-1)], [TEXT_CHARS_MAX, "…"]);
  }
  assertEquals(cutText("y".repeat(TEXT_CHARS_MAX)).at(-1), "y");
});

Deno.test("lines below the level asked for are not sent", () => {
  const border = new Border();
  border.writer.setLevel("info");
  border.events.log("debug", "x", "no");
  border.events.log("info", "x", "yes");
  border.flush();
  assertEquals(border.noted.lines.map(({ message }) => message), ["yes"]);
});

Deno.test("an event waits FLUSH_MS for others, an error line for none", () => {
  const border = new Border();
  border.events.opened(record());
  border.clock.advance(FLUSH_MS - 1);
  border.events.opened(record());
  assertEquals(border.posted.length, 0);
  border.clock.advance(1);
  assertEquals(border.posted.length, 1);
  border.events.log("error", "x", "bug");
  assertEquals(border.posted.length, 2);
  assertEquals(border.clock.pendingTimers, 0);
});

Deno.test("a batch has at most BATCH_EVENTS_MAX events", () => {
  const border = new Border();
  for (let count = 0; count < BATCH_EVENTS_MAX - 1; count++) border.events.log("info", "x", "y");
  assertEquals(border.posted.length, 0);
  border.events.log("info", "x", "y");
  assertEquals(border.posted.length, 1);
  border.read();
  assertEquals(border.noted.lines.length, BATCH_EVENTS_MAX);
});

Deno.test("countBytes() tells of the live records that moved octets, once", () => {
  const border = new Border();
  const [busy, idle] = [record(), record()];
  border.events.opened(busy);
  border.events.opened(idle);
  border.flush();
  busy.bytesToServer = 10;
  border.writer.countBytes();
  border.writer.countBytes();
  border.writer.flush();
  assertEquals(border.posted, [[EVENT.bytes, 0, 10, 0]]);
  border.read();
  assertEquals(border.noted.openedRecords.map(({ bytesToServer }) => bytesToServer), [10, 0]);
});

Deno.test("a reader that stops loses no open and no close, and accepting pauses meanwhile", () => {
  const border = new Border();
  const { events, writer } = border;
  const records: ConnectionRecord[] = [];
  const total = BATCH_EVENTS_MAX * (UNREAD_BATCHES_MAX + 3) + 5;
  for (let count = 0; count < total; count++) {
    const one = record();
    events.opened(one);
    records.push(one);
  }
  border.clock.advance(1000);
  assertEquals(border.posted.length, UNREAD_BATCHES_MAX, "the others wait here");
  assertEquals(border.behind, [true]);
  assertEquals(writer.heldBatches, 3);
  events.log("debug", "x", "left out");
  events.log("info", "x", "kept");
  records[0]!.bytesToServer = 3;
  writer.countBytes();
  for (const one of records) events.closed(one, OK);
  while (border.posted.length > 0) {
    border.read();
    border.clock.advance(FLUSH_MS);
  }
  assertEquals(border.behind, [true, false]);
  assertEquals(border.noted.openedRecords.length, total);
  assertEquals(border.noted.closedRecords.length, total);
  assertEquals(border.noted.closedRecords[0]!.record.bytesToServer, 3);
  assertEquals(border.reader.liveRecords, 0);
  assertEquals(writer.liveRecords, 0);
  const lines = border.noted.lines.map(({ message, fields }) => [message, fields["count"]]);
  assertEquals(lines, [
    ["kept", undefined],
    ["log lines were left out while the control isolate was behind", 1],
  ]);
});

Deno.test("HELD_BATCHES_MAX batches wait; one more and the control isolate is taken for dead", () => {
  const border = new Border();
  const fill = () => {
    for (let count = 0; count < BATCH_EVENTS_MAX; count++) border.events.log("info", "x", "");
  };
  for (let batch = 0; batch < UNREAD_BATCHES_MAX + HELD_BATCHES_MAX; batch++) fill();
  assertEquals([border.writer.heldBatches, border.overflows], [HELD_BATCHES_MAX, 0]);
  fill();
  assertEquals(border.overflows, 1);
});

Deno.test("flushAll() sends what waited, however much is unread, and in order", () => {
  const border = new Border();
  for (let count = 0; count < BATCH_EVENTS_MAX * (UNREAD_BATCHES_MAX + 1) + 1; count++) {
    border.events.log("info", "x", `${count}`);
  }
  border.writer.flushAll();
  border.read();
  const messages = border.noted.lines.map(({ message }) => message);
  assertEquals(messages, messages.map((_, index) => `${index}`));
  assertEquals(messages.length, BATCH_EVENTS_MAX * (UNREAD_BATCHES_MAX + 1) + 1);
  assertEquals(border.behind, [true, false]);
});

/** A well-formed `opened` without facts. */
function opened(number: EventItem): EventItem[] {
  return [
    ...[EVENT.opened, 1, number, 0, 0, 0, 0, "10.0.0.1", 1, "10.0.0.2", 2, -1],
    ...[-1, -1, -1, -1, -1, -1, -1],
    "t",
  ];
}

const REFUSED: readonly { readonly name: string; readonly items: EventItem[] }[] = [
  { name: "an unknown kind", items: [99] },
  { name: "a text for a kind", items: ["5"] },
  { name: "a plane nobody opened", items: [EVENT.log, 2, 0, "s", "m", 0] },
  { name: "a batch that ends early", items: opened(0).slice(0, -1) },
  { name: "a level that does not exist", items: [EVENT.log, 1, 5, "s", "m", 0] },
  { name: "more fields than LOG_FIELDS_MAX", items: [EVENT.log, 1, 0, "s", "m", 33] },
  { name: "a field's value of no kind", items: [EVENT.log, 1, 0, "s", "m", 1, "k", 4, 1] },
  { name: "a record opened twice", items: [...opened(0), ...opened(0)] },
  { name: "a record number that leaves one out", items: opened(1) },
  { name: "a record number of RECORDS_MAX", items: opened(RECORDS_MAX) },
  { name: "a record number that is no integer", items: opened(0.5) },
  { name: "octets of a record never opened", items: [EVENT.bytes, 3, 1, 1] },
  { name: "the end of a record never opened", items: [EVENT.closed, 3, 1, 1, 1, 0, -1, -1, -1] },
  { name: "a slot never defined", items: opened(0).with(12, 4) },
  { name: "a slot outside the ring", items: [EVENT.identity, INTERNED_MAX, "a", "b", "c"] },
  { name: "a port above 65,535", items: opened(0).with(8, 65_536) },
  {
    name: "an early failure without an error",
    items: [
      ...[EVENT.failedEarly, 1, 0, "10.0.0.1", 1, "10.0.0.2", 2, -1, -1, -1],
    ],
  },
];

Deno.test.each(REFUSED)("EventReader refuses $name", ({ items }) => {
  const border = new Border();
  assertThrows(() => border.reader.read(items), MessageError);
});

Deno.test("EventReader refuses anything but a batch, and never throws another error (seeded)", () => {
  const random = new SeededRandom(11);
  const good: EventItem[] = [];
  const source = new Border();
  source.writer.eventsOf(1).opened(record());
  source.writer.flush();
  good.push(...source.posted[0]!);
  const strange: EventItem[] = [-1, 0, 1, 2 ** 53, NaN, Infinity, "", "x", 4096, 0.5];
  let refused = 0;
  for (let round = 0; round < 2000; round++) {
    const items = [...good];
    for (let change = 0; change <= random.uint32() % 3; change++) {
      items[random.uint32() % items.length] = strange[random.uint32() % strange.length]!;
    }
    try {
      new Border().reader.read(items);
    } catch (error) {
      assert(error instanceof MessageError, String(error));
      refused++;
    }
  }
  assert(refused > 500, `${refused}`);
});
