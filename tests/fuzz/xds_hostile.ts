// A control plane that means ill: what it can do, as values, and the handle of the thread that does it.
import { FRAME } from "../../src/h2/frame_header.ts";
import { fields } from "../support/hpack.ts";
import { concat, frame, goAway, reset } from "../support/h2_raw.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** One thing that the server does on a connection; the next follows when it is done. */
export type Act =
  /** Octets as they are, whatever the client allows. */
  | { readonly kind: "raw"; readonly bytes: Uint8Array; readonly times?: number }
  /** DATA within the windows that the client gives. */
  | {
    readonly kind: "data";
    readonly stream: number;
    readonly bytes: Uint8Array;
    readonly times?: number;
    /** Of a frame's payload, 16,384 unless told otherwise. */
    readonly frameBytes?: number;
  }
  | { readonly kind: "wait"; readonly ms: number }
  /** Says nothing more of its own, not even that it lives; what it is told to do it does. */
  | { readonly kind: "mute" }
  /** Ends TCP. */
  | { readonly kind: "close" }
  /** Says that all before it is on its way. */
  | { readonly kind: "told"; readonly mark: number };

export type ToServer =
  | { readonly kind: "act"; readonly connection: number; readonly acts: readonly Act[] }
  | { readonly kind: "stop" };

export type FromServer =
  | { readonly kind: "listening"; readonly port: number }
  /** Connections count from 1. */
  | { readonly kind: "opened"; readonly connection: number }
  | { readonly kind: "ended"; readonly connection: number }
  | { readonly kind: "probe"; readonly connection: number }
  | {
    readonly kind: "call";
    readonly connection: number;
    readonly stream: number;
    readonly path: string;
  }
  | { readonly kind: "reset"; readonly connection: number; readonly stream: number }
  | {
    readonly kind: "message";
    readonly connection: number;
    readonly stream: number;
    readonly message: Bytes;
  }
  | { readonly kind: "told"; readonly connection: number; readonly mark: number };

/** The thread; answers health checks by itself. */
export class HostileServer implements AsyncDisposable {
  readonly port: number;
  readonly #worker: Worker;

  private constructor(worker: Worker, port: number) {
    this.#worker = worker;
    this.port = port;
  }

  /** @param hear Told of everything, in order. */
  static start(hear: (event: FromServer) => void): Promise<HostileServer> {
    const { promise, resolve, reject } = Promise.withResolvers<HostileServer>();
    const worker = new Worker(new URL("./xds_hostile_worker.ts", import.meta.url), {
      type: "module",
    });
    worker.onerror = (event) => reject(new Error(event.message));
    worker.onmessage = ({ data }: MessageEvent<FromServer>) => {
      if (data.kind === "listening") resolve(new HostileServer(worker, data.port));
      else hear(data);
    };
    return promise;
  }

  get address(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  act(connection: number, ...acts: readonly Act[]): void {
    const order: ToServer = { kind: "act", connection, acts };
    this.#worker.postMessage(order);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#worker.terminate();
    return Promise.resolve();
  }
}

/** A HEADERS frame; `lines` are `name: value`. */
export function headers(stream: number, lines: readonly string[], flags = 0): Act {
  return { kind: "raw", bytes: frame(FRAME.HEADERS, flags | 4, stream, headerBlock(lines)) };
}

/** Literals without indexing (RFC 7541 §6.2.2), so that no table must be agreed on. */
export function headerBlock(lines: readonly string[]): Bytes {
  return concat(
    ...fields(...lines).map(({ name, value }) =>
      concat(Uint8Array.of(0), headerText(name), headerText(value))
    ),
  );
}

function headerText(text: string): Bytes {
  const octets = Uint8Array.from(text, (character) => character.charCodeAt(0));
  const { length } = octets;
  // An integer with a prefix of seven bits (RFC 7541 §5.1).
  const more = length - 127;
  const size = more < 0
    ? [length]
    : more < 128
    ? [127, more]
    : [127, more & 127 | 128, ...more < 16_384 ? [more >> 7] : [more >> 7 & 127 | 128, more >> 14]];
  return concat(Uint8Array.from(size), octets);
}

export const GRPC_OK: readonly string[] = [":status: 200", "content-type: application/grpc"];

/** A gRPC message with its prefix; what the prefix says may be wrong. */
export function grpcFrame(
  message: Uint8Array,
  lie: { readonly flag?: number; readonly length?: number } = {},
): Bytes {
  const prefix = new Uint8Array(5);
  prefix[0] = lie.flag ?? 0;
  new DataView(prefix.buffer).setUint32(1, lie.length ?? message.length);
  return concat(prefix, message);
}

export function resetStream(stream: number, code: number): Act {
  return { kind: "raw", bytes: reset(stream, code) };
}

export function sayGoAway(stream: number, code: number, debug: string): Act {
  return { kind: "raw", bytes: goAway(stream, code, debug) };
}
