// Windows, both ways: who may send how much, who is credited when, and whose turn it is.
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { blockOf, CONNECT, h2Pair, OK, say } from "../../tests/support/h2_pair.ts";
import {
  data,
  paddedData,
  type RawOptions,
  type RawSetup,
  reset,
  serverWithRawClient,
  settings,
  windowUpdate,
} from "../../tests/support/h2_raw.ts";
import { SEND_QUANTUM_BYTES } from "./data_sender.ts";

/** A server with stream 1 open and answered. */
function openTunnel(options: RawOptions = {}): RawSetup {
  const setup = serverWithRawClient(options);
  setup.log.onAccept = ({ stream }) => stream.respond(OK, { endStream: false });
  setup.peer.send(setup.peer.headers(1, CONNECT));
  setup.peer.take();
  return setup;
}

// Sending.

Deno.test.each([
  { bytes: 7, sent: ["DATA 1 7"], more: true },
  { bytes: 8, sent: ["DATA 1 8"], more: true },
  { bytes: 9, sent: ["DATA 1 8"], more: false },
])("of $bytes bytes, a stream window of 8 lets $sent go; more welcome: $more", (row) => {
  const { log, peer, run } = openTunnel({ settings: [[4, 8]] });
  const { stream, events } = log.streams[0]!;
  assertEquals(say(stream, "x".repeat(row.bytes)), row.more);
  run();
  assertEquals([peer.take(), events], [row.sent, []]);
  peer.send(windowUpdate(1, 100));
  assertEquals([peer.take(), events], row.more ? [[], []] : [["DATA 1 1"], ["writable"]]);
});

Deno.test.each([
  { bytes: 65_534, sent: 65_534, more: true },
  { bytes: 65_535, sent: 65_535, more: true },
  { bytes: 65_536, sent: 65_535, more: false },
])("of $bytes bytes, the connection window of 65,535 lets $sent go", ({ bytes, sent, more }) => {
  const { log, peer, run } = openTunnel({ settings: [[4, 1_000_000], [5, 1_000_000]] });
  assertEquals(say(log.streams[0]!.stream, "x".repeat(bytes)), more);
  run();
  assertEquals(peer.take(), [`DATA 1 ${sent}`]);
  peer.send(windowUpdate(0, 100));
  assertEquals(peer.take(), more ? [] : ["DATA 1 1"]);
});

Deno.test("a zero window for ever costs what was written and nothing else", () => {
  const { log, peer, run, pool } = openTunnel({ settings: [[4, 0]] });
  const server = log.streams[0]!;
  assertEquals(say(server.stream, "x".repeat(100_000)), false);
  server.stream.endWrite();
  run();
  assertEquals([peer.take(), server.events], [[], []]);
  server.stream.reset(null);
  run();
  assertEquals([peer.take(), pool.lent], [["RST_STREAM 1 CANCEL"], 0]);
});

Deno.test("SETTINGS can take a window below zero; credit must make up for it first", () => {
  const { log, peer, run } = openTunnel({ settings: [[4, 8]] });
  const { stream } = log.streams[0]!;
  say(stream, "x".repeat(8));
  run();
  peer.take();
  peer.send(settings([4, 3])); // The window is -5 now.
  say(stream, "y".repeat(4));
  peer.send(windowUpdate(1, 5));
  assertEquals(peer.take(), ["SETTINGS ACK"]);
  peer.send(windowUpdate(1, 1));
  assertEquals(peer.take(), ["DATA 1 1"]);
  peer.send(settings([4, 100]));
  assertEquals(peer.take(), ["SETTINGS ACK", "DATA 1 3"]);
});

Deno.test("the last DATA carries END_STREAM when the end was asked for while it waited", () => {
  const { log, peer, run } = openTunnel({ settings: [[4, 3]] });
  say(log.streams[0]!.stream, "abcdef");
  log.streams[0]!.stream.endWrite();
  run();
  assertEquals(peer.take(), ["DATA 1 3"]);
  peer.send(windowUpdate(1, 3));
  assertEquals([peer.take(), log.streams[0]!.events], [["DATA 1 3 END_STREAM"], []]);
});

Deno.test("DATA is cut to the peer's frame size", () => {
  const { log, peer, run } = openTunnel();
  say(log.streams[0]!.stream, "x".repeat(16_384 * 2 + 1));
  run();
  assertEquals(peer.take(), ["DATA 1 16384", "DATA 1 16384", "DATA 1 1"]);
});

Deno.test("a transport that is full makes streams wait, and says when it is not", () => {
  const pair = h2Pair({ highWaterBytes: 50_000 });
  const [client, server] = pair.tunnel();
  pair.clientEnd.held = true;
  let written = 0;
  while (say(client.stream, "x".repeat(10_000))) written += 10_000;
  assert(written >= 40_000 && written <= 60_000, `${written}`);
  say(client.stream, "y".repeat(100_000));
  pair.run();
  assert(pair.clientEnd.queuedBytes <= 70_000, "what was written beyond waits with us");
  assertEquals(client.events, []);
  pair.clientEnd.release();
  pair.run();
  assertEquals([client.events, server.bytes], [["writable"], written + 110_000]);
  assertEquals(pair.pool.lent, 0);
});

Deno.test("streams that wait for the transport share it fairly", () => {
  const pair = h2Pair({ highWaterBytes: 32_768 });
  const [filler] = pair.tunnel();
  const tunnels = [pair.tunnel(), pair.tunnel(), pair.tunnel(), pair.tunnel()];
  pair.clientEnd.held = true;
  say(filler.stream, "x".repeat(50_000));
  const payload = blockOf(new Uint8Array(1_000_000));
  for (const [client] of tunnels) client.stream.write(payload, 0, payload.bytes.length);
  let widest = 0;
  for (const [, server] of tunnels) {
    server.keeps = false;
    server.onBytes = () => {
      const shares = tunnels.map((tunnel) => tunnel[1].bytes);
      widest = Math.max(widest, Math.max(...shares) - Math.min(...shares));
    };
  }
  pair.clientEnd.release();
  pair.run();
  assertEquals(tunnels.map(([, server]) => server.bytes), Array(4).fill(1_000_000));
  assertEquals(widest, SEND_QUANTUM_BYTES);
});

Deno.test("streams that wait for the connection window get equal shares of it", () => {
  const setup = serverWithRawClient({ settings: [[4, 10_000_000], [5, 1_000_000]] });
  const { peer, log } = setup;
  log.onAccept = ({ stream }) => stream.respond(OK, { endStream: false });
  for (const id of [1, 3, 5]) peer.send(peer.headers(id, CONNECT));
  const payload = blockOf(new Uint8Array(2_000_000));
  for (const { stream } of log.streams) stream.write(payload, 0, payload.bytes.length);
  setup.run();
  peer.take();
  const shares = new Map<string, number>();
  for (let i = 0; i < 30; i++) {
    peer.send(windowUpdate(0, SEND_QUANTUM_BYTES));
    for (const line of peer.take()) {
      const [, id, bytes] = line.split(" ");
      shares.set(id!, (shares.get(id!) ?? 0) + Number(bytes));
    }
  }
  assertEquals([...shares.keys()].sort(), ["1", "3", "5"]);
  for (const share of shares.values()) {
    assertAlmostEquals(share, 10 * SEND_QUANTUM_BYTES, SEND_QUANTUM_BYTES);
  }
});

// Receiving.

Deno.test.each([
  { name: "padding 0", padding: 0 },
  { name: "padding 1", padding: 1 },
  { name: "padding 255", padding: 255 },
])("DATA with $name is delivered without it and counted with it", ({ padding }) => {
  const { log, peer } = openTunnel({ limits: { streamWindowBytes: 300 } });
  for (let i = 0; i < 100; i++) peer.send(paddedData(1, "abc", padding));
  assertEquals(log.streams[0]!.text, "abc".repeat(100));
  const credit = peer.take().reduce((bytes, line) => bytes + Number(line.split(" ")[2]), 0);
  const counted = 100 * (3 + 1 + padding);
  assert(credit <= counted && credit > counted - 300, `${credit} of ${counted}`);
});

Deno.test.each([
  { bytes: 7, lines: [] },
  { bytes: 8, lines: [] },
  { bytes: 9, lines: ["RST_STREAM 1 FLOW_CONTROL_ERROR"] },
])("of a receive window of 8, DATA of $bytes bytes gives $lines", ({ bytes, lines }) => {
  const { log, peer } = openTunnel({ limits: { streamWindowBytes: 8 } });
  log.streams[0]!.stream.pause();
  peer.send(data(1, "x".repeat(bytes)));
  assertEquals(peer.take(), lines);
  const expected = lines.length === 0 ? undefined : "FLOW_CONTROL_ERROR";
  assertEquals(log.streams[0]!.closedWith?.code, expected);
});

Deno.test.each([
  { last: 65_535 - 60_000 - 1, fatal: false },
  { last: 65_535 - 60_000, fatal: false },
  { last: 65_535 - 60_000 + 1, fatal: true },
])("DATA of 60,000 and $last bytes breaks a connection window of 65,535: $fatal", (row) => {
  const setup = openTunnel({ limits: { connectionWindowBytes: 65_535 } });
  const { log, peer } = setup;
  peer.send(peer.headers(3, CONNECT));
  peer.take();
  for (const { stream } of log.streams) stream.pause();
  peer.send(data(1, "x".repeat(60_000)), data(3, "x".repeat(row.last)));
  assertEquals(peer.take(), row.fatal ? ["GOAWAY 3 FLOW_CONTROL_ERROR"] : []);
});

Deno.test("credit follows consumption, never arrival", () => {
  const { log, peer, run } = openTunnel({ limits: { streamWindowBytes: 1000 } });
  const { stream } = log.streams[0]!;
  stream.pause();
  peer.send(data(1, "x".repeat(1000)));
  assertEquals(peer.take(), []);
  stream.resume();
  run();
  assertEquals(peer.take(), ["WINDOW_UPDATE 1 1000"]);
});

Deno.test("window updates come a quarter of the window at a time, not per frame", () => {
  const { peer } = openTunnel({ limits: { streamWindowBytes: 4000 } });
  for (let i = 0; i < 40; i++) peer.send(data(1, "x".repeat(100)));
  assertEquals(peer.take(), Array(4).fill("WINDOW_UPDATE 1 1000"));
});

Deno.test("a stream whose peer has ended gets no more credit, the connection does", () => {
  const { log, peer, run } = openTunnel({
    limits: { streamWindowBytes: 40_000, connectionWindowBytes: 65_535 },
  });
  log.streams[0]!.stream.pause();
  peer.send(data(1, "x".repeat(40_000), 1));
  log.streams[0]!.stream.resume();
  run();
  assertEquals(peer.take(), ["WINDOW_UPDATE 0 40000"]);
});

Deno.test.each([
  { name: "after we reset it" },
  { name: "after the peer reset it" },
  { name: "while its data waits" },
  { name: "in the middle of a frame" },
])("the connection gets back the credit of a stream that ends: $name", ({ name }) => {
  const setup = openTunnel({ limits: { connectionWindowBytes: 65_535 } });
  const { log, peer, run, connection, pool } = setup;
  const { stream } = log.streams[0]!;
  const payload = data(1, "x".repeat(20_000));
  switch (name) {
    case "after we reset it":
      stream.reset(null);
      peer.send(payload);
      break;
    case "after the peer reset it":
      peer.send(reset(1, 8), payload);
      break;
    case "while its data waits":
      stream.pause();
      peer.send(payload);
      stream.reset(null);
      run();
      break;
    case "in the middle of a frame":
      peer.send(payload.subarray(0, 5_000));
      stream.reset(null);
      peer.send(payload.subarray(5_000));
      break;
  }
  const credit = peer.take().filter((line) => line.startsWith("WINDOW_UPDATE 0"));
  assertEquals(credit.length, 1);
  assertEquals([connection.heldBytes, pool.lent], [0, 0]);
});

Deno.test("an unread stream with 4 MiB pending does not stop the others (spec/data-path §1.2)", () => {
  const pair = h2Pair();
  const [stuck, stuckServer] = pair.tunnel();
  const [moving, movingServer] = pair.tunnel();
  stuckServer.stream.pause();
  for (const log of [stuckServer, movingServer]) log.keeps = false;
  const payload = blockOf(new Uint8Array(65_536));
  let pending = 0;
  while (stuck.stream.write(payload, 0, 65_536)) {
    pending += 65_536;
    pair.run();
  }
  pair.run();
  assert(pending >= 4_194_304 - 65_536, `${pending}`);
  for (let i = 0; i < 400; i++) {
    moving.stream.write(payload, 0, 65_536);
    pair.run();
  }
  assertEquals(movingServer.bytes, 400 * 65_536);
  assertEquals(stuckServer.bytes, 0);
  stuckServer.stream.resume();
  pair.run();
  assertEquals(stuckServer.bytes, pending + 65_536);
  assertEquals(pair.pool.lent, 0);
});

Deno.test("many small streams do not lose connection credit", () => {
  const pair = h2Pair({
    clientLimits: { connectionWindowBytes: 65_535 },
    serverLimits: { connectionWindowBytes: 65_535 },
  });
  for (let i = 0; i < 300; i++) {
    const [client, server] = pair.tunnel();
    say(client.stream, "x".repeat(1_000));
    say(server.stream, "y".repeat(1_000));
    pair.run();
    assertEquals([client.bytes, server.bytes], [1_000, 1_000], `stream ${i}`);
    if (i % 2 === 0) client.stream.reset(null);
    else server.stream.reset(null);
    pair.run();
  }
});

Deno.test("what waits for a paused reader takes memory by its bytes, not by the peer's frames", () => {
  const { log, peer, pool } = openTunnel();
  log.streams[0]!.stream.pause();
  const frames = new Uint8Array(1_000_000);
  for (let at = 0; at < frames.length; at += 10) frames.set([0, 0, 1, 0, 0, 0, 0, 0, 1, 7], at);
  peer.send(frames);
  assert(pool.lent * pool.blockBytes <= 3 * 100_000, `${pool.lent} blocks for 100,000 bytes`);
  log.streams[0]!.stream.reset(null);
  assertEquals(pool.lent, 1, "the RST_STREAM to be sent");
});

Deno.test("a million one-byte writes on one stream pass", () => {
  const pair = h2Pair();
  const [client, server] = pair.tunnel();
  server.keeps = false;
  const byte = blockOf("x");
  for (let i = 0; i < 1_000_000; i++) {
    client.stream.write(byte, 0, 1);
    if (i % 100 === 99) pair.run();
  }
  client.stream.endWrite();
  pair.run();
  assertEquals([server.bytes, server.events], [1_000_000, ["data", "end"]]);
  assertEquals(pair.pool.lent, 0);
});

Deno.test("a million one-byte DATA frames on one stream pass", () => {
  const { log, peer, connection } = openTunnel();
  log.streams[0]!.keeps = false;
  const frames = new Uint8Array(100_000);
  for (let at = 0; at < frames.length; at += 10) frames.set([0, 0, 1, 0, 0, 0, 0, 0, 1, 7], at);
  for (let i = 0; i < 100; i++) peer.send(frames);
  assertEquals([log.streams[0]!.bytes, connection.openStreams], [1_000_000, 1]);
});
