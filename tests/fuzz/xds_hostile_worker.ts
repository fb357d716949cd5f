// A thread that listens on loopback and speaks HTTP/2 by hand, however it is told to: the far side of xds_hostile.ts.
// A thread of its own, so that its work is not the client's, and a flood goes on while the client is busy.
import { FRAME } from "../../src/h2/frame_header.ts";
import { decodeAll, decoderOf } from "../support/hpack.ts";
import { concat, frame, settings, windowUpdate } from "../support/h2_raw.ts";
import { type Act, type FromServer, GRPC_OK, headerBlock, type ToServer } from "./xds_hostile.ts";

const PREFACE_BYTES = 24;
const HEADER_BYTES = 9;
const FRAME_BYTES_MAX = 16_384;
/** What the client may send before it is asked to stop: it never is. */
const REQUEST_WINDOW_BYTES = 2 ** 30;
/** Written at once. */
const WRITE_BYTES = 256 * 1024;
const PROBE_PATH = "/grpc.health.v1.Health/Check";
const UNIMPLEMENTED = headerBlock([...GRPC_OK, "grpc-status: 12"]);

/** Of this thread. */
const maker = globalThis as unknown as {
  postMessage(event: FromServer): void;
  onmessage: (event: MessageEvent<ToServer>) => void;
  close(): void;
};

function tell(event: FromServer): void {
  maker.postMessage(event);
}

/** One connection of the client. */
class Peer {
  readonly #id: number;
  readonly #socket: Deno.TcpConn;
  readonly #decoder = decoderOf();
  #unread = new Uint8Array(0);
  #isGreeted = false;
  #windowBytes = 65_535;
  #initialWindowBytes = 65_535;
  readonly #streamWindows = new Map<number, number>();
  /** Request octets not yet cut into messages. */
  readonly #requests = new Map<number, Uint8Array>();
  readonly #acts: Act[] = [];
  #isActing = false;
  #wake: (() => void) | null = null;
  #isOver = false;
  /** Answers neither questions nor settings. */
  #isMute = false;

  constructor(id: number, socket: Deno.TcpConn) {
    this.#id = id;
    this.#socket = socket;
  }

  async read(): Promise<void> {
    const buffer = new Uint8Array(65_536);
    try {
      await this.#write(
        concat(settings([4, REQUEST_WINDOW_BYTES]), windowUpdate(0, REQUEST_WINDOW_BYTES)),
      );
      for (;;) {
        const count = await this.#socket.read(buffer);
        if (count === null) break;
        this.#unread = concat(this.#unread, buffer.subarray(0, count));
        this.#take();
      }
    } catch {
      // The client may go as it likes.
    }
    this.close();
    tell({ kind: "ended", connection: this.#id });
  }

  act(acts: readonly Act[]): void {
    this.#acts.push(...acts);
    if (!this.#isActing) void this.#perform();
  }

  close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#acts.length = 0;
    this.#notice();
    this.#socket.close();
  }

  #notice(): void {
    this.#wake?.();
    this.#wake = null;
  }

  #take(): void {
    if (!this.#isGreeted) {
      if (this.#unread.length < PREFACE_BYTES) return;
      this.#unread = this.#unread.slice(PREFACE_BYTES);
      this.#isGreeted = true;
    }
    for (;;) {
      const bytes = this.#unread;
      if (bytes.length < HEADER_BYTES) return;
      const length = bytes[0]! << 16 | bytes[1]! << 8 | bytes[2]!;
      if (bytes.length < HEADER_BYTES + length) return;
      const payload = bytes.slice(HEADER_BYTES, HEADER_BYTES + length);
      this.#unread = bytes.slice(HEADER_BYTES + length);
      this.#frame(bytes[3]!, bytes[4]!, uint32At(bytes, 5) & 0x7fff_ffff, payload);
    }
  }

  #frame(type: number, flags: number, stream: number, payload: Uint8Array<ArrayBuffer>): void {
    switch (type) {
      case FRAME.DATA:
        this.#requestBytes(stream, payload);
        break;
      case FRAME.HEADERS:
        this.#request(stream, payload);
        break;
      case FRAME.SETTINGS:
        if ((flags & 1) !== 0) break;
        for (let at = 0; at + 6 <= payload.length; at += 6) {
          if (payload[at + 1] !== 4) continue;
          const bytes = uint32At(payload, at + 2);
          for (const [id, left] of this.#streamWindows) {
            this.#streamWindows.set(id, left + bytes - this.#initialWindowBytes);
          }
          this.#initialWindowBytes = bytes;
        }
        this.#send(frame(FRAME.SETTINGS, 1, 0));
        break;
      case FRAME.PING:
        if ((flags & 1) === 0) this.#send(frame(FRAME.PING, 1, 0, payload));
        break;
      case FRAME.WINDOW_UPDATE: {
        const more = uint32At(payload, 0);
        if (stream === 0) this.#windowBytes += more;
        else this.#streamWindows.set(stream, this.#windowOf(stream) + more);
        this.#notice();
        break;
      }
      case FRAME.RST_STREAM:
        tell({ kind: "reset", connection: this.#id, stream });
        break;
    }
  }

  #windowOf(stream: number): number {
    return this.#streamWindows.get(stream) ?? this.#initialWindowBytes;
  }

  #request(stream: number, block: Uint8Array): void {
    const fields = decodeAll(this.#decoder, block);
    const path = fields.find(({ name }) => name === ":path")?.value ?? "";
    if (path === PROBE_PATH) {
      this.#send(frame(FRAME.HEADERS, 5, stream, UNIMPLEMENTED));
      tell({ kind: "probe", connection: this.#id });
    } else {
      this.#requests.set(stream, new Uint8Array(0));
      tell({ kind: "call", connection: this.#id, stream, path });
    }
  }

  #requestBytes(stream: number, bytes: Uint8Array<ArrayBuffer>): void {
    const before = this.#requests.get(stream);
    if (before === undefined) return;
    let left = concat(before, bytes);
    while (left.length >= 5) {
      const length = uint32At(left, 1);
      if (left.length < 5 + length) break;
      tell({
        kind: "message",
        connection: this.#id,
        stream,
        message: left.slice(5, 5 + length),
      });
      left = left.slice(5 + length);
    }
    this.#requests.set(stream, left);
    if (bytes.length > 0) {
      this.#send(
        concat(windowUpdate(0, bytes.length), windowUpdate(stream, bytes.length)),
      );
    }
  }

  /** Between two acts. */
  #send(bytes: Uint8Array): void {
    if (this.#isMute) return;
    void this.#write(bytes).catch(() => {}); // The client has gone.
  }

  #writing: Promise<void> = Promise.resolve();

  #write(bytes: Uint8Array): Promise<void> {
    const write = async () => {
      for (let at = 0; at < bytes.length && !this.#isOver;) {
        at += await this.#socket.write(bytes.subarray(at));
      }
    };
    return this.#writing = this.#writing.then(write, write);
  }

  async #perform(): Promise<void> {
    this.#isActing = true;
    try {
      for (let act = this.#acts.shift(); act !== undefined; act = this.#acts.shift()) {
        switch (act.kind) {
          case "raw":
            for (let times = act.times ?? 1; times > 0 && !this.#isOver; times--) {
              await this.#write(act.bytes);
            }
            break;
          case "data":
            await this.#data(act);
            break;
          case "wait": {
            const { ms } = act;
            await new Promise((resolve) => setTimeout(resolve, ms));
            break;
          }
          case "close":
            this.close();
            break;
          case "mute":
            this.#isMute = true;
            break;
          case "told":
            tell({ kind: "told", connection: this.#id, mark: act.mark });
            break;
        }
      }
    } catch {
      this.close();
    }
    this.#isActing = false;
  }

  /** Within the windows that the client gives. */
  async #data({ stream, bytes, times = 1, frameBytes = FRAME_BYTES_MAX }: Act & { kind: "data" }) {
    let batch: Uint8Array[] = [];
    let batchBytes = 0;
    const flush = async () => {
      await this.#write(concat(...batch));
      batch = [];
      batchBytes = 0;
    };
    for (let time = 0; time < times && !this.#isOver; time++) {
      for (let at = 0; at < bytes.length && !this.#isOver;) {
        const room = Math.min(this.#windowBytes, this.#windowOf(stream));
        if (room <= 0) {
          await flush();
          await new Promise<void>((resolve) => this.#wake = resolve);
          continue;
        }
        const count = Math.min(frameBytes, bytes.length - at, room);
        batch.push(frame(FRAME.DATA, 0, stream, bytes.subarray(at, at + count)));
        batchBytes += count + HEADER_BYTES;
        this.#windowBytes -= count;
        this.#streamWindows.set(stream, this.#windowOf(stream) - count);
        at += count;
        if (batchBytes >= WRITE_BYTES) await flush();
      }
    }
    await flush();
  }
}

function uint32At(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(at);
}

const peers = new Map<number, Peer>();
const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });

maker.onmessage = ({ data }) => {
  if (data.kind === "act") peers.get(data.connection)?.act(data.acts);
  else {
    listener.close();
    for (const peer of peers.values()) peer.close();
    maker.close();
  }
};

tell({ kind: "listening", port: (listener.addr as Deno.NetAddr).port });
let connections = 0;
try {
  for await (const socket of listener) {
    socket.setNoDelay(true);
    const id = ++connections;
    const peer = new Peer(id, socket);
    peers.set(id, peer);
    tell({ kind: "opened", connection: id });
    void peer.read().finally(() => peers.delete(id));
  }
} catch {
  // Closed.
}
