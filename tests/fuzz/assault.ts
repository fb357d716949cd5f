// What every hostile conversation has: its draws, its sockets, and an end within limits.
import net from "node:net";
import { type Random, randomBelow } from "../../src/base/random.ts";
import type { FuzzedPair } from "./fuzzed_pair.ts";

/**
 * However a hostile peer leaves, the proxy has closed its connection by then: a handshake may take 10 s and the first
 * request 10 s more; a dialed peer that went silent is found out 30 s after the handshake, and what it does not
 * read is waited for 20 s (src/hbone/limits.ts).
 */
export const CLOSED_WITHIN_MS = 60_000;
const CLOSED_LOOK_MS = 5;
/** A peer that does nothing is seldom: it takes all of a limit. */
const SILENT_ONE_IN = 100;

/** One conversation's surroundings. */
export interface Arena {
  readonly pair: FuzzedPair;
  readonly random: Random;
  /** The address of a workload that this conversation alone plays. */
  readonly hostileIp: string;
}

/** Plays one hostile peer. @throws what is wrong with the proxy. */
export type Assault = (arena: Arena) => Promise<void>;

/** A connection whose bytes are of no interest; errors of it are expected. */
export function connect(ip: string, port: number): net.Socket {
  const socket = net.connect({ host: ip, port, noDelay: true });
  return quiet(socket);
}

/** Ignores what comes and what goes wrong. */
export function quiet<Socket extends net.Socket>(socket: Socket): Socket {
  socket.on("error", () => {});
  socket.resume();
  return socket;
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Resolves when the socket is closed, whoever closed it. @throws after `limitMs`. */
export async function closed(
  socket: net.Socket,
  what: string,
  limitMs = CLOSED_WITHIN_MS,
): Promise<void> {
  const deadline = performance.now() + limitMs;
  // The runtime says nothing of a peer that was gone before its connection was accepted, but knows no port of it.
  while (!socket.closed && socket.remotePort !== undefined) {
    if (performance.now() > deadline) throw new Error(`${what} was not closed in ${limitMs} ms`);
    await pause(CLOSED_LOOK_MS);
  }
}

/**
 * Leaves: by RST, FIN or, where `maySulk`, by doing nothing more; and sees that the proxy closes, too.
 */
export async function leave(
  socket: net.Socket,
  random: Random,
  options: { readonly what: string; readonly maySulk?: boolean },
): Promise<void> {
  socket.resume();
  if (!options.maySulk || randomBelow(random, SILENT_ONE_IN) > 0) {
    if (randomBelow(random, 3) === 0) reset(socket);
    else socket.end();
  }
  try {
    await closed(socket, options.what);
  } finally {
    socket.destroy();
  }
}

/** RST where it is a plain socket. */
export function reset(socket: net.Socket): void {
  if (socket.constructor === net.Socket) socket.resetAndDestroy();
  else socket.destroy();
}

/** Writes in pieces, each a packet of its own if it is lucky. */
export async function writePieces(
  socket: net.Socket,
  bytes: Uint8Array,
  random: Random,
): Promise<void> {
  const pieces = randomBelow(random, 4) === 0 ? 1 + randomBelow(random, 10) : 1;
  for (let at = 0, left = pieces; at < bytes.length && socket.writable; left--) {
    const length = left <= 1 ? bytes.length - at : 1 + randomBelow(random, bytes.length - at);
    socket.write(bytes.subarray(at, at + length));
    at += length;
    if (left > 1) await pause(randomBelow(random, 3));
  }
}
