// What a peer can do wrong, and what it costs: its stream (RST_STREAM) or its connection (GOAWAY).
import { assertEquals } from "@std/assert";
import { CONNECT, OK } from "../../tests/support/h2_pair.ts";
import {
  clientWithRawServer,
  concat,
  data,
  frame,
  goAway,
  paddedData,
  type RawPeer,
  reset,
  serverWithRawClient,
  settings,
  uint32,
  windowUpdate,
} from "../../tests/support/h2_raw.ts";
import { H2ConnectionError } from "./errors.ts";
import { FLAG, FRAME } from "./frame_header.ts";

const GET = [
  { name: ":method", value: "GET" },
  { name: ":scheme", value: "https" },
  { name: ":path", value: "/" },
];

interface Fault {
  readonly name: string;
  /** Sent after stream 1 was opened and answered. */
  readonly send: (peer: RawPeer) => readonly Uint8Array[];
  readonly answer: readonly string[];
}

const OVERSIZED = new Uint8Array([0x20, 0, 0, 0, 0, 0, 0, 0, 1]);
const END = FLAG.END_STREAM;
const ON_ITSELF = concat(uint32(1), Uint8Array.of(0));

Deno.test.each<Fault>([
  // Frames on the wrong stream.
  { name: "DATA on stream 0", send: () => [data(0, "x")], answer: ["GOAWAY 1 PROTOCOL_ERROR"] },
  {
    name: "HEADERS on stream 0",
    send: (p) => [p.headers(0, CONNECT)],
    answer: ["GOAWAY 1 PROTOCOL_ERROR"],
  },
  {
    name: "HEADERS on an even stream",
    send: (p) => [p.headers(2, CONNECT)],
    answer: ["GOAWAY 1 PROTOCOL_ERROR"],
  },
  {
    name: "RST_STREAM on stream 0",
    send: () => [reset(0, 8)],
    answer: ["GOAWAY 1 PROTOCOL_ERROR"],
  },
  {
    name: "PRIORITY on stream 0",
    send: () => [frame(2, 0, 0, ON_ITSELF)],
    answer: ["GOAWAY 1 PROTOCOL_ERROR"],
  },
  {
    name: "SETTINGS on a stream",
    send: () => [frame(4, 0, 1)],
    answer: ["GOAWAY 1 PROTOCOL_ERROR"],
  },
  {
    name: "PING on a stream",
    send: () => [frame(6, 0, 1, "12345678")],
    answer: ["GOAWAY 1 PROTOCOL_ERROR"],
  },
  {
    name: "GOAWAY on a stream",
    send: () => [frame(7, 0, 1, "12345678")],
    answer: ["GOAWAY 1 PROTOCOL_ERROR"],
  },
  {
    name: "CONTINUATION on its own",
    send: () => [frame(9, 4, 1)],
    answer: ["GOAWAY 1 PROTOCOL_ERROR"],
  },
  {
    name: "PUSH_PROMISE",
    send: () => [frame(5, 4, 1, uint32(2))],
    answer: ["GOAWAY 1 PROTOCOL_ERROR"],
  },
  // Idle streams.
  {
    name: "DATA on an idle stream",
    send: () => [data(3, "x")],
    answer: ["GOAWAY 1 PROTOCOL_ERROR"],
  },
  {
    name: "RST_STREAM on an idle stream",
    send: () => [reset(3, 8)],
    answer: ["GOAWAY 1 PROTOCOL_ERROR"],
  },
  {
    name: "WINDOW_UPDATE on an idle stream",
    send: () => [windowUpdate(3, 1)],
    answer: ["GOAWAY 1 PROTOCOL_ERROR"],
  },
  {
    name: "WINDOW_UPDATE on an even stream",
    send: () => [windowUpdate(2, 1)],
    answer: ["GOAWAY 1 PROTOCOL_ERROR"],
  },
  { name: "PRIORITY on an idle stream", send: () => [frame(2, 0, 99, ON_ITSELF)], answer: [] },
  // Frames of the wrong size.
  {
    name: "a frame above our limit",
    send: () => [OVERSIZED],
    answer: ["GOAWAY 1 FRAME_SIZE_ERROR"],
  },
  {
    name: "RST_STREAM of 3 bytes",
    send: () => [frame(3, 0, 1, "123")],
    answer: ["GOAWAY 1 FRAME_SIZE_ERROR"],
  },
  {
    name: "RST_STREAM of 5 bytes",
    send: () => [frame(3, 0, 1, "12345")],
    answer: ["GOAWAY 1 FRAME_SIZE_ERROR"],
  },
  {
    name: "PRIORITY of 4 bytes",
    send: () => [frame(2, 0, 1, "1234")],
    answer: ["RST_STREAM 1 FRAME_SIZE_ERROR"],
  },
  {
    name: "SETTINGS of 7 bytes",
    send: () => [frame(4, 0, 0, "1234567")],
    answer: ["GOAWAY 1 FRAME_SIZE_ERROR"],
  },
  {
    name: "SETTINGS ACK of 6 bytes",
    send: () => [frame(4, 1, 0, "123456")],
    answer: ["GOAWAY 1 FRAME_SIZE_ERROR"],
  },
  {
    name: "PING of 7 bytes",
    send: () => [frame(6, 0, 0, "1234567")],
    answer: ["GOAWAY 1 FRAME_SIZE_ERROR"],
  },
  {
    name: "GOAWAY of 7 bytes",
    send: () => [frame(7, 0, 0, "1234567")],
    answer: ["GOAWAY 1 FRAME_SIZE_ERROR"],
  },
  {
    name: "WINDOW_UPDATE of 3 bytes",
    send: () => [frame(8, 0, 1, "123")],
    answer: ["GOAWAY 1 FRAME_SIZE_ERROR"],
  },
  {
    name: "padded DATA of 0 bytes",
    send: () => [frame(0, 8, 1)],
    answer: ["GOAWAY 1 FRAME_SIZE_ERROR"],
  },
  {
    name: "padded HEADERS of 0 bytes",
    send: () => [frame(1, 8 | 4, 3)],
    answer: ["GOAWAY 1 FRAME_SIZE_ERROR"],
  },
  {
    name: "HEADERS too short for priority",
    send: () => [frame(1, 32 | 4, 3, "1234")],
    answer: ["GOAWAY 1 FRAME_SIZE_ERROR"],
  },
  // Padding.
  { name: "DATA that is all padding", send: () => [paddedData(1, "", 3)], answer: [] },
  {
    name: "DATA with more padding than payload",
    send: () => [frame(0, 8, 1, "\x04abc")],
    answer: ["GOAWAY 1 PROTOCOL_ERROR"],
  },
  {
    name: "HEADERS with more padding than payload",
    send: () => [frame(1, 8 | 4, 3, "\x04abc")],
    answer: ["GOAWAY 1 PROTOCOL_ERROR"],
  },
  // Header blocks.
  {
    name: "a frame inside a header block",
    send: (p) => [frame(1, 0, 3, p.block(CONNECT)), data(1, "x")],
    answer: ["GOAWAY 1 PROTOCOL_ERROR"],
  },
  {
    name: "an unknown frame inside a header block",
    send: (p) => [frame(1, 0, 3, p.block(CONNECT)), frame(99, 0, 3)],
    answer: ["GOAWAY 1 PROTOCOL_ERROR"],
  },
  {
    name: "CONTINUATION of another stream",
    send: (p) => [frame(1, 0, 3, p.block(CONNECT)), frame(9, 4, 1)],
    answer: ["GOAWAY 1 PROTOCOL_ERROR"],
  },
  {
    name: "a block that is not HPACK",
    send: () => [frame(1, 4, 3, Uint8Array.of(0xff, 0xff, 0xff))],
    answer: ["GOAWAY 1 COMPRESSION_ERROR"],
  },
  // Requests.
  {
    name: "a malformed request",
    send: (p) => [p.headers(3, [...CONNECT, CONNECT[0]!])],
    answer: ["RST_STREAM 3 PROTOCOL_ERROR"],
  },
  {
    name: "a CONNECT with :path",
    send: (p) => [p.headers(3, [...CONNECT, GET[2]!])],
    answer: ["RST_STREAM 3 PROTOCOL_ERROR"],
  },
  {
    name: "a stream that depends on itself",
    send: (p) => [frame(1, 4 | 32, 3, concat(uint32(3), Uint8Array.of(0), p.block(CONNECT)))],
    answer: ["RST_STREAM 3 PROTOCOL_ERROR"],
  },
  {
    name: "PRIORITY of a stream on itself",
    send: () => [frame(2, 0, 1, ON_ITSELF)],
    answer: ["RST_STREAM 1 PROTOCOL_ERROR"],
  },
  {
    name: "an id below the last one",
    send: (p) => [p.headers(5, CONNECT), p.headers(3, CONNECT)],
    answer: ["HEADERS 5 :status=200", "GOAWAY 5 PROTOCOL_ERROR"],
  },
  {
    name: "headers in the middle of a stream",
    send: (p) => [p.headers(1, CONNECT)],
    answer: ["RST_STREAM 1 PROTOCOL_ERROR"],
  },
  {
    name: "pseudo-headers in trailers",
    send: (p) => [p.headers(1, CONNECT, END)],
    answer: ["RST_STREAM 1 PROTOCOL_ERROR"],
  },
  {
    name: "more than content-length",
    send: (p) => [p.headers(3, [...GET, { name: "content-length", value: "2" }]), data(3, "xyz")],
    answer: ["HEADERS 3 :status=200", "RST_STREAM 3 PROTOCOL_ERROR"],
  },
  {
    name: "less than content-length",
    send: (
      p,
    ) => [p.headers(3, [...GET, { name: "content-length", value: "2" }]), data(3, "x", END)],
    answer: ["HEADERS 3 :status=200", "RST_STREAM 3 PROTOCOL_ERROR"],
  },
  {
    name: "exactly content-length",
    send: (
      p,
    ) => [
      p.headers(3, [...GET, { name: "content-length", value: "2" }]),
      data(3, "x"),
      data(3, "y", END),
    ],
    answer: ["HEADERS 3 :status=200"],
  },
  // Streams that ended.
  {
    name: "DATA after END_STREAM",
    send: () => [data(1, "", END), data(1, "x")],
    answer: ["RST_STREAM 1 STREAM_CLOSED"],
  },
  {
    name: "HEADERS after END_STREAM",
    send: (p) => [data(1, "", END), p.headers(1, CONNECT, END)],
    answer: ["RST_STREAM 1 STREAM_CLOSED"],
  },
  {
    name: "DATA after the peer's reset",
    send: () => [reset(1, 8), data(1, "x")],
    answer: ["RST_STREAM 1 STREAM_CLOSED"],
  },
  {
    name: "HEADERS after the peer's reset",
    send: (p) => [reset(1, 8), p.headers(1, CONNECT)],
    answer: ["RST_STREAM 1 STREAM_CLOSED"],
  },
  {
    name: "PRIORITY, WINDOW_UPDATE and RST_STREAM after a reset",
    send: () => [
      reset(1, 8),
      windowUpdate(1, 1),
      reset(1, 8),
      frame(2, 0, 1, concat(uint32(3), Uint8Array.of(0))),
    ],
    answer: [],
  },
  // Windows and settings.
  {
    name: "an increment of 0 for a stream",
    send: () => [windowUpdate(1, 0)],
    answer: ["RST_STREAM 1 PROTOCOL_ERROR"],
  },
  {
    name: "an increment of 0 for the connection",
    send: () => [windowUpdate(0, 0)],
    answer: ["GOAWAY 1 PROTOCOL_ERROR"],
  },
  {
    name: "a stream window above 2^31-1",
    send: () => [windowUpdate(1, 2 ** 31 - 1)],
    answer: ["RST_STREAM 1 FLOW_CONTROL_ERROR"],
  },
  {
    name: "a connection window above 2^31-1",
    send: () => [windowUpdate(0, 2 ** 31 - 1)],
    answer: ["GOAWAY 1 FLOW_CONTROL_ERROR"],
  },
  {
    name: "a stream window above 2^31-1 by SETTINGS",
    send: () => [windowUpdate(1, 1), settings([4, 2 ** 31 - 1])],
    answer: ["SETTINGS ACK", "GOAWAY 1 FLOW_CONTROL_ERROR"],
  },
  {
    name: "a forbidden setting",
    send: () => [settings([5, 1])],
    answer: ["GOAWAY 1 PROTOCOL_ERROR"],
  },
  // What is allowed.
  {
    name: "unknown frames and flags",
    send: () => [frame(99, 255, 1, "abc"), frame(6, 0xfe, 0, "12345678"), data(1, "", 0x46)],
    answer: ["PONG 3132333435363738"],
  },
  { name: "empty DATA", send: () => [data(1, ""), data(1, "")], answer: [] },
  {
    name: "GOAWAY with long debug data",
    send: () => [goAway(0, 0, "x".repeat(5000)), frame(6, 0, 0, "12345678")],
    answer: ["PONG 3132333435363738"],
  },
])("a server answers $name with $answer", ({ send, answer }) => {
  const { log, peer, pool, run } = serverWithRawClient();
  log.onAccept = ({ stream }) => stream.respond(OK, { endStream: false });
  peer.send(peer.headers(1, CONNECT));
  peer.take();
  peer.send(...send(peer));
  assertEquals(peer.take(), answer);
  const fatal = answer.some((line) => line.startsWith("GOAWAY"));
  assertEquals(peer.ended, fatal);
  peer.endWrite();
  run();
  if (fatal) {
    assertEquals(log.closedWith instanceof H2ConnectionError, true);
    assertEquals(log.streams[0]!.closedWith, log.closedWith);
  }
  assertEquals([log.events.at(-1)!.startsWith("close"), pool.lent], [true, 0]);
});

Deno.test.each<Fault>([
  {
    name: "DATA on an even stream",
    send: () => [data(2, "x")],
    answer: ["GOAWAY 0 PROTOCOL_ERROR"],
  },
  {
    name: "a response to nothing",
    send: (p) => [p.headers(3, OK)],
    answer: ["GOAWAY 0 PROTOCOL_ERROR"],
  },
  {
    name: "PUSH_PROMISE",
    send: () => [frame(5, 4, 1, uint32(2))],
    answer: ["GOAWAY 0 PROTOCOL_ERROR"],
  },
  { name: "ENABLE_PUSH of 1", send: () => [settings([2, 1])], answer: ["GOAWAY 0 PROTOCOL_ERROR"] },
  {
    name: "a second response",
    send: (p) => [p.headers(1, OK)],
    answer: ["RST_STREAM 1 PROTOCOL_ERROR"],
  },
  { name: "trailers", send: (p) => [p.headers(1, [{ name: "a", value: "b" }], END)], answer: [] },
  {
    name: "DATA after END_STREAM",
    send: () => [data(1, "", END), data(1, "x")],
    answer: ["RST_STREAM 1 STREAM_CLOSED"],
  },
  {
    name: "a response after a reset",
    send: (p) => [reset(1, 0), p.headers(1, OK)],
    answer: ["RST_STREAM 1 STREAM_CLOSED"],
  },
])("a client answers $name with $answer", ({ send, answer }) => {
  const { connection, log, peer, run } = clientWithRawServer();
  connection.open(CONNECT, log);
  run();
  peer.send(peer.headers(1, OK));
  peer.take();
  peer.send(...send(peer));
  assertEquals(peer.take(), answer);
});

Deno.test.each([
  { name: "HTTP/1.1", bytes: "GET / HTTP/1.1\r\nHost: a\r\n\r\n" },
  { name: "a preface with one octet wrong", bytes: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r." },
  { name: "garbage", bytes: "\x16\x03\x01\x02\x00" },
])("a server that hears $name instead of the preface says GOAWAY and ends", ({ bytes }) => {
  const { log, peer } = serverWithRawClient({ settings: null });
  peer.take();
  peer.send(new TextEncoder().encode(bytes));
  assertEquals([peer.take(), peer.ended], [["GOAWAY 0 PROTOCOL_ERROR"], true]);
  peer.endWrite();
  assertEquals(log.closedWith?.code, "PROTOCOL_ERROR");
});

Deno.test("the first frame must be SETTINGS, and not its ACK, from either side", () => {
  for (const first of [windowUpdate(0, 1), frame(FRAME.SETTINGS, FLAG.ACK, 0)]) {
    const server = serverWithRawClient({ settings: null });
    server.peer.take();
    server.peer.send(new TextEncoder().encode("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), first);
    assertEquals(server.peer.take(), ["GOAWAY 0 PROTOCOL_ERROR"]);
    const client = clientWithRawServer({ settings: null });
    client.peer.take();
    client.peer.send(first);
    assertEquals(client.peer.take(), ["GOAWAY 0 PROTOCOL_ERROR"]);
  }
});

Deno.test("what was on its way when we reset a stream is no fault", () => {
  const { log, peer } = serverWithRawClient();
  log.onAccept = ({ stream }) => stream.respond(OK, { endStream: false });
  peer.send(peer.headers(1, CONNECT));
  log.streams[0]!.stream.reset(null);
  peer.send();
  peer.take();
  peer.send(
    data(1, "x"),
    windowUpdate(1, 1),
    peer.headers(1, [{ name: "a", value: "b" }], END),
    reset(1, 8),
  );
  assertEquals(peer.take(), []);
});

Deno.test("an owner's bug reaches the loop, and the other streams still get their calls", () => {
  const { log, peer, clock } = serverWithRawClient();
  log.onAccept = ({ stream }) => stream.respond(OK, { endStream: false });
  peer.send(peer.headers(1, CONNECT), peer.headers(3, CONNECT));
  const [first, second] = log.streams;
  first!.onClose = () => {
    throw new Error("bug");
  };
  first!.stream.reset(null);
  second!.stream.reset(null);
  let thrown = "";
  try {
    clock.runUntilIdle();
  } catch (error) {
    thrown = (error as Error).message;
  }
  clock.runUntilIdle();
  assertEquals([thrown, second!.events], ["bug", ["close"]]);
});
