// One delta stream from its first requests to its end (spec/xds-state-and-dns §1.5 to §1.7).
import { DeltaResponseError } from "./delta_response.ts";
import { type DeltaRequest, encodeDeltaRequest } from "./delta_request.ts";
import type { Demands } from "./demands.ts";
import { GrpcError } from "./grpc_error.ts";
import type { NodeIdentity } from "./node_identity.ts";
import type { ResponseHandler } from "./response_handler.ts";
import { XDS_SCOPE, type XdsLog } from "./settings.ts";
import type { StreamEnd } from "./stream_end.ts";
import type { GrpcStream } from "./transport.ts";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from "./types.ts";
import type { VersionCache } from "./version_cache.ts";

/** Both types, in the order in which they are asked for. */
export const SUBSCRIBED_TYPES: readonly string[] = [ADDRESS_TYPE, AUTHORIZATION_TYPE];

const EVERYTHING = ["*"];

export interface XdsStreamOptions {
  readonly stream: GrpcStream;
  readonly node: NodeIdentity;
  readonly versions: VersionCache;
  readonly handler: ResponseHandler;
  /** Null: everything is subscribed to. */
  readonly demands: Demands | null;
  readonly log: XdsLog;
  /** A response of this type got an ACK. */
  readonly onAcked: (typeUrl: string) => void;
  readonly signal: AbortSignal;
}

/** Speaks on an open stream until it ends, and says how. The caller closes the stream. */
export async function runXdsStream(options: XdsStreamOptions): Promise<StreamEnd> {
  const { stream, log } = options;
  const state = { opened: false };
  const opened = stream.opened.then(
    () => {
      state.opened = true;
      log("info", XDS_SCOPE, "Stream established");
    },
    () => {}, // The exchange below meets the same error.
  );
  const abort = new AbortController();
  const over = () => {
    abort.abort();
    options.demands?.release();
  };
  options.signal.addEventListener("abort", over, { once: true });
  let demanding: Promise<void> = Promise.resolve();
  try {
    for (const typeUrl of SUBSCRIBED_TYPES) {
      await send(stream, firstRequest(typeUrl, options));
    }
    demanding = sendDemands(options, abort.signal);
    await exchange(options);
    return { kind: "complete" };
  } catch (error) {
    return endOf(error, state.opened);
  } finally {
    options.signal.removeEventListener("abort", over);
    over();
    await stream.close();
    await demanding;
    await opened;
  }
}

/** One response, one reply, until the server ends the stream. */
async function exchange(options: XdsStreamOptions): Promise<void> {
  const { stream, handler, log, onAcked, signal } = options;
  for (;;) {
    const message = await stream.receive();
    if (message === null || signal.aborted) return;
    const { typeUrl, nonce, rejected } = await handler.handle(message, signal);
    if (signal.aborted) return;
    if (rejected === null) {
      log("debug", XDS_SCOPE, "sending response", { type_url: typeUrl, nonce, ...ACK });
      await send(stream, { typeUrl, nonce });
      onAcked(typeUrl);
    } else {
      log("error", XDS_SCOPE, "sending response", {
        type_url: typeUrl,
        nonce,
        ...NACK,
        error: rejected,
      });
      await send(stream, { typeUrl, nonce, errorMessage: rejected });
    }
  }
}

// Written so by the original, in plain text as in JSON.
const ACK = { type: { unquoted: "Ack" } };
const NACK = { type: { unquoted: "Nack" } };

/** In wildcard mode nothing is named; on demand, "*" both ways means "nothing yet" (§1.5). */
function firstRequest(
  typeUrl: string,
  { node, versions, demands }: XdsStreamOptions,
): DeltaRequest {
  const first = { typeUrl, node, initialVersions: versions.of(typeUrl) };
  const onDemand = demands !== null && typeUrl === ADDRESS_TYPE;
  return onDemand ? { ...first, subscribe: EVERYTHING, unsubscribe: EVERYTHING } : first;
}

/** One request for each key, as they come. Its errors are the stream's. */
async function sendDemands(
  { stream, demands }: XdsStreamOptions,
  signal: AbortSignal,
): Promise<void> {
  if (demands === null) return;
  try {
    while (!signal.aborted) {
      const key = demands.next();
      if (typeof key === "string") {
        await send(stream, { typeUrl: ADDRESS_TYPE, subscribe: [key] });
      } else await key;
    }
  } catch (error) {
    // The key is in the versions: the next stream asks for it with its first request.
    if (!(error instanceof GrpcError)) throw error;
  }
}

function send(stream: GrpcStream, request: DeltaRequest): Promise<void> {
  return stream.send(encodeDeltaRequest(request));
}

function endOf(error: unknown, opened: boolean): StreamEnd {
  if (error instanceof GrpcError) {
    return { kind: "failed", opened, code: error.code, status: error.status };
  }
  if (error instanceof DeltaResponseError) {
    const status = { code: "Internal", message: error.message } as const;
    return { kind: "failed", opened, code: null, status };
  }
  throw error;
}
