// Tests of wire.ts: honest replies, and everything else.
import { Buffer } from "node:buffer";
import { assertEquals } from "@std/assert";
import dnsPacket from "dns-packet";
import { SeededRandom } from "../base/random.ts";
import { type Asked, reply, type ReplyText, soa } from "../../tests/support/name_servers.ts";
import type { Question } from "./answer.ts";
import {
  ADDRESSES_MAX,
  ALIASES_MAX,
  DATAGRAM_BYTES_MAX,
  EDNS_PAYLOAD_BYTES,
  encodeQuestion,
  POINTERS_MAX,
  readReply,
  RECORDS_MAX,
  type Reply,
  TTL_MS_MAX,
} from "./wire.ts";

const QUESTION: Question = { name: "ext.example", type: "A" };
const ID = 0x1234;
const ASKED = { ...QUESTION, id: ID } as unknown as Asked;

const read = (bytes: Uint8Array, question = QUESTION): Reply =>
  readReply(bytes, question, { id: ID, isDatagram: true });
const readByTcp = (bytes: Uint8Array): Reply =>
  readReply(bytes, QUESTION, { id: ID, isDatagram: false });
const readText = (text: ReplyText): Reply => read(reply(ASKED, text));
const a = (data: string, rest = {}) => ({ type: "A", data, ...rest });
const cname = (name: string, data: string, rest = {}) => ({ type: "CNAME", name, data, ...rest });
const ok = (addresses: readonly string[], ttlMs: number): Reply => ({
  kind: "answer",
  answer: { kind: "OK", addresses, ttlMs },
});

Deno.test("encodeQuestion() asks for recursion, and says what it takes with edns0", () => {
  const plain = dnsPacket.decode(Buffer.from(encodeQuestion(QUESTION, { id: ID, edns0: false })));
  assertEquals([plain.id, plain.type, plain.flag_rd], [ID, "query", true]);
  assertEquals(plain.questions, [{ name: "ext.example", type: "A", class: "IN" }]);
  assertEquals(plain.additionals, []);
  const { additionals } = dnsPacket.decode(
    Buffer.from(encodeQuestion(QUESTION, { id: ID, edns0: true })),
  );
  assertEquals(additionals[0].udpPayloadSize, EDNS_PAYLOAD_BYTES);
});

Deno.test.each([
  {
    name: "addresses, once each, by the smallest TTL",
    text: {
      answers: [a("1.1.1.1", { ttl: 300 }), a("1.1.1.2", { ttl: 20 }), a("1.1.1.1", { ttl: 300 })],
    },
    expected: ok(["1.1.1.1", "1.1.1.2"], 20_000),
  },
  {
    name: "a chain of aliases in any order",
    text: {
      answers: [
        a("1.1.1.1", { name: "c.test" }),
        cname("b.test", "C.test", { ttl: 5 }),
        cname("ext.example", "b.test"),
      ],
    },
    expected: ok(["1.1.1.1"], 5_000),
  },
  {
    name: "only the chain's own end",
    text: {
      answers: [a("6.6.6.6", { name: "other.test" }), a("1.1.1.1")],
    },
    expected: ok(["1.1.1.1"], 60_000),
  },
  {
    name: "an alias that leads out",
    text: { answers: [cname("ext.example", "b.test", { ttl: 7 })] },
    expected: { kind: "alias", to: "b.test", ttlMs: 7_000 } as Reply,
  },
  {
    name: "an alias to a name without addresses",
    text: {
      answers: [cname("ext.example", "b.test", { ttl: 7 })],
      authorities: [soa(30)],
    },
    expected: ok([], 7_000),
  },
  { name: "no addresses", text: { authorities: [soa(30)] }, expected: ok([], 30_000) },
  { name: "no addresses, of nobody's authority", text: {}, expected: ok([], 0) },
  {
    name: "no such name",
    text: { rcode: 3, authorities: [soa(9)] },
    expected: { kind: "answer", answer: { kind: "NO_NAME", addresses: [], ttlMs: 9_000 } } as Reply,
  },
  {
    name: "a negative TTL no longer than the SOA's own",
    text: {
      authorities: [{ ...soa(7200), ttl: 11 }],
    },
    expected: ok([], 11_000),
  },
  {
    name: "a TTL of years as a day",
    text: { answers: [a("1.1.1.1", { ttl: 0x7fff_ffff })] },
    expected: ok(["1.1.1.1"], TTL_MS_MAX),
  },
  {
    name: "a negative TTL as none",
    text: { answers: [a("1.1.1.1", { ttl: 0x8000_0000 })] },
    expected: ok(["1.1.1.1"], 0),
  },
  {
    name: "SERVFAIL",
    text: { rcode: 2 },
    expected: { kind: "refused", rcode: "SERVFAIL" } as Reply,
  },
  {
    name: "REFUSED without its question",
    text: { rcode: 5, questions: [] },
    expected: { kind: "refused", rcode: "REFUSED" } as Reply,
  },
  {
    name: "a code nobody knows",
    text: { rcode: 11 },
    expected: { kind: "refused", rcode: "RCODE 11" } as Reply,
  },
  {
    name: "truncation",
    text: { truncated: true, answers: [a("1.1.1.1")] },
    expected: { kind: "truncated" } as Reply,
  },
  {
    name: "records of other types beside",
    text: {
      answers: [{ type: "TXT", data: ["hello"] }, a("1.1.1.1"), {
        type: "MX",
        data: { preference: 1, exchange: "m.test" },
      }],
    },
    expected: ok(["1.1.1.1"], 60_000),
  },
  {
    name: "the question in other case",
    text: { questions: [{ name: "EXT.eXample", type: "A" }], answers: [a("1.1.1.1")] },
    expected: ok(["1.1.1.1"], 60_000),
  },
])("readReply() understands $name", ({ text, expected }) => {
  assertEquals(readText(text), expected);
});

Deno.test("readReply() reads AAAA, and IPv4 inside it as IPv4", () => {
  const question: Question = { name: "ext.example", type: "AAAA" };
  const bytes = reply({ ...ASKED, type: "AAAA" }, {
    answers: [{ type: "AAAA", data: "2001:db8::1" }, { type: "AAAA", data: "::ffff:1.2.3.4" }],
  });
  assertEquals(read(bytes, question), ok(["2001:db8::1", "1.2.3.4"], 60_000));
});

Deno.test("readReply() ignores TC by TCP", () => {
  const bytes = reply(ASKED, { truncated: true, answers: [a("1.1.1.1")] });
  assertEquals(readByTcp(bytes), ok(["1.1.1.1"], 60_000));
});

Deno.test.each([
  { name: "of another id", text: { id: 0x1235, answers: [a("6.6.6.6")] } },
  { name: "about another name", text: { questions: [{ name: "ext.examplf", type: "A" }] } },
  { name: "about another type", text: { questions: [{ name: "ext.example", type: "AAAA" }] } },
  {
    name: "about another class",
    text: { questions: [{ name: "ext.example", type: "A", class: "CH" }] },
  },
  { name: "about nothing", text: { questions: [], answers: [a("6.6.6.6")] } },
  {
    name: "about two things",
    text: { questions: [{ name: "ext.example", type: "A" }, { name: "b", type: "A" }] },
  },
  { name: "to a notification", text: { flags: 0x2000 } },
  { name: "with an alias to itself", text: { answers: [cname("ext.example", "ext.example")] } },
  { name: "with an alias that is no name", text: { answers: [cname("ext.example", "a b")] } },
])("readReply() takes no reply $name", ({ text }) => {
  assertEquals(readText(text).kind, "foreign");
});

Deno.test("readReply() takes no question for a reply", () => {
  assertEquals(read(encodeQuestion(QUESTION, { id: ID, edns0: false })).kind, "foreign");
});

Deno.test("readReply() takes datagrams of DATAGRAM_BYTES_MAX", () => {
  const padded = (size: number) => {
    const bytes = new Uint8Array(size);
    bytes.set(reply(ASKED, { answers: [a("1.1.1.1")] }));
    return bytes;
  };
  assertEquals(read(padded(DATAGRAM_BYTES_MAX)), ok(["1.1.1.1"], 60_000));
  assertEquals(read(padded(DATAGRAM_BYTES_MAX + 1)).kind, "foreign");
  assertEquals(readByTcp(padded(DATAGRAM_BYTES_MAX + 1)).kind, "answer");
});

Deno.test("readReply() follows ALIASES_MAX aliases", () => {
  const chain = (length: number) =>
    Array.from({ length }, (_, at) => cname(at === 0 ? "ext.example" : `n${at}`, `n${at + 1}`));
  const last = (length: number) => a("1.1.1.1", { name: `n${length}` });
  assertEquals(
    readText({ answers: [...chain(ALIASES_MAX), last(ALIASES_MAX)] }).kind,
    "answer",
  );
  assertEquals(
    readText({ answers: [...chain(ALIASES_MAX + 1), last(ALIASES_MAX + 1)] }).kind,
    "foreign",
  );
});

Deno.test("readReply() keeps ADDRESSES_MAX addresses", () => {
  const answers = (count: number) =>
    Array.from({ length: count }, (_, at) => a(`10.0.${at >> 8}.${at & 255}`));
  for (const count of [ADDRESSES_MAX - 1, ADDRESSES_MAX, ADDRESSES_MAX + 1]) {
    const found = readByTcp(reply(ASKED, { answers: answers(count) }));
    const { addresses } = (found as Reply & { kind: "answer" }).answer;
    assertEquals(addresses.length, Math.min(count, ADDRESSES_MAX));
  }
});

/** A reply by hand: header, the question, then whatever the test wants. */
function raw(answers: number, rest: readonly number[]): Uint8Array {
  const header = [ID >> 8, ID & 255, 0x81, 0x80, 0, 1, answers >> 8, answers & 255, 0, 0, 0, 0];
  const question = [3, ...ascii("ext"), 7, ...ascii("example"), 0, 0, 1, 0, 1];
  return new Uint8Array([...header, ...question, ...rest]);
}

const ascii = (text: string) => [...new TextEncoder().encode(text)];
const ADDRESS_RECORD = [0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 1, 1, 1, 1];
/** Where the records begin. */
const RECORDS_AT = 12 + 17;
const OWN_NAME = [0xc0, 12];

Deno.test("readReply() reads records by hand, owner by pointer", () => {
  assertEquals(read(raw(1, [...OWN_NAME, ...ADDRESS_RECORD])), ok(["1.1.1.1"], 60_000));
});

Deno.test.each([
  { name: "a pointer to itself", rest: [0xc0, RECORDS_AT, ...ADDRESS_RECORD] },
  { name: "a pointer forward", rest: [0xc0, RECORDS_AT + 2, ...ADDRESS_RECORD] },
  { name: "pointers in a circle", rest: [1, 97, 0xc0, RECORDS_AT, ...ADDRESS_RECORD] },
  { name: "a pointer outside", rest: [0xff, 0xff, ...ADDRESS_RECORD] },
  { name: "a label of an unknown kind", rest: [0x41, 97, 0, ...ADDRESS_RECORD] },
  { name: "a label that ends outside", rest: [63, 97] },
  { name: "a record that ends outside", rest: [...OWN_NAME, ...ADDRESS_RECORD.slice(0, -1)] },
  { name: "an address of 3 octets", rest: [...OWN_NAME, 0, 1, 0, 1, 0, 0, 0, 60, 0, 3, 1, 1, 1] },
  {
    name: "an address of 16 octets",
    rest: [...OWN_NAME, 0, 1, 0, 1, 0, 0, 0, 60, 0, 16, ...ascii("0123456789abcdef")],
  },
  {
    name: "an alias longer than its record",
    rest: [...OWN_NAME, 0, 5, 0, 1, 0, 0, 0, 60, 0, 1, 1, 97, 0],
  },
  { name: "nothing of the record it announces", rest: [] },
])("readReply() refuses $name", ({ rest }) => {
  assertEquals(read(raw(1, rest)).kind, "foreign");
});

Deno.test("readReply() follows POINTERS_MAX pointers in a name", () => {
  const chained = (pointers: number) => {
    // A record of an unknown type carries pointers, each to the one before; the first one is the name.
    const chain = [...OWN_NAME];
    const at = RECORDS_AT + 1 + 10;
    for (let made = 1; made < pointers - 1; made++) {
      chain.push(0xc0, at + (made - 1) * 2);
    }
    const carrier = [0, 0xff, 0xf0, 0, 1, 0, 0, 0, 0, 0, chain.length, ...chain];
    const lastAt = at + chain.length - 2;
    return read(raw(2, [...carrier, 0xc0, lastAt, ...ADDRESS_RECORD]));
  };
  assertEquals(chained(POINTERS_MAX), ok(["1.1.1.1"], 60_000));
  assertEquals(chained(POINTERS_MAX + 1).kind, "foreign");
});

Deno.test("readReply() reads RECORDS_MAX records", () => {
  const many = (count: number) =>
    readByTcp(
      raw(count, Array.from({ length: count }, () => [...OWN_NAME, ...ADDRESS_RECORD]).flat()),
    );
  assertEquals(many(RECORDS_MAX).kind, "answer");
  assertEquals(many(RECORDS_MAX + 1).kind, "foreign");
});

Deno.test("readReply() refuses counts that no message has room for, at no cost", () => {
  const bytes = raw(0xffff, []);
  bytes[9] = 0xff;
  assertEquals(read(bytes).kind, "foreign");
});

Deno.test("readReply() never throws, whatever octets come", () => {
  const seed = Math.floor(Math.random() * 2 ** 32);
  const random = new SeededRandom(seed);
  const honest = reply(ASKED, {
    answers: [cname("ext.example", "b.test"), a("1.1.1.1", { name: "b.test" })],
    authorities: [soa(30)],
  });
  for (let round = 0; round < 20_000; round++) {
    const bytes = honest.slice(0, 2 + random.uint32() % honest.length);
    for (let changes = random.uint32() % 4; changes >= 0; changes--) {
      bytes[random.uint32() % bytes.length] = random.uint32() & 255;
    }
    bytes.set([ID >> 8, ID & 255], 0);
    const found = readReply(bytes, QUESTION, { id: ID, isDatagram: round % 2 === 0 });
    assertEquals(typeof found.kind, "string", `seed ${seed}`);
  }
});

Deno.test("readReply() does not care how much memory surrounds the message", () => {
  const honest = reply(ASKED, { answers: [a("1.1.1.1")] });
  const larger = new Uint8Array(honest.length + 20).fill(0xee);
  larger.set(honest, 10);
  assertEquals(read(larger.subarray(10, 10 + honest.length)), ok(["1.1.1.1"], 60_000));
  assertEquals(read(larger.subarray(10, 10 + honest.length - 1)).kind, "foreign");
});
