// Peers that a proxy dials and that mean no good: each conversation plays the workload of one address.
import net from "node:net";
import tls from "node:tls";
import { randomBelow, SeededRandom } from "../../src/base/random.ts";
import { HpackDecoder } from "../../src/h2/hpack/decoder.ts";
import { concat, data, frame, settings, windowUpdate } from "../support/h2_raw.ts";
import { OK } from "../support/h2_pair.ts";
import { connectSocks5 } from "../support/socks5.ts";
import { type Arena, type Assault, closed, pause, quiet, writePieces } from "./assault.ts";
import { FrameSender, randomBytes } from "./frame_sender.ts";
import { HeaderBlocks } from "./hostile_clients.ts";
import { randomRecord, RecordMangler } from "./record_mangler.ts";
import { within } from "./within.ts";

const HBONE_PORT = 15008;
const PREFACE_BYTES = 24;
const STEPS_MAX = 30;
/** What an application waits for an answer. */
const ANSWER_MS = 200;

/** What becomes of a connection that the proxy opened. */
type Answer = (socket: net.Socket, arena: Arena) => void;

/** Listens as the workload, sends an application or two there, and sees that everything closes. */
const serving = (answer: Answer): Assault => async (arena) => {
  const { pair, random, hostileIp } = arena;
  const sockets: net.Socket[] = [];
  const server = net.createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    answer(socket, arena);
  });
  await new Promise<void>((resolve) => server.listen(HBONE_PORT, hostileIp, resolve));
  try {
    for (let users = 1 + randomBelow(random, 2); users > 0; users--) await use(arena);
    server.close();
    // The pool lets go after a second; whoever does not say so is waited for.
    for (const socket of sockets) {
      if (randomBelow(random, 3) > 0) socket.destroySoon();
      await closed(socket, `a connection to ${pair.outbound.ip}'s hostile peer`);
    }
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
};

/** An application's connection through SOCKS5: some bytes, whatever comes back, and away. */
async function use({ pair, random, hostileIp }: Arena): Promise<void> {
  let connection: Deno.TcpConn;
  try {
    connection = await connectSocks5(pair.outbound.ip, { ip: hostileIp, port: 80 });
  } catch (error) {
    // Refused, or cut off: one of the right answers.
    if (error instanceof Error) return;
    throw error;
  }
  const reading = (async () => {
    const buffer = new Uint8Array(16_384);
    while (await connection.read(buffer) !== null);
  })().catch(() => {});
  const writing = connection.write(randomBytes(random, randomBelow(random, 8000)))
    .catch(() => {});
  await within(reading, randomBelow(random, ANSWER_MS)).catch(() => {});
  connection.close();
  await Promise.all([reading, writing]);
}

/** Octets or records without any sense instead of TLS. */
export const rawServer: Assault = serving((socket, { random }) => {
  socket.on("end", () => socket.end());
  socket.resume();
  const bytes = randomBelow(random, 2) === 0
    ? randomBytes(random, randomBelow(random, 3000))
    : concat(...Array.from({ length: 1 + randomBelow(random, 30) }, () => randomRecord(random)));
  socket.write(bytes);
  if (randomBelow(random, 2) === 0) socket.end();
});

/** Leaves as soon as it is called, or a little later. */
export const resettingServer: Assault = serving((socket, { random }) => {
  socket.on("end", () => socket.end());
  socket.resume();
  if (randomBelow(random, 2) === 0) socket.resetAndDestroy();
  else socket.once("data", () => socket.resetAndDestroy());
});

/** Passes the connection on to a TLS server of this process. */
function relayed(serve: (socket: tls.TLSSocket, arena: Arena) => void, hostility: number): Answer {
  return (near, arena) => {
    const { hostileLeaf } = arena.pair;
    const server = tls.createServer({
      cert: hostileLeaf.certPem,
      key: hostileLeaf.keyPem,
      ca: hostileLeaf.rootPem,
      requestCert: true,
      rejectUnauthorized: false,
      ALPNProtocols: ["h2"],
      minVersion: "TLSv1.3",
    }, (socket) => {
      server.close();
      serve(quiet(socket), arena);
    });
    server.on("tlsClientError", () => server.close());
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as net.AddressInfo;
      const far = net.connect({ host: "127.0.0.1", port, noDelay: true, allowHalfOpen: true });
      far.once("close", () => server.close());
      new RecordMangler(near, far, { random: new SeededRandom(arena.random.uint32()), hostility });
    });
  };
}

/** Good TLS, then octets without sense. */
export const securedBytesServer: Assault = serving(
  relayed((socket, { random }) => {
    const start = randomBelow(random, 2) === 0 ? settings() : new Uint8Array(0);
    socket.write(concat(start, randomBytes(random, randomBelow(random, 3000))));
    if (randomBelow(random, 2) === 0) socket.end();
  }, 0),
);

/** Good TLS, then frames from honest to hostile. */
export const hostileFramesServer: Assault = serving(
  relayed((socket, { random }) => {
    const blocks = new HeaderBlocks();
    const sender = new FrameSender(random, {
      to: "client",
      headers: (...given) => blocks.headers(...given),
      block: (headers) => blocks.block(headers),
      streamsOpened: () => 2,
      request: () => OK,
    });
    socket.write(settings());
    (async () => {
      for (let steps = randomBelow(random, STEPS_MAX); steps > 0 && socket.writable; steps--) {
        const parts = Array.from({ length: 1 + randomBelow(random, 4) }, () => sender.frame());
        await writePieces(socket, concat(...parts), random);
        await pause(randomBelow(random, 8));
      }
      if (randomBelow(random, 2) === 0) socket.destroy();
    })();
  }, 0),
);

/** An honest peer that echoes, on a path where somebody tampers with records. */
export const tamperedServer: Assault = serving((near, arena) =>
  relayed(echo, [5, 50, 300][randomBelow(arena.random, 3)]!)(near, arena)
);

/** Just enough of HTTP/2 to answer 200 and echo DATA. */
function echo(socket: tls.TLSSocket): void {
  let unread: Uint8Array = new Uint8Array(0);
  let skipBytes = PREFACE_BYTES;
  const blocks = new HeaderBlocks();
  const decoder = new HpackDecoder({ tableBytesMax: 4096 });
  const send = (...frames: Uint8Array[]) => {
    if (socket.writable) socket.write(concat(...frames));
  };
  send(settings());
  socket.on("data", (chunk: Uint8Array) => {
    unread = concat(unread, chunk);
    const skipped = Math.min(skipBytes, unread.length);
    skipBytes -= skipped;
    unread = unread.slice(skipped);
    for (;;) {
      if (unread.length < 9) return;
      const whole = 9 + (unread[0]! << 16 | unread[1]! << 8 | unread[2]!);
      if (unread.length < whole) return;
      const [type, flags] = [unread[3]!, unread[4]!];
      const id = (unread[7]! << 8) | unread[8]!;
      const body = unread.slice(9, whole);
      unread = unread.slice(whole);
      if (type === 1) {
        decoder.decode(body, 0, body.length, { onHeader() {} });
        send(blocks.headers(id, OK, 0));
      } else if (type === 0) {
        const credit = body.length === 0
          ? []
          : [windowUpdate(0, body.length), windowUpdate(id, body.length)];
        send(data(id, body, flags & 1), ...credit);
      } else if (type === 4 && (flags & 1) === 0) send(frame(4, 1, 0));
      else if (type === 6 && (flags & 1) === 0) send(frame(6, 1, 0, body));
    }
  });
}
