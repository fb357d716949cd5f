// One HTTP server on one or more addresses: what admin, stats and readiness have in common, and all they share.
import { formatAddress, type SocketAddress } from "../base/address.ts";
import { osErrorText, ProxyError } from "../base/errors.ts";
import type { Logger } from "../telemetry/logger.ts";
import { emptyResponse, textResponse } from "./responses.ts";

const SCOPE = "ztunnel::hyper_util";

/** Octets of a request's target and headers; above it the answer is 431 (spec/config-and-observability §5.1). */
export const HEAD_BYTES_MAX = 8_192;

/** Accepting failed, which ends the runtime's server: listening is tried again after this, in ms. */
export const LISTEN_AGAIN_MS = 500;

/** An address could not be listened on. `code` is the errno name, or `PERMISSION_MISSING`. */
export class BindError extends ProxyError {
  readonly code: string;
  readonly address: SocketAddress;

  constructor(address: SocketAddress, code: string, reason: string, cause: unknown) {
    super(`failed to bind to address ${formatAddress(address)}: ${reason}`, { cause });
    this.code = code;
    this.address = address;
  }
}

/** A request as handlers see it. */
export interface HttpRequest {
  readonly method: string;
  /** As sent: not decoded, not normalized. */
  readonly path: string;
  /** The part after `?`; "" where there is none. */
  readonly query: string;
  readonly headers: Headers;
}

/** Answers or throws; what is thrown becomes a 500 with its message. */
export type HttpHandler = (request: HttpRequest) => Response | Promise<Response>;

export interface HttpServerOptions {
  readonly component: "admin" | "stats" | "readiness";
  /** At least one; port 0 asks the kernel for one each. */
  readonly addresses: readonly SocketAddress[];
  readonly handler: HttpHandler;
  readonly logger: Pick<Logger, "log">;
}

/** A listening server. The owner disposes of it, which drains. */
export class HttpServer implements AsyncDisposable {
  /** Where it listens, in the order asked for, with the ports the kernel chose. */
  readonly addresses: readonly SocketAddress[];
  readonly #options: HttpServerOptions;
  /** One for each address; null while it is not listened on, see {@link LISTEN_AGAIN_MS}. */
  readonly #servers: (Deno.HttpServer<Deno.NetAddr> | null)[];
  readonly #again = new Set<ReturnType<typeof setTimeout>>();
  #drained: Promise<void> | null = null;

  private constructor(
    options: HttpServerOptions,
    servers: readonly Deno.HttpServer<Deno.NetAddr>[],
  ) {
    this.#options = options;
    this.#servers = [...servers];
    this.addresses = servers.map(({ addr }) => ({ ip: addr.hostname, port: addr.port }));
    for (const [index, server] of servers.entries()) this.#watch(server, index);
    this.#log("listener established");
  }

  /**
   * Listens on all addresses or on none.
   * @throws {BindError} naming the first address that could not be had.
   */
  static async listen(options: HttpServerOptions): Promise<HttpServer> {
    const servers: Deno.HttpServer<Deno.NetAddr>[] = [];
    try {
      for (const address of options.addresses) servers.push(bind(address, options.handler));
    } catch (error) {
      await Promise.all(servers.map((server) => server.shutdown()));
      throw error;
    }
    return new HttpServer(options, servers);
  }

  /**
   * Stops listening at once, closes idle connections, and settles when the requests in progress are answered.
   * Idempotent.
   */
  drain(): Promise<void> {
    this.#drained ??= this.#drain();
    return this.#drained;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.drain();
  }

  async #drain(): Promise<void> {
    for (const timer of this.#again) clearTimeout(timer);
    const ended = this.#servers.map((server) => server?.shutdown());
    this.#log("listener drained");
    await Promise.all(ended);
  }

  /** Without a descriptor for whoever asks, the runtime's server is over: no reason for the process to be. */
  #watch(server: Deno.HttpServer, index: number): void {
    server.finished.catch((error) => {
      this.#servers[index] = null;
      if (this.#drained !== null) return;
      const { component, logger } = this.#options;
      const address = { unquoted: formatAddress(this.addresses[index]!) };
      const reason = error instanceof Error ? error.message : String(error);
      logger.log("warn", SCOPE, "listener failed", { address, component, error: reason });
      this.#listenAgain(index);
    });
  }

  #listenAgain(index: number): void {
    const timer = setTimeout(() => {
      this.#again.delete(timer);
      try {
        const server = bind(this.addresses[index]!, this.#options.handler);
        this.#servers[index] = server;
        this.#watch(server, index);
      } catch (error) {
        if (!(error instanceof BindError)) throw error;
        this.#listenAgain(index);
      }
    }, LISTEN_AGAIN_MS);
    this.#again.add(timer);
  }

  #log(message: string): void {
    const { component, logger } = this.#options;
    const address = { unquoted: formatAddress(this.addresses[0]!) };
    logger.log("info", SCOPE, message, { address, component });
  }
}

function bind(address: SocketAddress, handler: HttpHandler): Deno.HttpServer<Deno.NetAddr> {
  try {
    return Deno.serve({
      hostname: address.ip,
      port: address.port,
      onListen() {}, // The default prints to stdout, which belongs to the log.
      onError: failureResponse,
    }, (request) => answer(request, handler));
  } catch (error) {
    throw bindError(address, error);
  }
}

function bindError(address: SocketAddress, error: unknown): BindError {
  if (error instanceof Deno.errors.NotCapable) {
    const flag = `--allow-net=${formatAddress(address)}`;
    return new BindError(address, "PERMISSION_MISSING", `missing permission ${flag}`, error);
  }
  const { code, message } = error as Error & { readonly code?: string };
  return code === undefined
    ? new BindError(address, "BIND_FAILED", message, error)
    : new BindError(address, code, osErrorText(code), error);
}

function answer(request: Request, handler: HttpHandler): Response | Promise<Response> {
  if (headBytes(request) > HEAD_BYTES_MAX) return emptyResponse(431);
  // Not through URL, which would tidy up the path and choke on a strange Host header.
  const pathStart = request.url.indexOf("/", request.url.indexOf("://") + "://".length);
  const target = pathStart < 0 ? "/" : request.url.slice(pathStart);
  const queryStart = target.indexOf("?");
  return handler({
    method: request.method,
    path: queryStart < 0 ? target : target.slice(0, queryStart),
    query: queryStart < 0 ? "" : target.slice(queryStart + 1),
    headers: request.headers,
  });
}

/** About what was sent: the runtime has already read it, so this limits what handlers see, not memory. */
function headBytes(request: Request): number {
  let bytes = request.method.length + request.url.length;
  for (const [name, value] of request.headers) {
    bytes += name.length + value.length + ": \r\n".length;
  }
  return bytes;
}

function failureResponse(error: unknown): Response {
  return textResponse(500, error instanceof Error ? error.message : String(error), null);
}
