// A connection of node:http2: it sees trailers, sends PING, and lets us say which names a certificate may have.
import http2 from "node:http2";
import net from "node:net";
import tls from "node:tls";
import type { Clock } from "../base/clock.ts";
import {
  type Answer,
  type Connection,
  requestFields,
  requireRoots,
  unreachable,
} from "./connection.ts";
import type { Endpoint } from "./endpoint.ts";
import { GrpcError } from "./grpc_error.ts";
import type { GrpcCode } from "./grpc_status.ts";
import { CONNECT_TIMEOUT_MS, PROBE_TIMEOUT_MS } from "./liveness.ts";
import type { RequestBody } from "./request_body.ts";
import type { GrpcHeaders } from "./transport.ts";

/** Octets that the server may send ahead of us, of a stream and of the connection: a mesh is one message of many MiB. */
const WINDOW_BYTES = 2 * 1024 * 1024;

/** TCP keep-alive: the first probe (spec/xds-state-and-dns §1.2); 75 s and nine probes are the kernel's own. */
const KEEPALIVE_IDLE_MS = 300_000;

const RST_CANCEL = http2.constants.NGHTTP2_CANCEL;

export interface Http2Options {
  readonly endpoint: Endpoint;
  /** PEM, one certificate each; they replace the runtime's. */
  readonly roots: readonly string[];
  /** Accepted instead of the endpoint's own name. */
  readonly altHostname: string | null;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** One session on one socket. */
export class Http2Connection implements Connection {
  readonly #socket: net.Socket;
  readonly #session: http2.ClientHttp2Session;
  /** Why the session broke; the calls on it learn no more than that they ended. */
  #error: Error | null = null;

  private constructor(socket: net.Socket, origin: string) {
    this.#socket = socket;
    this.#session = http2.connect(origin, {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: WINDOW_BYTES },
    });
    this.#session.on("error", (error) => this.#error = error);
    this.#session.on("connect", () => this.#session.setLocalWindowSize(WINDOW_BYTES));
  }

  /**
   * Connects; with TLS, checks the certificate.
   * @throws {GrpcError}
   */
  static async open(options: Http2Options): Promise<Http2Connection> {
    const { endpoint, roots } = options;
    if (endpoint.secure) requireRoots(roots);
    const socket = await connectSocket(options);
    try {
      return new Http2Connection(socket, endpoint.origin);
    } catch (error) {
      socket.destroy();
      throw unreachable(error instanceof Error ? error.message : String(error), error);
    }
  }

  async post(
    path: string,
    headers: GrpcHeaders,
    body: RequestBody | Uint8Array<ArrayBuffer>,
    signal: AbortSignal,
  ): Promise<Answer> {
    await this.#connected(signal);
    const fields: Record<string, string> = { ":method": "POST", ":path": path };
    for (const [name, value] of requestFields(headers)) fields[name] = value;
    const stream = this.#session.request(fields, { endStream: false });
    const answer = new Http2Answer(stream, () => this.#error);
    const abort = () => stream.close(RST_CANCEL);
    signal.addEventListener("abort", abort, { once: true });
    stream.on("close", () => signal.removeEventListener("abort", abort));
    if (signal.aborted) abort();
    if (body instanceof Uint8Array) stream.end(body);
    else copyBody(body, stream);
    await answer.headersCome();
    return answer;
  }

  async probe(signal: AbortSignal): Promise<void> {
    await this.#connected(signal);
    const asked = Promise.withResolvers<void>();
    // After a session is over this throws; before its end it calls back, at the latest with the end.
    this.#session.ping((error) => error === null ? asked.resolve() : asked.reject(error));
    const abort = () => asked.reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    try {
      await asked.promise;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  close(): void {
    this.#session.destroy();
    this.#socket.destroy();
  }

  /** A PING sent before that is lost. */
  #connected(signal: AbortSignal): Promise<void> {
    if (!this.#session.connecting) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const settle = () => {
        signal.removeEventListener("abort", settle);
        this.#session.off("connect", settle).off("close", settle);
        if (signal.aborted) reject(cancelled());
        else if (this.#session.connecting || this.#session.destroyed) {
          reject(unreachable(this.#error?.message ?? "connection closed"));
        } else resolve();
      };
      signal.addEventListener("abort", settle, { once: true });
      this.#session.on("connect", settle).on("close", settle);
    });
  }
}

/** TCP within its time, TLS within its own. */
function connectSocket(options: Http2Options): Promise<net.Socket> {
  const { endpoint: { host, port, secure }, clock, signal } = options;
  return new Promise((resolve, reject) => {
    const socket = secure
      ? tls.connect({
        host,
        port,
        ...(net.isIP(host) === 0 ? { servername: host } : {}),
        ca: [...options.roots],
        ALPNProtocols: ["h2"],
        checkServerIdentity: (_, certificate) => checkName(options, certificate),
      })
      : net.connect({ host, port });
    let timer = clock.after(CONNECT_TIMEOUT_MS, () => settle(timedOut()));
    const abort = () => settle(cancelled());
    const failed = (error: Error) => settle(unreachable(error.message, error));
    const settle = (error: GrpcError | null) => {
      timer.cancel();
      signal.removeEventListener("abort", abort);
      socket.off("close", ended);
      if (error === null) resolve(socket);
      else {
        socket.destroy();
        reject(error);
      }
    };
    const ended = () => settle(unreachable("connection closed"));
    signal.addEventListener("abort", abort, { once: true });
    // Stays: later errors are the session's, too, and one without a listener ends the process.
    socket.on("error", failed);
    socket.on("close", ended);
    socket.on("connect", () => {
      socket.setNoDelay(true);
      socket.setKeepAlive(true, KEEPALIVE_IDLE_MS);
      if (!secure) return settle(null);
      timer.cancel();
      timer = clock.after(PROBE_TIMEOUT_MS, () => settle(timedOut()));
    });
    socket.on("secureConnect", () => {
      const { alpnProtocol } = socket as tls.TLSSocket;
      const agreed = alpnProtocol === "h2";
      settle(agreed ? null : unreachable(`server chose "${alpnProtocol || "nothing"}", not h2`));
    });
    if (signal.aborted) abort();
  });
}

/** The URI's name or the other one. */
function checkName(
  { endpoint, altHostname }: Http2Options,
  certificate: tls.PeerCertificate,
): Error | undefined {
  const refused = tls.checkServerIdentity(endpoint.host, certificate);
  if (refused === undefined || altHostname === null) return refused;
  return tls.checkServerIdentity(altHostname, certificate) === undefined ? undefined : refused;
}

/** Frames go when the ones before them are on their way; the end of the call ends it. */
function copyBody(body: RequestBody, stream: http2.ClientHttp2Stream): void {
  const reader = body.stream.getReader();
  stream.on("close", () => void reader.cancel().catch(() => {})); // Ended before.
  const step = () => {
    reader.read().then(({ value }) => {
      if (value === undefined) stream.end();
      else stream.write(value, (error) => error ? void reader.cancel().catch(() => {}) : step());
    }, () => {}); // The body failed, and with it the call.
  };
  step();
}

class Http2Answer implements Answer {
  readonly #stream: http2.ClientHttp2Stream;
  readonly #sessionError: () => Error | null;
  #headers: http2.IncomingHttpHeaders | null = null;
  #trailers: http2.IncomingHttpHeaders = {};
  #ended = false;
  #closed = false;
  #error: Error | null = null;
  #wake: (() => void) | null = null;

  constructor(stream: http2.ClientHttp2Stream, sessionError: () => Error | null) {
    this.#stream = stream;
    this.#sessionError = sessionError;
    const note = (what: () => void) => {
      what();
      this.#wake?.();
      this.#wake = null;
    };
    stream.on("response", (headers) => note(() => this.#headers = headers));
    stream.on("trailers", (trailers) => note(() => this.#trailers = trailers));
    stream.on("readable", () => note(() => {}));
    stream.on("end", () => note(() => this.#ended = true));
    stream.on("error", (error: Error) => note(() => this.#error = error));
    stream.on("close", () => note(() => this.#closed = true));
  }

  async headersCome(): Promise<void> {
    while (this.#headers === null) {
      if (this.#closed) throw this.#lost("GRPC_CONNECT");
      await this.#changed();
    }
  }

  get httpStatus(): number {
    return Number(this.#headers?.[":status"] ?? 0);
  }

  header(name: string): string | null {
    return fieldOf(this.#headers ?? {}, name);
  }

  trailer(name: string): string | null {
    return fieldOf(this.#trailers, name);
  }

  async read(): Promise<Uint8Array | null> {
    for (;;) {
      const chunk: Uint8Array<ArrayBuffer> | null = this.#stream.read();
      if (chunk !== null) return new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length);
      // Our own side may stay open for long after that.
      if (this.#ended && !this.#stream.aborted && this.#error === null) return null;
      if (this.#closed) throw this.#lost("GRPC_CONNECTION_LOST");
      await this.#changed();
    }
  }

  cancel(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#closed) return resolve();
      this.#stream.on("close", resolve);
      this.#stream.resume();
      this.#stream.close(RST_CANCEL);
    });
  }

  #changed(): Promise<void> {
    return new Promise((resolve) => this.#wake = resolve);
  }

  /** A stream of a broken session has a reset code, too, which the peer never sent. */
  #lost(code: "GRPC_CONNECT" | "GRPC_CONNECTION_LOST"): GrpcError {
    const broken = this.#sessionError();
    const message = (broken ?? this.#error)?.message ?? "connection closed";
    if (code === "GRPC_CONNECT") return new GrpcError(code, { code: "Unavailable", message });
    const known = broken === null ? codeOfReset(this.#stream.rstCode ?? 0) : "Unknown";
    return new GrpcError(code, { code: known, message });
  }
}

function fieldOf(fields: http2.IncomingHttpHeaders, name: string): string | null {
  const value = fields[name];
  if (value === undefined) return null;
  return Array.isArray(value) ? value.join(",") : value;
}

/** What a reset means (gRPC over HTTP/2, "Errors"); a connection that just ends says CANCEL here, and is not known. */
function codeOfReset(rstCode: number): GrpcCode {
  const { constants } = http2;
  switch (rstCode) {
    case constants.NGHTTP2_REFUSED_STREAM:
      return "Unavailable";
    case constants.NGHTTP2_ENHANCE_YOUR_CALM:
      return "ResourceExhausted";
    case constants.NGHTTP2_INADEQUATE_SECURITY:
      return "PermissionDenied";
    case constants.NGHTTP2_PROTOCOL_ERROR:
    case constants.NGHTTP2_INTERNAL_ERROR:
    case constants.NGHTTP2_FLOW_CONTROL_ERROR:
    case constants.NGHTTP2_SETTINGS_TIMEOUT:
    case constants.NGHTTP2_FRAME_SIZE_ERROR:
    case constants.NGHTTP2_COMPRESSION_ERROR:
      return "Internal";
    default:
      return "Unknown";
  }
}

function timedOut(): GrpcError {
  return new GrpcError("GRPC_CONNECT_TIMEOUT", {
    code: "Unavailable",
    message: "connect timed out",
  });
}

function cancelled(): GrpcError {
  return new GrpcError("GRPC_CLOSED", { code: "Cancelled", message: "the call was cancelled" });
}
