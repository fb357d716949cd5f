// Peers that cost more than they should: every limit of design §5 for HTTP/2, just under, at and over.
import { assert, assertEquals } from "@std/assert";
import { CONNECT, OK, say } from "../../tests/support/h2_pair.ts";
import {
  clientWithRawServer,
  concat,
  data,
  frame,
  reset,
  serverWithRawClient,
  settings,
} from "../../tests/support/h2_raw.ts";
import { STREAM_ERRORS_MAX } from "./abuse_budget.ts";
import { PENDING_RESETS_MAX } from "./connection.ts";
import { FLAG, FRAME } from "./frame_header.ts";
import { CONTINUATIONS_MAX, DEBUG_BYTES_MAX, SETTINGS_BYTES_MAX } from "./frame_reader.ts";
import { CONTROL_BYTES_MAX, CONTROL_REPLIES_MAX } from "./frame_writer.ts";
import { HEADER_FIELDS_MAX } from "./header_collector.ts";

Deno.test.each([
  { streams: 199, refused: 0 },
  { streams: 200, refused: 0 },
  { streams: 201, refused: 1 },
])("of $streams streams at once, $refused is refused", ({ streams, refused }) => {
  const { connection, peer } = serverWithRawClient();
  for (let i = 0; i < streams; i++) peer.send(peer.headers(1 + 2 * i, CONNECT));
  const lines = refused === 0 ? [] : ["RST_STREAM 401 REFUSED_STREAM"];
  assertEquals([peer.take(), connection.openStreams], [lines, Math.min(200, streams)]);
  peer.send(reset(1, 8), peer.headers(501, CONNECT));
  assertEquals([peer.take(), connection.openStreams], [[], Math.min(200, streams)]);
});

/** CONNECT with so many fields more, of 40 bytes each in SETTINGS_MAX_HEADER_LIST_SIZE terms. */
function manyFields(count: number) {
  const fields = Array.from({ length: count }, (_, i) => ({
    name: `n${String(i).padStart(3, "0")}`,
    value: "abcd",
  }));
  return [...CONNECT, ...fields];
}

Deno.test.each([
  { fields: HEADER_FIELDS_MAX - 1, lines: ["HEADERS 1 :status=200"] },
  { fields: HEADER_FIELDS_MAX, lines: ["HEADERS 1 :status=200"] },
  {
    fields: HEADER_FIELDS_MAX + 1,
    lines: ["HEADERS 1 END_STREAM :status=431", "RST_STREAM 1 NO_ERROR"],
  },
  {
    fields: HEADER_FIELDS_MAX * 4,
    lines: ["HEADERS 1 END_STREAM :status=431", "RST_STREAM 1 NO_ERROR"],
  },
  { fields: HEADER_FIELDS_MAX * 4 + 1, lines: ["GOAWAY 0 ENHANCE_YOUR_CALM"] },
])("a request of $fields fields is answered with $lines", ({ fields, lines }) => {
  const { log, peer } = serverWithRawClient();
  log.onAccept = ({ stream }) => stream.respond(OK, { endStream: false });
  peer.send(peer.headers(1, manyFields(fields - 2)));
  assertEquals(peer.take(), lines);
});

/** A CONNECT whose list has exactly `bytes` octets, 32 per field included. */
function requestOf(bytes: number) {
  const base = CONNECT.reduce((sum, { name, value }) => sum + name.length + value.length + 32, 0);
  return [...CONNECT, { name: "a", value: "x".repeat(bytes - base - 33) }];
}

Deno.test.each([
  { bytes: 65_535, lines: ["HEADERS 1 :status=200"] },
  { bytes: 65_536, lines: ["HEADERS 1 :status=200"] },
  { bytes: 65_537, lines: ["HEADERS 1 END_STREAM :status=431", "RST_STREAM 1 NO_ERROR"] },
  { bytes: 65_536 * 4, lines: ["HEADERS 1 END_STREAM :status=431", "RST_STREAM 1 NO_ERROR"] },
  { bytes: 65_536 * 4 + 1, lines: ["GOAWAY 0 ENHANCE_YOUR_CALM"] },
])("a request of $bytes bytes is answered with $lines", ({ bytes, lines }) => {
  const { log, peer } = serverWithRawClient();
  log.onAccept = ({ stream }) => stream.respond(OK, { endStream: false });
  peer.send(peer.headers(1, requestOf(bytes)));
  assertEquals(peer.take(), lines);
});

Deno.test("a header bomb of HPACK references ends the connection", () => {
  const { peer } = serverWithRawClient();
  const start = peer.block([...CONNECT, { name: "a", value: "x".repeat(1500) }]);
  const references = new Uint8Array(200_000).fill(0x80 | 62); // Each is the newest entry: 1,533 octets.
  peer.send(frame(FRAME.HEADERS, FLAG.END_HEADERS, 1, concat(start, references)));
  assertEquals(peer.take(), ["GOAWAY 0 ENHANCE_YOUR_CALM"]);
});

Deno.test("a client refuses an answer above its limit and goes on", () => {
  const { connection, log, peer, run } = clientWithRawServer();
  connection.open(CONNECT, log);
  run();
  peer.take();
  peer.send(peer.headers(1, [...OK, { name: "a", value: "x".repeat(16_384) }]));
  assertEquals(peer.take(), ["RST_STREAM 1 REFUSED_STREAM"]);
  assertEquals(log.events, ["failure 1 REFUSED_STREAM", "idle"]);
});

Deno.test.each([
  { frames: CONTINUATIONS_MAX - 1, lines: [] },
  { frames: CONTINUATIONS_MAX, lines: [] },
  { frames: CONTINUATIONS_MAX + 1, lines: ["GOAWAY 0 ENHANCE_YOUR_CALM"] },
])("$frames CONTINUATIONs of a header block give $lines", ({ frames, lines }) => {
  const { log, peer } = serverWithRawClient();
  const parts = Array.from(
    { length: frames },
    (_, i) => frame(FRAME.CONTINUATION, i === frames - 1 ? FLAG.END_HEADERS : 0, 1),
  );
  peer.send(frame(FRAME.HEADERS, 0, 1, peer.block(CONNECT)), ...parts);
  assertEquals([peer.take(), log.streams.length], [lines, lines.length === 0 ? 1 : 0]);
  if (lines.length > 0) return;
  peer.send(frame(FRAME.HEADERS, 0, 3, peer.block(CONNECT)), frame(FRAME.CONTINUATION, 4, 3));
  assertEquals(log.streams.length, 2, "the count starts anew with each block");
});

Deno.test("a header block is refused by its announced size, before it is held", () => {
  const { peer } = serverWithRawClient();
  peer.send(Uint8Array.of(4, 0, 0, FRAME.HEADERS, 0, 0, 0, 0, 1)); // 256 KiB, the most we hold
  assertEquals(peer.take(), []);
  const over = serverWithRawClient();
  over.peer.send(Uint8Array.of(4, 0, 1, FRAME.HEADERS, 0, 0, 0, 0, 1));
  assertEquals(over.peer.take(), ["GOAWAY 0 ENHANCE_YOUR_CALM"]);
});

Deno.test.each([
  { resets: PENDING_RESETS_MAX - 1, lines: [] },
  { resets: PENDING_RESETS_MAX, lines: [] },
  { resets: PENDING_RESETS_MAX + 1, lines: ["GOAWAY 41 ENHANCE_YOUR_CALM"] },
])("$resets requests reset in one breath give $lines (W30)", ({ resets, lines }) => {
  const { peer } = serverWithRawClient();
  const frames: Uint8Array[] = [];
  for (let i = 0; i < resets; i++) {
    frames.push(peer.headers(1 + 2 * i, CONNECT), reset(1 + 2 * i, 8));
  }
  peer.send(...frames);
  assertEquals(peer.take(), lines);
});

Deno.test("resets that the owner has noticed are forgotten", () => {
  const { log, peer } = serverWithRawClient();
  for (let i = 0; i < 10 * PENDING_RESETS_MAX; i++) {
    peer.send(peer.headers(1 + 2 * i, CONNECT), reset(1 + 2 * i, 8));
  }
  assertEquals(peer.take(), []);
  assertEquals(new Set(log.streams.flatMap(({ events }) => events)), new Set(["close CANCEL"]));
});

Deno.test("resets of tunnels in use are no abuse: 200 at once pass", () => {
  const { log, peer, connection } = serverWithRawClient();
  log.onAccept = ({ stream }) => stream.respond(OK, { endStream: false });
  for (let i = 0; i < 200; i++) peer.send(peer.headers(1 + 2 * i, CONNECT));
  peer.take();
  peer.send(...Array.from({ length: 200 }, (_, i) => reset(1 + 2 * i, 8)));
  assertEquals([peer.take(), connection.openStreams], [[], 0]);
});

Deno.test.each([
  { faults: STREAM_ERRORS_MAX - 1, fatal: false },
  { faults: STREAM_ERRORS_MAX, fatal: false },
  { faults: STREAM_ERRORS_MAX + 1, fatal: true },
])("$faults stream errors end the connection: $fatal", ({ faults, fatal }) => {
  const { peer } = serverWithRawClient();
  for (let i = 0; i < faults; i++) peer.send(peer.headers(1 + 2 * i, [CONNECT[1]!]));
  const lines = peer.take();
  assertEquals(lines.filter((line) => line.endsWith("PROTOCOL_ERROR")).length, faults);
  assertEquals(
    lines.at(-1),
    fatal
      ? `GOAWAY ${2 * faults - 1} ENHANCE_YOUR_CALM`
      : lines[0]!.replace("1", String(2 * faults - 1)),
  );
});

Deno.test("stream errors are forgiven at 100 a minute", () => {
  const { clock, peer } = serverWithRawClient();
  for (let i = 0; i < 2 * STREAM_ERRORS_MAX; i++) {
    peer.send(peer.headers(1 + 2 * i, [CONNECT[1]!]));
    clock.advance(600);
  }
  assertEquals(peer.take().filter((line) => line.startsWith("GOAWAY")), []);
});

Deno.test.each([
  { name: "PING", make: () => frame(FRAME.PING, 0, 0, "12345678") },
  { name: "SETTINGS", make: () => settings() },
])("a flood of $name from a peer that reads is answered", ({ make }) => {
  const { peer, connection } = serverWithRawClient();
  peer.send(...Array.from({ length: 1000 }, make));
  assertEquals([peer.take().length, connection.acceptsStreams], [1000, true]);
});

Deno.test.each([
  { name: "PING", make: () => frame(FRAME.PING, 0, 0, "12345678") },
  { name: "SETTINGS", make: () => settings() },
])("a flood of $name from a peer that never reads ends the connection", ({ make }) => {
  for (const [count, ended] of [[-1, false], [0, false], [1, true]] as const) {
    const { connection, peer, log, end, pool } = serverWithRawClient({ highWaterBytes: 1 });
    peer.stopReading();
    peer.send(make()); // Its answer fills the transport.
    peer.send(...Array.from({ length: CONTROL_REPLIES_MAX + count }, make));
    assertEquals([end.closed, connection.acceptsStreams], [ended, !ended]);
    assertEquals(log.closedWith?.code, ended ? "ENHANCE_YOUR_CALM" : undefined);
    assert(pool.lent <= 1);
  }
});

Deno.test("a flood of requests from a peer that never reads ends the connection", () => {
  const { connection, peer, log } = serverWithRawClient({ highWaterBytes: 1 });
  log.onAccept = ({ stream }) =>
    stream.respond([{ name: ":status", value: "400" }], { endStream: true });
  peer.stopReading();
  let sent = 0;
  while (connection.acceptsStreams && sent < CONTROL_BYTES_MAX) {
    peer.send(peer.headers(1 + 2 * sent++, CONNECT));
  }
  assert(sent > 10_000 && sent < 100_000, `${sent}`);
  assertEquals(log.closedWith?.code, "ENHANCE_YOUR_CALM");
});

Deno.test("credit for a peer that never reads is collected, not queued", () => {
  const { log, peer, end } = serverWithRawClient({
    highWaterBytes: 1,
    limits: { streamWindowBytes: 1000 },
  });
  log.onAccept = ({ stream }) => stream.respond(OK, { endStream: false });
  peer.stopReading();
  peer.send(peer.headers(1, CONNECT));
  const before = end.queuedBytes;
  for (let i = 0; i < 4; i++) peer.send(data(1, "x".repeat(250)));
  assertEquals([log.streams[0]!.bytes, end.queuedBytes], [1000, before]);
  end.release();
  peer.send();
  assertEquals(peer.take(), ["HEADERS 1 :status=200", "WINDOW_UPDATE 1 1000"]);
});

Deno.test.each([
  { bytes: SETTINGS_BYTES_MAX - 4, lines: ["SETTINGS ACK"] },
  { bytes: SETTINGS_BYTES_MAX + 2, lines: ["GOAWAY 0 ENHANCE_YOUR_CALM"] },
])("SETTINGS of $bytes bytes give $lines", ({ bytes, lines }) => {
  const { peer } = serverWithRawClient();
  peer.send(frame(FRAME.SETTINGS, 0, 0, new Uint8Array(bytes)));
  assertEquals(peer.take(), lines);
});

Deno.test.each([
  { bytes: DEBUG_BYTES_MAX - 1, kept: DEBUG_BYTES_MAX - 1 },
  { bytes: DEBUG_BYTES_MAX, kept: DEBUG_BYTES_MAX },
  { bytes: DEBUG_BYTES_MAX + 1, kept: DEBUG_BYTES_MAX },
])("of $bytes bytes of a GOAWAY's debug data $kept are kept", ({ bytes, kept }) => {
  const { connection, log, peer, run } = clientWithRawServer();
  connection.open(CONNECT, log);
  run();
  peer.send(frame(FRAME.GOAWAY, 0, 0, concat(new Uint8Array(8), new Uint8Array(bytes).fill(0x61))));
  assertEquals(log.events[0], `goaway 0 0 ${"a".repeat(kept)}`);
});

Deno.test("a peer that floods everything else is bounded too", () => {
  const { log, peer, connection, pool } = serverWithRawClient();
  log.onAccept = ({ stream }) => stream.respond(OK, { endStream: false });
  peer.send(peer.headers(1, CONNECT));
  peer.take();
  const empty = data(1, "");
  const unknown = frame(200, 0, 7, "abc");
  for (let i = 0; i < 100; i++) peer.send(...Array(100).fill(concat(empty, unknown)));
  say(log.streams[0]!.stream, "still here");
  peer.send();
  assertEquals([peer.take(), connection.openStreams, pool.lent], [["DATA 1 10"], 1, 0]);
});
