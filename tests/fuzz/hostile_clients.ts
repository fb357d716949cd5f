// Peers that call a proxy's 15008 (and its SOCKS5 port) and mean no good.
import net from "node:net";
import tls from "node:tls";
import { randomBelow, SeededRandom } from "../../src/base/random.ts";
import { PREFACE } from "../../src/h2/frame_reader.ts";
import { HpackEncoder, maxEncodedBytes } from "../../src/h2/hpack/encoder.ts";
import type { HeaderList } from "../../src/h2/types.ts";
import { concat, data, frame, settings } from "../support/h2_raw.ts";
import { connectTo } from "../support/hbone_client.ts";
import type { TestLeaf } from "../support/mesh_ca.ts";
import { SOCKS5_PORT } from "../support/socks5.ts";
import {
  type Arena,
  type Assault,
  closed,
  connect,
  leave,
  pause,
  quiet,
  writePieces,
} from "./assault.ts";
import { FrameSender, mutate, randomBytes } from "./frame_sender.ts";
import { randomRecord, RecordMangler } from "./record_mangler.ts";

const HBONE_PORT = 15008;
/** Deliveries of frames on one connection. */
const STEPS_MAX = 40;
const CONNECTED_WITHIN_MS = 10_000;
/** How long an honest client on a tampered path waits for its answer. */
const ANSWER_MS = 100;

/** Header blocks of one connection, in order. */
export class HeaderBlocks {
  readonly #encoder = new HpackEncoder();

  block(headers: HeaderList): Uint8Array {
    const bytes = new Uint8Array(maxEncodedBytes(headers));
    return bytes.slice(0, this.#encoder.encode(headers, bytes, 0));
  }

  headers(streamId: number, headers: HeaderList, flags: number): Uint8Array {
    return frame(1, flags | 4, streamId, this.block(headers));
  }
}

const raw = (bytesOf: (arena: Arena) => Uint8Array): Assault => async (arena) => {
  const { pair, random } = arena;
  const socket = connect(pair.inbound.ip, HBONE_PORT);
  await writePieces(socket, bytesOf(arena), random);
  await leave(socket, random, { what: "a raw connection", maySulk: true });
};

/** Octets without any sense. */
export const rawBytes = raw(({ random }) =>
  randomBytes(random, randomBelow(random, 2 ** (1 + randomBelow(random, 16))))
);

/** Records of every kind and length before any handshake. */
export const rawRecords = raw(({ random }) =>
  concat(...Array.from({ length: 1 + randomBelow(random, 60) }, () => randomRecord(random)))
);

/** A ClientHello as a good peer sends it, changed a little. */
export const mutatedHello = raw(({ random }) => {
  let hello: Uint8Array = HELLO;
  for (let changes = 1 + randomBelow(random, 8); changes > 0 && hello.length > 0; changes--) {
    hello = mutate(random, hello);
  }
  return hello;
});

/** A good hello that is never followed by anything, or by nonsense. */
export const halfHandshake = raw(({ random }) => {
  const cut = HELLO.subarray(0, 1 + randomBelow(random, HELLO.length));
  return randomBelow(random, 2) === 0 ? cut : concat(HELLO, randomRecord(random));
});

const HELLO = await captureHello();

/** The first flight of the runtime's own TLS client. */
async function captureHello(): Promise<Uint8Array> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const client = quiet(
    tls.connect({
      host: "127.0.0.1",
      port: listener.addr.port,
      rejectUnauthorized: false,
      ALPNProtocols: ["h2"],
      minVersion: "TLSv1.3",
    }),
  );
  const connection = await listener.accept();
  const buffer = new Uint8Array(16_384);
  const length = await connection.read(buffer);
  connection.close();
  listener.close();
  client.destroy();
  return buffer.slice(0, length!);
}

/** TLS as it should be, up to an address. Null where it did not come about. */
export async function secure(
  { ip, port, leaf }: { readonly ip: string; readonly port: number; readonly leaf: TestLeaf },
): Promise<tls.TLSSocket | null> {
  const socket = tls.connect({
    host: ip,
    port,
    cert: leaf.certPem,
    key: leaf.keyPem,
    ALPNProtocols: ["h2"],
    minVersion: "TLSv1.3",
    rejectUnauthorized: false,
  });
  socket.on("error", () => {});
  const isConnected = await new Promise<boolean>((resolve) => {
    const timer = setTimeout(() => resolve(false), CONNECTED_WITHIN_MS);
    const settle = (connected: boolean) => () => {
      clearTimeout(timer);
      resolve(connected);
    };
    socket.once("secureConnect", settle(true));
    socket.once("close", settle(false));
  });
  if (isConnected) return socket;
  socket.destroy();
  return null;
}

async function toInbound({ pair }: Arena): Promise<tls.TLSSocket> {
  const socket = await secure({ ip: pair.inbound.ip, port: HBONE_PORT, leaf: pair.clientLeaf });
  if (socket === null) throw new Error("a good handshake failed");
  return socket;
}

/** Good TLS, then octets without sense. */
export const securedBytes: Assault = async (arena) => {
  const { random } = arena;
  const socket = await toInbound(arena);
  socket.resume();
  const start = randomBelow(random, 2) === 0 ? PREFACE : new Uint8Array(0);
  await writePieces(socket, concat(start, randomBytes(random, randomBelow(random, 5000))), random);
  await leave(socket, random, { what: "a connection of nonsense inside TLS" });
};

/** Good TLS, then frames from honest to hostile; some of them really open tunnels to the application. */
export const hostileFrames: Assault = async (arena) => {
  const { pair, random } = arena;
  const socket = await toInbound(arena);
  socket.resume();
  const blocks = new HeaderBlocks();
  const targets = [pair.app, pair.app, { ip: pair.app.ip, port: 1 }, { ip: "10.0.0.9", port: 80 }];
  const sender = new FrameSender(random, {
    to: "server",
    headers: (...given) => blocks.headers(...given),
    block: (headers) => blocks.block(headers),
    streamsOpened: () => 0,
    request() {
      const { ip, port } = targets[randomBelow(random, targets.length)]!;
      return connectTo(`${ip}:${port}`);
    },
  });
  socket.write(concat(PREFACE, settings()));
  for (let steps = randomBelow(random, STEPS_MAX); steps > 0 && socket.writable; steps--) {
    const parts = Array.from({ length: 1 + randomBelow(random, 6) }, () => sender.frame());
    await writePieces(socket, concat(...parts), random);
    if (randomBelow(random, 20) === 0) socket.pause();
    if (randomBelow(random, 5) === 0) await pause(randomBelow(random, 10));
  }
  await leave(socket, random, { what: "a connection of hostile frames" });
};

/** An honest client's tunnel to the application, on a path where somebody tampers with records. */
export const tamperedTunnel: Assault = async (arena) => {
  const { pair, random } = arena;
  const hostility = [5, 50, 300][randomBelow(random, 3)]!;
  const far: net.Socket[] = [];
  const between = net.createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    const socket = net.connect({
      host: pair.inbound.ip,
      port: HBONE_PORT,
      noDelay: true,
      allowHalfOpen: true,
    });
    far.push(socket);
    new RecordMangler(near, socket, { random: new SeededRandom(random.uint32()), hostility });
  });
  await new Promise<void>((resolve) => between.listen(0, "127.0.0.1", resolve));
  const { port } = between.address() as net.AddressInfo;
  try {
    // A handshake that nobody can finish takes until our own patience ends.
    const socket = await secure({ ip: "127.0.0.1", port, leaf: pair.clientLeaf });
    if (socket !== null) {
      await talk(socket, arena);
      socket.destroy();
    }
    for (const each of far) await closed(each, "a tampered tunnel");
  } finally {
    for (const each of far) each.destroy();
    between.close();
  }
};

/** One request and some DATA, whatever comes back. */
async function talk(socket: tls.TLSSocket, { pair, random }: Arena): Promise<void> {
  const blocks = new HeaderBlocks();
  socket.resume();
  const authority = `${pair.app.ip}:${pair.app.port}`;
  socket.write(concat(PREFACE, settings(), blocks.headers(1, connectTo(authority), 0)));
  for (let messages = 1 + randomBelow(random, 10); messages > 0 && socket.writable; messages--) {
    socket.write(data(1, randomBytes(random, 1 + randomBelow(random, 5000))));
    await pause(randomBelow(random, 5));
  }
  if (randomBelow(random, 2) === 0 && socket.writable) socket.write(data(1, "", 1));
  await pause(randomBelow(random, ANSWER_MS));
}

/** An application that speaks no SOCKS5, or not all of it. */
export const nonsenseToSocks: Assault = async (arena) => {
  const { pair, random } = arena;
  const socket = connect(pair.outbound.ip, SOCKS5_PORT);
  const greeting = randomBelow(random, 2) === 0 ? Uint8Array.of(5, 1, 0) : new Uint8Array(0);
  const request = randomBelow(random, 2) === 0 ? Uint8Array.of(5, 1, 0) : new Uint8Array(0);
  const nonsense = randomBytes(random, randomBelow(random, 300));
  await writePieces(socket, concat(greeting, request, nonsense), random);
  await leave(socket, random, { what: "an application's connection" });
};
