// TLS inside a channel: what may pile up between the two, in either direction, and how long the end may take.
import { assert, assertEquals } from "@std/assert";
import { bytePipe, type PipeEnd } from "../../../tests/support/byte_pipe.ts";
import { CONNECT, ConnectionLog, OK } from "../../../tests/support/h2_pair.ts";
import { NativeTls } from "../../../tests/support/native_tls.ts";
import { pass, twoCertificates, until } from "../../../tests/support/real_sockets.ts";
import { adoptBlock, BlockPool } from "../../base/block.ts";
import type { Channel } from "../../base/channel.ts";
import type { ProxyError } from "../../base/errors.ts";
import { Http2Connection } from "../../h2/connection.ts";
import { CARRIER_END_MS, INCOMING_BYTES_MAX } from "./channel_carrier.ts";
import { RECORD_BYTES_MAX, RECORDS_PER_FLUSH, TLS_UNSENT_BYTES_MAX } from "./tls_channel.ts";

const CERTIFICATES = await twoCertificates();

interface Heard {
  bytes: number;
  ends: number;
  error: ProxyError | null | undefined;
}

function listen(channel: Channel): Heard {
  const heard: Heard = { bytes: 0, ends: 0, error: undefined };
  channel.attach({
    onData: (_block, start, end) => void (heard.bytes += end - start),
    onEnd: () => void heard.ends++,
    onWritable() {},
    onClose: (error) => void (heard.error = error),
  });
  return heard;
}

async function inPipe(world: NativeTls, highWaterBytes = Infinity) {
  const [left, right] = bytePipe(world.loop.clock, { highWaterBytes });
  const { client, server } = await world.secure({ client: left, server: right }, CERTIFICATES);
  return { left, right, client, server };
}

function write(channel: Channel, bytes: number): boolean {
  return channel.write(adoptBlock(new Uint8Array(bytes)), 0, bytes);
}

Deno.test("a session nobody reads pauses the channel below (INCOMING_BYTES_MAX)", async () => {
  await using world = new NativeTls();
  const { left, client, server } = await inPipe(world);
  const pieceBytes = 16_000;
  for (let at = 0; at < 40; at++) {
    write(client, pieceBytes);
    await pass(1);
  }
  await until(() => left.queuedBytes > 0);
  await pass(10);
  // What was let in before the pause: the limit, and the delivery that passed it.
  const letIn = left.bytesWritten - left.queuedBytes;
  assert(letIn < INCOMING_BYTES_MAX + 2 * (pieceBytes + 1000) + 8000, `${letIn} octets`);
  assert(letIn >= INCOMING_BYTES_MAX, `${letIn} octets`);
  const heard = listen(server);
  await until(() => heard.bytes === 40 * pieceBytes);
  client.reset(null);
  server.reset(null);
});

Deno.test("a channel that takes no more stops the session above it", async () => {
  await using world = new NativeTls();
  const highWaterBytes = 50_000;
  const { left, client, server } = await inPipe(world, highWaterBytes);
  left.held = true;
  let more = true;
  let bytes = 0;
  while (more) {
    more = write(client, 20_000);
    bytes += 20_000;
    await pass(1);
  }
  assert(bytes <= TLS_UNSENT_BYTES_MAX + highWaterBytes + 100_000, `${bytes} octets taken`);
  const batch = RECORDS_PER_FLUSH * (RECORD_BYTES_MAX + 100);
  assert(left.queuedBytes < highWaterBytes + batch, `${left.queuedBytes} octets below`);
  const heard = listen(server);
  listen(client);
  left.release();
  await until(() => heard.bytes === bytes);
  client.reset(null);
  server.reset(null);
});

Deno.test("a channel below that ends in the middle of the session is an error above", async () => {
  await using world = new NativeTls();
  const { left, client, server } = await inPipe(world);
  const heard = listen(server);
  write(client, 1000);
  await until(() => heard.bytes === 1000);
  left.endWrite();
  await until(() => heard.error !== undefined);
  assertEquals([heard.error?.code, heard.ends], ["UNEXPECTED_EOF", 0]);
  client.reset(null);
});

/** The same end, but its other side never hears that it wrote the last. */
function neverEnding(end: PipeEnd): Channel {
  return {
    peer: end.peer,
    local: end.local,
    get closed() {
      return end.closed;
    },
    attach: (handler) => end.attach(handler),
    pause: () => end.pause(),
    resume: () => end.resume(),
    write: (block, start, stop) => end.write(block, start, stop),
    endWrite() {},
    reset: (reason) => end.reset(reason),
  };
}

Deno.test("a channel below that does not end is reset after CARRIER_END_MS", async () => {
  assertEquals(CARRIER_END_MS, 1000);
  await using world = new NativeTls();
  const [left, right] = bytePipe(world.loop.clock);
  const below = { client: neverEnding(left), server: right };
  const { client, server } = await world.secure(below, CERTIFICATES);
  const heard = [listen(client), listen(server)];
  client.endWrite();
  server.endWrite();
  await until(() => heard.every(({ error }) => error === null));
  const isClosed = (end: PipeEnd) => end.closed;
  assertEquals([left, right].some(isClosed), false);
  const beginMs = performance.now();
  await until(() => [left, right].every(isClosed));
  assert(performance.now() - beginMs > CARRIER_END_MS / 2);
});

Deno.test("a session inside an HTTP/2 stream inside a session: octets both ways, and the end of both", async () => {
  await using world = new NativeTls();
  const outer = await world.securePair(CERTIFICATES);
  const pool = new BlockPool({ blockBytes: 65_536, idleMax: 8 });
  const open = (side: "client" | "server") => {
    const log = new ConnectionLog();
    log.attaches = false;
    const { clock } = world.loop;
    const options = { side, transport: outer[side], handler: log, clock, pool, limits: {} };
    return { log, connection: new Http2Connection(options) };
  };
  const [near, far] = [open("client"), open("server")];
  far.log.onAccept = ({ stream }) => stream.respond(OK, { endStream: false });
  near.connection.open(CONNECT, near.log);
  await until(() => near.log.streams.length === 1);
  const streams = { client: near.log.streams[0]!.stream, server: far.log.streams[0]!.stream };
  const { client, server } = await world.secure(streams, CERTIFICATES);
  assertEquals(client.security.peerIdentities, [CERTIFICATES.server.identity]);

  const heard = [listen(client), listen(server)];
  // More than the stream's window.
  const bytes = 6_000_000;
  for (const channel of [client, server]) write(channel, bytes);
  await until(() => heard.every((side) => side.bytes === bytes));
  for (const channel of [client, server]) channel.endWrite();
  await until(() => heard.every(({ ends, error }) => ends === 1 && error === null));
  await until(() => near.connection.openStreams + far.connection.openStreams === 0);
  for (const { connection } of [near, far]) connection.abort(null);
  await until(() => near.log.closedWith !== undefined && far.log.closedWith !== undefined);
  assertEquals(pool.lent, 0);
});
