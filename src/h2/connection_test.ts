import { assert, assertEquals } from "@std/assert";
import { CONNECT, h2Pair, OK, say } from "../../tests/support/h2_pair.ts";
import {
  clientWithRawServer,
  concat,
  data,
  frame,
  goAway,
  paddedData,
  type RawSetup,
  reset,
  serverWithRawClient,
  settings,
  uint32,
  windowUpdate,
} from "../../tests/support/h2_raw.ts";
import { NetError } from "../base/errors.ts";
import { WAITING_STREAMS_MAX } from "./connection.ts";
import { H2Error, H2StreamError } from "./errors.ts";
import { FLAG, FRAME } from "./frame_header.ts";
import { PREFACE } from "./frame_reader.ts";

const GET = [
  { name: ":method", value: "GET" },
  { name: ":scheme", value: "https" },
  { name: ":path", value: "/" },
];

/** A server with stream 1 open and answered. */
function openTunnel(setup: RawSetup): RawSetup {
  setup.log.onAccept = ({ stream }) => stream.respond(OK, { endStream: false });
  setup.peer.send(setup.peer.headers(1, CONNECT));
  setup.peer.take();
  return setup;
}

/** A client with stream 1 open and answered. */
function openClientTunnel(setup: RawSetup): RawSetup {
  setup.connection.open(CONNECT, setup.log);
  setup.run();
  setup.peer.send(setup.peer.headers(1, OK));
  setup.peer.take();
  return setup;
}

// Start.

Deno.test("Http2Connection starts with exactly the octets of spec/data-path §1.2", () => {
  const client = clientWithRawServer({ settings: null });
  assertEquals(
    client.peer.received,
    concat(
      PREFACE,
      settings([2, 0], [4, 4194304], [5, 1048576], [6, 16384]),
      windowUpdate(0, 16711681),
    ),
  );
  const server = serverWithRawClient({ settings: null });
  assertEquals(
    server.peer.received,
    concat(
      settings([3, 200], [4, 4194304], [5, 1048576], [6, 65536]),
      windowUpdate(0, 16711681),
    ),
  );
  assertEquals([client.end.writes, server.end.writes], [1, 1]);
});

Deno.test("Http2Connection tells the peer's settings, the first and each later one", () => {
  const { connection, log, peer } = serverWithRawClient({ settings: null });
  assertEquals(connection.peerSettings, null);
  peer.send(PREFACE, settings([3, 5]), settings([3, 6]));
  assertEquals(log.settings.map((one) => one.maxConcurrentStreams), [5, 6]);
  assertEquals(connection.peerSettings?.maxConcurrentStreams, 6);
  assertEquals(peer.take().slice(2), ["SETTINGS ACK", "SETTINGS ACK"]);
});

Deno.test("Http2Connection answers PING and tells the answer to its own", () => {
  const { connection, log, peer, run } = serverWithRawClient();
  peer.send(frame(FRAME.PING, 0, 0, "12345678"));
  assertEquals(peer.take(), ["PONG 3132333435363738"]);
  connection.ping(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
  run();
  assertEquals(peer.take(), ["PING 0102030405060708"]);
  peer.send(frame(FRAME.PING, FLAG.ACK, 0, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)));
  assertEquals(log.events, ["pong 0102030405060708"]);
});

// A tunnel.

Deno.test.each([
  { name: "a transport that copies", keepsBlocks: false },
  { name: "a transport that keeps blocks", keepsBlocks: true },
])("Http2Connection carries a tunnel both ways on $name", ({ keepsBlocks }) => {
  const pair = h2Pair({ keepsBlocks });
  const [client, server] = pair.tunnel();
  say(client.stream, "ping");
  pair.run();
  assertEquals([server.text, client.text], ["ping", ""]);
  say(server.stream, "pong");
  server.stream.endWrite();
  pair.run();
  assertEquals([client.text, client.events], ["pong", ["data", "end"]]);
  client.stream.endWrite();
  pair.run();
  assertEquals(client.events, ["data", "end", "close"]);
  assertEquals(server.events, ["data", "end", "close"]);
  assertEquals([pair.client.openStreams, pair.server.openStreams, pair.pool.lent], [0, 0, 0]);
  assertEquals(pair.clientLog.events, ["response 1 200", "idle"]);
});

Deno.test("Http2Connection delivers the same whatever pieces the transport makes", () => {
  for (const pieceBytes of [1, 2, 3, 7, 8, 9, 10, 1000, 16_384, Infinity]) {
    const pair = h2Pair({ pieceBytes });
    const [client, server] = pair.tunnel();
    const sent = "x".repeat(20_000) + "y".repeat(100);
    say(client.stream, sent);
    client.stream.endWrite();
    say(server.stream, "z".repeat(5_000));
    server.stream.endWrite();
    pair.run();
    assertEquals(server.text, sent, `${pieceBytes}`);
    assertEquals([client.bytes, client.events], [5_000, ["data", "end", "close"]]);
    assertEquals(pair.pool.lent, 0);
  }
});

/** What a client may say in one connection, all kinds of frames. */
function conversation(peer: RawSetup["peer"]): Uint8Array {
  const block = peer.block([...CONNECT, { name: "baggage", value: "k8s.cluster.name=K1" }]);
  return concat(
    PREFACE,
    settings([4, 100], [77, 1]),
    frame(
      FRAME.HEADERS,
      FLAG.PADDED,
      1,
      concat(Uint8Array.of(2), block.subarray(0, 3), new Uint8Array(2)),
    ),
    frame(FRAME.CONTINUATION, 0, 1, block.subarray(3, 9)),
    frame(FRAME.CONTINUATION, FLAG.END_HEADERS, 1, block.subarray(9)),
    frame(FRAME.SETTINGS, FLAG.ACK, 0),
    data(1, "first "),
    frame(FRAME.PING, 0, 0, "ABCDEFGH"),
    paddedData(1, "second ", 5),
    data(1, ""),
    frame(99, 255, 1, "unknown"),
    frame(FRAME.PRIORITY, 0, 1, concat(uint32(3), Uint8Array.of(1))),
    windowUpdate(1, 10),
    frame(
      FRAME.HEADERS,
      FLAG.PRIORITY | FLAG.END_HEADERS | FLAG.END_STREAM,
      3,
      concat(uint32(1), Uint8Array.of(5), peer.block(CONNECT)),
    ),
    paddedData(1, "", 255),
    data(1, "third", FLAG.END_STREAM),
    reset(3, 8),
    goAway(0, 0, "bye"),
  );
}

Deno.test("Http2Connection reads a conversation alike at every split in two, and octet by octet", () => {
  const hear = (cuts: (bytes: Uint8Array) => readonly Uint8Array[]) => {
    const setup = serverWithRawClient({ settings: null });
    setup.log.onAccept = ({ stream }) => stream.respond(OK, { endStream: false });
    for (const part of cuts(conversation(setup.peer))) setup.peer.send(part);
    return {
      log: setup.log.events,
      texts: setup.log.streams.map(({ text }) => text),
      events: setup.log.streams.map(({ events }) => events),
      sent: setup.peer.lines.sort(),
    };
  };
  const whole = hear((bytes) => [bytes]);
  assertEquals(whole.log, ["request 1", "request 3", "goaway 0 0 bye"]);
  assertEquals(whole.texts, ["first second third", ""]);
  assertEquals(whole.events, [["data", "end"], ["end", "close"]]);
  const { length } = conversation(serverWithRawClient({ settings: null }).peer);
  for (let at = 1; at < length; at++) {
    const split = hear((bytes) => [bytes.subarray(0, at), bytes.subarray(at)]);
    assertEquals(split, whole, `split at ${at}`);
  }
  assertEquals(hear((bytes) => Array.from(bytes, (_, i) => bytes.subarray(i, i + 1))), whole);
});

Deno.test("Http2Connection gathers small frames of a turn into one write", () => {
  const pair = h2Pair();
  const tunnels = [pair.tunnel(), pair.tunnel(), pair.tunnel()];
  const before = pair.clientEnd.writes;
  for (const [client] of tunnels) for (let i = 0; i < 10; i++) say(client.stream, `${i}`);
  pair.client.ping(new Uint8Array(8));
  pair.run();
  assertEquals(pair.clientEnd.writes - before, 1);
  assertEquals(tunnels.map(([, server]) => server.text), Array(3).fill("0123456789"));
});

Deno.test("Http2Connection joins small writes of a turn, and the end, in one DATA frame", () => {
  const { log, peer } = openTunnel(serverWithRawClient());
  const { stream } = log.streams[0]!;
  peer.take();
  say(stream, "a");
  say(stream, "b");
  stream.endWrite();
  peer.send();
  assertEquals(peer.take(), ["DATA 1 2 END_STREAM"]);
});

Deno.test("Http2Connection hands a large payload on without a copy", () => {
  const pair = h2Pair({ keepsBlocks: true });
  const [client] = pair.tunnel();
  const block = pair.pool.take();
  client.stream.write(block, 0, 4096);
  assertEquals(block.references, 2);
  client.stream.write(block, 4096, 8191);
  assertEquals(block.references, 2);
  block.release();
  pair.run();
  assertEquals(pair.pool.lent, 0);
});

Deno.test("Http2Connection never calls an owner from inside the owner's call", () => {
  const pair = h2Pair({ clientLimits: { streamWindowBytes: 100 } });
  const [client, server] = pair.tunnel();
  let depth = 0;
  const guard = (action: () => void) => {
    depth++;
    action();
    depth--;
  };
  const seen: number[] = [];
  client.onBytes = () => seen.push(depth);
  server.onFlow = () => seen.push(depth);
  say(server.stream, "x".repeat(250));
  client.stream.pause();
  pair.run();
  guard(() => client.stream.resume());
  guard(() => client.stream.attach(client));
  guard(() => client.stream.endWrite());
  guard(() => server.stream.reset(null));
  pair.run();
  assert(seen.length > 0);
  assertEquals(new Set(seen), new Set([0]));
});

// Pausing, moving.

Deno.test("H2Stream delivers nothing while paused or not attached, then everything in order", () => {
  const pair = h2Pair();
  pair.serverLog.attaches = false;
  const [client, server] = pair.tunnel();
  for (const text of ["one ", "two ", "three"]) {
    say(client.stream, text);
    pair.run();
  }
  client.stream.endWrite();
  pair.run();
  assertEquals(server.events, []);
  server.stream.attach(server);
  server.stream.pause();
  pair.run();
  assertEquals(server.events, []);
  server.stream.resume();
  assertEquals(server.events, [], "a later turn");
  pair.run();
  assertEquals([server.text, server.events], ["one two three", ["data", "end"]]);
});

Deno.test("H2Stream stops delivery where its handler pauses", () => {
  const pair = h2Pair();
  const [client, server] = pair.tunnel();
  server.stream.pause();
  say(client.stream, "x".repeat(40_000));
  pair.run();
  say(client.stream, "y".repeat(40_000));
  client.stream.endWrite();
  pair.run();
  server.onBytes = () => server.stream.pause();
  server.stream.resume();
  pair.run();
  const first = server.bytes;
  assert(first > 0 && first < 80_000);
  server.onBytes = null;
  server.stream.resume();
  pair.run();
  assertEquals([server.bytes, server.events], [80_000, ["data", "end"]]);
  assertEquals(pair.pool.lent, 0);
});

Deno.test("H2Stream moves to another handler without losing or repeating a byte", () => {
  const pair = h2Pair();
  const [client, server] = pair.tunnel();
  const [, other] = pair.tunnel();
  other.text = "";
  say(client.stream, "abc");
  pair.run();
  server.onBytes = () => server.stream.attach(other);
  say(client.stream, "def");
  pair.run();
  say(client.stream, "ghi");
  pair.run();
  assertEquals([server.text, other.text], ["abcdef", "ghi"]);
});

Deno.test("DATA before the response waits and is delivered after it", () => {
  const { log, peer, run } = serverWithRawClient();
  log.attaches = false;
  peer.send(peer.headers(1, CONNECT), data(1, "early"));
  const server = log.streams[0]!;
  assertEquals(server.text, "");
  server.stream.respond(OK, { endStream: false });
  server.stream.attach(server);
  run();
  assertEquals([server.text, peer.take()], ["early", ["HEADERS 1 :status=200"]]);
});

// How streams end.

Deno.test.each(
  (["client", "server"] as const).flatMap((first) =>
    ([true, false] as const).flatMap((withData) =>
      ([true, false] as const).map((atOnce) => ({ first, withData, atOnce }))
    )
  ),
)("half-close: $first first, data with it: $withData, both at once: $atOnce", (row) => {
  const pair = h2Pair();
  const [client, server] = pair.tunnel();
  const order = row.first === "client" ? [client, server] : [server, client];
  for (const side of order) {
    if (row.withData) say(side.stream, "last");
    side.stream.endWrite();
    if (!row.atOnce) pair.run();
  }
  pair.run();
  const expected = row.withData ? ["data", "end", "close"] : ["end", "close"];
  assertEquals([client.events, server.events], [expected, expected]);
  assertEquals([pair.client.openStreams, pair.server.openStreams], [0, 0]);
  assertEquals([client.stream.closed, server.stream.closed], [true, true]);
});

Deno.test("after the peer's end, our side goes on as long as it likes", () => {
  const pair = h2Pair();
  const [client, server] = pair.tunnel();
  client.stream.endWrite();
  pair.run();
  for (let i = 0; i < 3; i++) {
    say(server.stream, "more");
    pair.run();
  }
  assertEquals([client.text, server.events], ["moremoremore", ["end"]]);
  assertEquals(pair.server.openStreams, 1);
});

Deno.test("END_STREAM on HEADERS is told with the request and ends its data", () => {
  const { log, peer, run } = serverWithRawClient();
  let told: boolean | null = null;
  log.onAccept = ({ stream }, _headers, endStream) => {
    told = endStream;
    stream.respond(OK, { endStream: false });
  };
  peer.send(peer.headers(1, CONNECT, FLAG.END_STREAM));
  const server = log.streams[0]!;
  assertEquals([told, server.events], [true, ["end"]]);
  server.stream.endWrite();
  run();
  assertEquals(server.events, ["end", "close"]);
  assertEquals(peer.take(), ["HEADERS 1 :status=200", "DATA 1 0 END_STREAM"]);
});

Deno.test("trailers end the data and are not told", () => {
  const { log, peer } = openTunnel(serverWithRawClient());
  peer.send(data(1, "x"), peer.headers(1, [{ name: "grpc-status", value: "0" }], FLAG.END_STREAM));
  assertEquals(log.streams[0]!.events, ["data", "end"]);
  assertEquals(log.events, ["request 1"]);
});

Deno.test("an answer that ends the stream resets what is left of the request (spec/data-path §1.7)", () => {
  const { log, peer, connection } = serverWithRawClient();
  log.onAccept = ({ stream }) =>
    stream.respond([{ name: ":status", value: "401" }], { endStream: true });
  peer.send(peer.headers(1, CONNECT), data(1, "unwanted"));
  assertEquals(peer.take(), ["HEADERS 1 END_STREAM :status=401", "RST_STREAM 1 NO_ERROR"]);
  assertEquals([log.streams[0]!.events, connection.openStreams], [["close"], 0]);
  peer.send(peer.headers(3, CONNECT, FLAG.END_STREAM));
  assertEquals(peer.take(), ["HEADERS 3 END_STREAM :status=401"]);
});

Deno.test("a GET, and a CONNECT without authority, reach the owner, who answers 400", () => {
  const { log, peer } = serverWithRawClient();
  const seen: string[] = [];
  log.onAccept = ({ stream }, headers) => {
    seen.push(headers.map(({ name, value }) => `${name}=${value}`).join(" "));
    stream.respond([{ name: ":status", value: "400" }], { endStream: true });
  };
  peer.send(peer.headers(1, GET, FLAG.END_STREAM), peer.headers(3, [CONNECT[0]!], FLAG.END_STREAM));
  assertEquals(seen, [":method=GET :scheme=https :path=/", ":method=CONNECT"]);
});

Deno.test.each([
  { code: 0, events: ["end", "close"] },
  { code: 8, events: ["end", "close"] },
  { code: 1, events: ["close PROTOCOL_ERROR"] },
  { code: 5, events: ["close STREAM_CLOSED"] },
  { code: 7, events: ["close REFUSED_STREAM"] },
  { code: 11, events: ["close ENHANCE_YOUR_CALM"] },
  { code: 4711, events: ["close INTERNAL_ERROR"] },
])("RST_STREAM $code while reading means $events (W12)", ({ code, events }) => {
  for (
    const setup of [openTunnel(serverWithRawClient()), openClientTunnel(clientWithRawServer())]
  ) {
    const { log, peer, connection } = setup;
    peer.send(reset(1, code));
    assertEquals([log.streams[0]!.events, connection.openStreams], [events, 0]);
    const error = log.streams[0]!.closedWith;
    if (error instanceof H2StreamError) assertEquals(error.origin, "received");
    assertEquals(peer.take(), []);
  }
});

Deno.test("RST_STREAM(CANCEL) lets what arrived before it be delivered", () => {
  const { log, peer, run, pool } = openTunnel(serverWithRawClient());
  const server = log.streams[0]!;
  server.stream.pause();
  peer.send(data(1, "x".repeat(50_000)), reset(1, 8));
  assertEquals([server.events, server.stream.closed], [[], true]);
  say(server.stream, "into the void");
  server.stream.resume();
  run();
  assertEquals([server.bytes, server.events], [50_000, ["data", "end", "close"]]);
  assertEquals([pool.lent, peer.take()], [0, []]);
});

Deno.test("H2Stream.reset() drops what waits after the peer's cancel", () => {
  const { log, peer, run, pool } = openTunnel(serverWithRawClient());
  const server = log.streams[0]!;
  server.stream.pause();
  peer.send(data(1, "x".repeat(50_000)), reset(1, 8));
  server.stream.reset(null);
  server.stream.reset(null);
  run();
  assertEquals([server.events, pool.lent], [["close"], 0]);
});

Deno.test("H2Stream.reset() says CANCEL, or the code of the reason, and closes with it (W15)", () => {
  const reason = new NetError("CANCELLED");
  const refused = new H2StreamError("", { code: "REFUSED_STREAM", origin: "sent by user" });
  for (const [given, code] of [[null, "CANCEL"], [reason, "CANCEL"], [refused, "REFUSED_STREAM"]]) {
    const { log, peer, run, connection } = openTunnel(serverWithRawClient());
    const server = log.streams[0]!;
    server.stream.reset(given as NetError | null);
    assertEquals([server.events, server.stream.closed], [[], true], "a later turn");
    run();
    assertEquals([server.closedWith, connection.openStreams], [given, 0]);
    assertEquals(peer.take(), [`RST_STREAM 1 ${code}`]);
  }
});

Deno.test("H2Stream.reset() of a server that has said everything is NO_ERROR (W15)", () => {
  const { log, peer, run } = openTunnel(serverWithRawClient());
  log.streams[0]!.stream.endWrite();
  log.streams[0]!.stream.reset(null);
  run();
  assertEquals(peer.take(), ["DATA 1 0 END_STREAM", "RST_STREAM 1 NO_ERROR"]);
});

Deno.test("nothing happens on a stream after its end", () => {
  const { log, peer, run } = openTunnel(serverWithRawClient());
  const { stream } = log.streams[0]!;
  stream.endWrite();
  stream.endWrite();
  assertEquals(say(stream, "x"), true);
  stream.reset(null);
  stream.reset(null);
  assertEquals(say(stream, "x"), true);
  stream.endWrite();
  stream.resume();
  run();
  assertEquals(peer.take(), ["DATA 1 0 END_STREAM", "RST_STREAM 1 NO_ERROR"]);
  assertEquals(log.streams[0]!.events, ["close"]);
});

// The client's requests.

Deno.test("Http2Connection.open() skips interim responses", () => {
  const { connection, log, peer, run } = clientWithRawServer();
  connection.open(CONNECT, log);
  run();
  assertEquals(peer.take(), ["HEADERS 1 :method=CONNECT :authority=10.0.0.2:8080"]);
  peer.send(peer.headers(1, [{ name: ":status", value: "103" }]));
  assertEquals(log.events, []);
  peer.send(peer.headers(1, OK));
  assertEquals(log.events, ["response 1 200"]);
});

Deno.test("an answer with END_STREAM is told so, and no data follows", () => {
  const { connection, log, peer, run } = clientWithRawServer();
  connection.open(CONNECT, log);
  run();
  let told: boolean | null = null;
  log.onAnswer = (_log, _headers, endStream) => told = endStream;
  peer.send(peer.headers(1, [{ name: ":status", value: "503" }], FLAG.END_STREAM), reset(1, 0));
  assertEquals([told, log.streams[0]!.events, connection.openStreams], [true, ["end", "close"], 0]);
});

Deno.test.each([
  { name: "the peer resets it", code: "REFUSED_STREAM", unprocessed: true },
  { name: "the peer cancels it", code: "CANCEL", unprocessed: false },
  { name: "its owner resets it", code: "CANCEL", unprocessed: false },
  { name: "the answer is malformed", code: "PROTOCOL_ERROR", unprocessed: false },
  { name: "DATA comes first", code: "PROTOCOL_ERROR", unprocessed: false },
  { name: "the transport ends", code: "UNEXPECTED_EOF", unprocessed: false },
  { name: "the connection ended before", code: "REFUSED_STREAM", unprocessed: true },
])("Http2Connection.open() fails with $code when $name", ({ name, code, unprocessed }) => {
  const { connection, log, peer, run } = clientWithRawServer();
  if (name === "the connection ended before") connection.close(0, null);
  const stream = connection.open(CONNECT, log);
  assertEquals(log.events, [], "a later turn");
  run();
  if (name === "the peer resets it") peer.send(reset(1, 7));
  if (name === "the peer cancels it") peer.send(reset(1, 8));
  if (name === "its owner resets it") stream.reset(null);
  if (name === "the answer is malformed") peer.send(peer.headers(1, [{ name: "a", value: "b" }]));
  if (name === "DATA comes first") peer.send(data(1, "x"));
  if (name === "the transport ends") peer.endWrite();
  run();
  assertEquals(log.failures.map((error) => error.code), [code]);
  assertEquals([isRetriable(log.failures[0]!), stream.closed], [
    unprocessed,
    true,
  ]);
});

Deno.test("requests above the peer's stream limit wait for a place", () => {
  const { connection, log, peer, run } = clientWithRawServer({ settings: [[3, 2]] });
  const streams = [0, 1, 2, 3].map(() => connection.open(CONNECT, log));
  say(streams[2]!, "waits too");
  streams[2]!.endWrite();
  run();
  const line = (id: number) => `HEADERS ${id} :method=CONNECT :authority=10.0.0.2:8080`;
  assertEquals([peer.take(), connection.openStreams], [[line(1), line(3)], 4]);
  streams[0]!.reset(null);
  run();
  assertEquals(peer.take(), ["RST_STREAM 1 CANCEL", line(5), "DATA 5 9 END_STREAM"]);
  streams[3]!.reset(null);
  peer.send(settings([3, 100]));
  assertEquals([peer.take(), connection.openStreams], [["SETTINGS ACK"], 2]);
  assertEquals(log.events, ["failure 1 CANCEL", "failure 7 CANCEL"]);
});

Deno.test.each([
  { count: WAITING_STREAMS_MAX - 1, refused: 0 },
  { count: WAITING_STREAMS_MAX, refused: 0 },
  { count: WAITING_STREAMS_MAX + 1, refused: 1 },
])("of $count waiting requests $refused is refused", ({ count, refused }) => {
  const { connection, log, run } = clientWithRawServer({ settings: [[3, 0]] });
  for (let i = 0; i < count; i++) connection.open(CONNECT, log);
  run();
  assertEquals(log.failures.length, refused);
});

// How connections end.

Deno.test("Http2Connection.drain() of a server says GOAWAY twice and ends with the last stream (W23)", () => {
  const { connection, log, peer, run } = openTunnel(serverWithRawClient());
  connection.drain();
  connection.drain();
  run();
  const [first, ping, ...rest] = peer.take();
  assertEquals([first, rest], [`GOAWAY ${2 ** 31 - 1} NO_ERROR`, []]);
  assertEquals(connection.acceptsStreams, false);
  peer.send(peer.headers(3, CONNECT));
  assertEquals(peer.take(), ["HEADERS 3 :status=200"], "the client may not have seen it yet");
  const opaque = Uint8Array.fromHex(ping!.slice(5));
  peer.send(frame(FRAME.PING, FLAG.ACK, 0, opaque), peer.headers(5, CONNECT), data(5, "late"));
  assertEquals(peer.take(), ["GOAWAY 3 NO_ERROR"]);
  assertEquals(log.events, ["request 1", "request 3"], "neither stream 5 nor the pong");
  peer.send(data(1, "still here"));
  assertEquals(log.streams[0]!.text, "still here");
  for (const { stream } of log.streams) stream.reset(null);
  run();
  assertEquals([peer.take().length, peer.ended], [2, true]);
  peer.endWrite();
  assertEquals(log.events.slice(2), ["idle", "close"]);
});

Deno.test("Http2Connection.drain() of a client ends once idle, and opens no more (W27)", () => {
  const { connection, log, peer, run } = openClientTunnel(clientWithRawServer());
  connection.drain();
  run();
  assertEquals([peer.take(), connection.acceptsStreams], [[], false]);
  connection.open(CONNECT, log);
  run();
  assertEquals(log.failures.map((error) => error.code), ["REFUSED_STREAM"]);
  log.streams[0]!.stream.endWrite();
  peer.send(data(1, "", FLAG.END_STREAM));
  assertEquals([peer.take(), peer.ended], [["DATA 1 0 END_STREAM", "GOAWAY 0 NO_ERROR"], true]);
  peer.endWrite();
  assertEquals([log.closedWith, peer.closed], [null, true]);
});

Deno.test("Http2Connection.drain() of a silent client ends once idle without GOAWAY (W28)", () => {
  const { connection, log, peer, run } = openClientTunnel(clientWithRawServer());
  connection.drain({ silent: true });
  run();
  assertEquals([peer.take(), connection.acceptsStreams, peer.ended], [[], false, false]);
  log.streams[0]!.stream.endWrite();
  peer.send(data(1, "", FLAG.END_STREAM));
  assertEquals([peer.take(), peer.ended], [["DATA 1 0 END_STREAM"], true]);
  peer.endWrite();
  assertEquals([log.closedWith, peer.closed], [null, true]);
});

Deno.test("Http2Connection.drain() of a silent client still says GOAWAY to a peer at fault", () => {
  const { connection, peer, run } = openClientTunnel(clientWithRawServer());
  connection.drain({ silent: true });
  run();
  peer.send(data(0, "x", 0));
  assertEquals([peer.take(), peer.ended], [["GOAWAY 0 PROTOCOL_ERROR"], true]);
  peer.endWrite();
});

Deno.test("a client that hears GOAWAY keeps streams up to the last id and ends with them (W26)", () => {
  const { connection, log, peer, run } = clientWithRawServer({ settings: [[3, 2]] });
  for (let i = 0; i < 3; i++) connection.open(CONNECT, log);
  run();
  peer.send(peer.headers(1, OK), goAway(1, 0, "max_age"));
  assertEquals(log.events, [
    "response 1 200",
    "goaway 1 0 max_age",
    "failure 5 NO_ERROR",
    "failure 3 NO_ERROR",
  ]);
  assertEquals(log.failures.map(isRetriable), [true, true]);
  const text = "connection error received: not a result of an error (max_age)";
  assertEquals(log.failures[0]!.message, text);
  assertEquals([connection.acceptsStreams, connection.openStreams], [false, 1]);
  peer.send(data(1, "goes on"));
  assertEquals(log.streams[0]!.text, "goes on");
  peer.take();
  log.streams[0]!.stream.reset(null);
  run();
  assertEquals([peer.take(), peer.ended], [["RST_STREAM 1 CANCEL", "GOAWAY 0 NO_ERROR"], true]);
  peer.endWrite();
  assertEquals(log.closedWith, null);
});

Deno.test("Http2Connection.close() says GOAWAY, tells every stream and ends the transport", () => {
  const { connection, log, peer, run } = openTunnel(serverWithRawClient());
  const reason = new NetError("CANCELLED");
  connection.close(0, reason);
  assertEquals(log.streams[0]!.events, [], "a later turn");
  run();
  assertEquals([peer.take(), peer.ended], [["GOAWAY 1 NO_ERROR"], true]);
  assertEquals(log.streams[0]!.closedWith, reason);
  peer.send(data(1, "x"), frame(FRAME.PING, 0, 0, "12345678"));
  assertEquals([peer.take(), log.closedWith], [[], undefined]);
  peer.endWrite();
  assertEquals(log.closedWith, reason);
});

Deno.test("Http2Connection.abort() ends the transport without a word (W21, W28)", () => {
  const { connection, log, peer, run } = openTunnel(serverWithRawClient());
  const reason = new NetError("ETIMEDOUT");
  connection.abort(reason);
  connection.abort(null);
  assertEquals([log.events, log.streams[0]!.events], [["request 1"], []], "a later turn");
  run();
  assertEquals([peer.take(), peer.closed], [[], true]);
  assertEquals(log.streams[0]!.closedWith, reason);
  assertEquals(log.events, ["request 1", "close ETIMEDOUT"]);
});

Deno.test("when the transport ends, streams end with it and the connection is told last", () => {
  const { log, peer, end, run } = openTunnel(serverWithRawClient());
  peer.endWrite();
  assertEquals(log.streams[0]!.events, ["close UNEXPECTED_EOF"]);
  assertEquals([end.closed, log.closedWith?.code], [true, "UNEXPECTED_EOF"]);
  run();
  assertEquals(log.events, ["request 1", "close UNEXPECTED_EOF"]);
});

Deno.test("an idle connection whose peer leaves closes without an error", () => {
  const { log, peer } = serverWithRawClient();
  peer.endWrite();
  assertEquals(log.events, ["close"]);
});

Deno.test("the transport's failure is every stream's failure", () => {
  const { log, end, run } = openTunnel(serverWithRawClient());
  end.other.reset(null);
  run();
  assertEquals([log.streams[0]!.closedWith?.code, log.closedWith?.code], [
    "ECONNRESET",
    "ECONNRESET",
  ]);
});

Deno.test("bytes of a stream that ended in order survive the connection", () => {
  const { log, peer, connection, run, pool } = openTunnel(serverWithRawClient());
  const server = log.streams[0]!;
  server.stream.pause();
  server.stream.endWrite();
  peer.send(data(1, "x".repeat(30_000), FLAG.END_STREAM));
  connection.abort(null);
  run();
  assertEquals([server.events, log.closedWith], [[], null]);
  server.stream.resume();
  run();
  assertEquals([server.bytes, server.events, pool.lent], [30_000, ["data", "end", "close"], 0]);
});

// What an owner hears besides.

Deno.test("onHeaderBlock() tells where a header block begins and is complete", () => {
  const { log, peer } = serverWithRawClient();
  const told: boolean[] = [];
  log.onHeaderBlock = (open) => told.push(open);
  const bytes = peer.headers(1, CONNECT);
  peer.send(bytes.subarray(0, 8));
  assertEquals(told, []);
  peer.send(bytes.subarray(8, 9));
  assertEquals(told, [true]);
  peer.send(bytes.subarray(9));
  assertEquals([told, log.streams.length], [[true, false], 1]);
});

Deno.test("onEnding() tells, in a later turn, that only the peer's end is awaited", () => {
  const { connection, log, peer, run } = serverWithRawClient();
  const told: string[] = [];
  Object.assign(log, { onEnding: () => told.push("ending") });
  connection.close(0, null);
  assertEquals(told, []);
  run();
  assertEquals([told, log.closedWith], [["ending"], undefined]);
  peer.endWrite();
  assertEquals([told, log.closedWith], [["ending"], null]);
});

Deno.test.each([
  {
    name: "malformed",
    headers: [CONNECT[1]!],
    code: "PROTOCOL_ERROR",
    detail: ":method is missing",
  },
  {
    name: "too long",
    headers: [...CONNECT, { name: "a", value: "x".repeat(70_000) }],
    code: "ENHANCE_YOUR_CALM",
    detail: "its header list is above our limit",
  },
])("onRequestRefused() tells of a request that is $name", ({ headers, code, detail }) => {
  const { log, peer } = serverWithRawClient();
  const told: [number, H2StreamError][] = [];
  Object.assign(log, {
    onRequestRefused: (id: number, error: H2StreamError) => told.push([id, error]),
  });
  peer.send(peer.headers(1, headers));
  const [id, error] = told[0]!;
  assertEquals([told.length, id, error.code, log.streams.length], [1, 1, code, 0]);
  assertEquals(error.detail, `Cannot accept request: ${detail}`);
});

Deno.test("requests that wait fail with the connection", () => {
  const { connection, log, run } = clientWithRawServer({ settings: [[3, 0]] });
  connection.open(CONNECT, log);
  connection.close(0, new NetError("CANCELLED"));
  run();
  assertEquals([log.events, connection.openStreams], [["failure 1 CANCELLED"], 0]);
});

Deno.test("HEADERS on a stream that both sides ended cost the connection", () => {
  const { log, peer, run } = openTunnel(serverWithRawClient());
  log.streams[0]!.stream.endWrite();
  run();
  peer.send(data(1, "", FLAG.END_STREAM), peer.headers(1, CONNECT));
  assertEquals(peer.take(), ["DATA 1 0 END_STREAM", "GOAWAY 1 STREAM_CLOSED"]);
});

Deno.test("a peer that allows no header table gets none", () => {
  const { log, peer } = serverWithRawClient({ settings: [[1, 0]] });
  const headers = [...OK, { name: "baggage", value: "k8s.cluster.name=K1" }];
  log.onAccept = ({ stream }) => stream.respond(headers, { endStream: false });
  peer.send(peer.headers(1, CONNECT), peer.headers(3, CONNECT));
  const answer = (id: number) => `HEADERS ${id} :status=200 baggage=k8s.cluster.name=K1`;
  assertEquals(peer.take(), [answer(1), answer(3)]);
});

/** The peer guarantees that it did nothing about the request. */
function isRetriable(error: unknown): boolean {
  return error instanceof H2Error && error.unprocessed;
}
