// Asks the control plane's CA for certificates: one gRPC call for each (spec/identity-and-inpod §2.2, §2.6).
import type { Clock } from "../base/clock.ts";
import { istio } from "../proto/messages.js";
import type { CertifiedKey } from "../tls/certificate.ts";
import type { SpiffeId } from "../tls/spiffe_id.ts";
import type { CertificateAuthority } from "./authority.ts";
import { callError, type CallFailure, failureOf } from "./call_error.ts";
import { decodeCaResponse, readCaResponse } from "./ca_response.ts";
import { newCertificateRequest } from "./csr.ts";
import type { IdentityLog } from "./log.ts";
import type { GrpcHeaders, UnaryTransport } from "./unary_transport.ts";

export const CREATE_CERTIFICATE_PATH = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

/** For a call, its headers included: a CA that takes it and never answers would keep its place for ever (§2.5). */
export const CA_DEADLINE_MS_MAX = 30_000;

/** The scope of this client's lines. */
export const CA_CLIENT_SCOPE = "ztunnel::identity::caclient";

export interface CaClientOptions {
  readonly transport: UnaryTransport;
  /** Called for every request: tokens are replaced under way. Its errors never hold the token. */
  readonly headers: () => Promise<GrpcHeaders>;
  /** Validity to ask for; whole seconds are. */
  readonly ttlMs: number;
  /** True where one proxy speaks for many workloads (shared mode): then it says for whom, and looks at the answer's name. */
  readonly impersonate: boolean;
  readonly clock: Clock;
  readonly log: IdentityLog;
  /** At most, and unless said otherwise, {@link CA_DEADLINE_MS_MAX}. */
  readonly deadlineMs?: number;
}

/** {@link CertificateAuthority} over gRPC. Holds nothing between calls. No status is final: whoever calls tries again. */
export class CaClient implements CertificateAuthority {
  readonly #options: CaClientOptions;
  readonly #deadlineMs: number;
  #generation = 0;

  constructor(options: CaClientOptions) {
    this.#options = options;
    this.#deadlineMs = Math.min(options.deadlineMs ?? CA_DEADLINE_MS_MAX, CA_DEADLINE_MS_MAX);
  }

  async issue(identity: SpiffeId, signal: AbortSignal): Promise<CertifiedKey> {
    const { impersonate, ttlMs, log } = this.#options;
    const request = await newCertificateRequest(identity);
    try {
      const message = encodeCaRequest({ csrPem: request.csrPem, ttlMs, identity, impersonate });
      const certChain = decode(await this.#call(message, signal));
      return readCaResponse(certChain, {
        identity,
        request,
        impersonate,
        generation: ++this.#generation,
        warn: (text) => log("warn", CA_CLIENT_SCOPE, text, { id: identity.uri }),
      });
    } catch (error) {
      request.key.wipe();
      throw error;
    }
  }

  /** @throws {IdentityError} for whatever keeps us from an answer. */
  async #call(message: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    const { transport, clock } = this.#options;
    const abort = new AbortController();
    const ended = Promise.withResolvers<never>();
    ended.promise.catch(() => {}); // Told by what follows.
    let end: CallFailure | null = null;
    const stop = (failure: CallFailure) => {
      end ??= failure;
      ended.reject(end);
      abort.abort();
    };
    const cancelled = () => stop(CANCELLED);
    const timer = clock.after(this.#deadlineMs, () => stop(TIMED_OUT));
    signal.addEventListener("abort", cancelled, { once: true });
    if (signal.aborted) cancelled();
    let headers: GrpcHeaders = [];
    try {
      // A read of a file hears no signal; a call does, and is waited for until nothing of it is left.
      headers = await Promise.race([ended.promise, this.#options.headers()]);
      return await transport.unary({
        path: CREATE_CERTIFICATE_PATH,
        headers,
        message,
        deadlineMs: this.#deadlineMs,
        signal: abort.signal,
      });
    } catch (error) {
      throw callError(end ?? failureOf(error), headers);
    } finally {
      timer.cancel();
      signal.removeEventListener("abort", cancelled);
    }
  }
}

/** The request's bytes; without `impersonate` there is no metadata at all (§2.2). */
export function encodeCaRequest(about: {
  readonly csrPem: string;
  readonly ttlMs: number;
  readonly identity: SpiffeId;
  readonly impersonate: boolean;
}): Uint8Array {
  const { csrPem, ttlMs, identity, impersonate } = about;
  return istio.v1.auth.IstioCertificateRequest.encode({
    csr: csrPem,
    validityDuration: Math.floor(ttlMs / 1000),
    metadata: impersonate
      ? { fields: { ImpersonatedIdentity: { stringValue: identity.uri } } }
      : null,
  }).finish();
}

const CANCELLED: CallFailure = {
  code: "GRPC_CLOSED",
  status: "Cancelled",
  message: "the call was cancelled",
};

const TIMED_OUT: CallFailure = {
  code: "GRPC_DEADLINE",
  status: "DeadlineExceeded",
  message: "Timeout expired",
};

function decode(message: Uint8Array): readonly string[] {
  try {
    return decodeCaResponse(message);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw callError({
      code: "CA_MESSAGE",
      status: "Internal",
      message: `failed to decode Protobuf message: ${reason}`,
      cause: error,
    }, []);
  }
}
