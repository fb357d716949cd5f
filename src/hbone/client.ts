// The client half of a tunnel: CONNECT out, 200 back (spec/data-path §1.3, §1.7).
import type { Cancel, Done } from "../base/channel.ts";
import type { Timer } from "../base/clock.ts";
import { NetError, type ProxyError } from "../base/errors.ts";
import type { H2Connection, H2ResponseHandler, H2Stream, HeaderList } from "../h2/types.ts";
import { AnswerTimeout, Http2Failure, HttpStatusError, IoFailure, PathError } from "./errors.ts";
import type { DataPlaneParts } from "./parts.ts";
import { headerValue } from "./header_text.ts";

/** What a CONNECT says about its connection; all values ready for the wire. */
export interface ConnectRequest {
  readonly authority: string;
  /** Source workload (§1.4); may be "". */
  readonly baggage: string;
  readonly forwarded: string;
  readonly traceparent: string;
  /** `NETWORK`, in the inner of two tunnels and nowhere else (§1.11); may be "". */
  readonly forwardedNetwork?: string;
}

/** The header list of a CONNECT, in the order every ztunnel sends it. */
export function connectHeaders(request: ConnectRequest): HeaderList {
  const headers = [
    { name: ":method", value: "CONNECT" },
    { name: ":authority", value: request.authority },
    { name: "baggage", value: request.baggage },
    { name: "forwarded", value: request.forwarded },
    { name: "traceparent", value: request.traceparent },
  ];
  const { forwardedNetwork } = request;
  if (forwardedNetwork !== undefined) {
    headers.push({ name: "x-forwarded-network", value: forwardedNetwork });
  }
  return headers;
}

/** An accepted CONNECT: payload may flow. The receiver owns the stream. */
export interface AcceptedConnect {
  readonly stream: H2Stream;
  readonly headers: HeaderList;
}

/** How the failure of a stream or its connection reads in the access log. */
export function tunnelFailure(error: ProxyError): PathError {
  if (error instanceof PathError) return error;
  return error instanceof NetError ? new IoFailure(error) : new Http2Failure(error);
}

/**
 * Sends CONNECT on a connection and waits for its answer, at most `limits.answerMsMax`. Only status 200 is
 * success. On failure and on cancel the stream is reset; the connection is left alone.
 */
export function openTunnel(
  connection: H2Connection,
  headers: HeaderList,
  parts: DataPlaneParts,
  done: Done<AcceptedConnect>,
): Cancel {
  return new PendingConnect(connection, headers, parts, done);
}

type State =
  | { readonly kind: "waiting"; readonly stream: H2Stream; readonly timer: Timer }
  | { readonly kind: "over" };

class PendingConnect implements H2ResponseHandler, Cancel {
  readonly #parts: DataPlaneParts;
  readonly #done: Done<AcceptedConnect>;
  #state: State;

  constructor(
    connection: H2Connection,
    headers: HeaderList,
    parts: DataPlaneParts,
    done: Done<AcceptedConnect>,
  ) {
    this.#parts = parts;
    this.#done = done;
    const { answerMsMax } = parts.limits;
    this.#state = {
      kind: "waiting",
      stream: connection.open(headers, this),
      timer: parts.clock.after(
        answerMsMax,
        () => this.#fail(new AnswerTimeout(answerMsMax), { reset: true }),
      ),
    };
  }

  onResponse(stream: H2Stream, headers: HeaderList, _endStream: boolean): void {
    if (this.#state.kind === "over") return;
    const text = headerValue(headers, ":status") ?? "";
    if (text !== "200") {
      const status = /^[1-9]\d\d$/.test(text) ? Number(text) : 0;
      this.#fail(new HttpStatusError(status), { reset: true });
      return;
    }
    this.#state.timer.cancel();
    this.#state = { kind: "over" };
    this.#complete({ stream, headers });
  }

  onFailure(_stream: H2Stream, error: ProxyError): void {
    if (this.#state.kind === "over") return;
    this.#fail(tunnelFailure(error), { reset: false });
  }

  cancel(): void {
    if (this.#state.kind === "over") return;
    const { stream, timer } = this.#state;
    this.#state = { kind: "over" };
    timer.cancel();
    stream.reset(null);
  }

  #fail(error: PathError, { reset }: { readonly reset: boolean }): void {
    if (this.#state.kind === "over") return;
    const { stream, timer } = this.#state;
    this.#state = { kind: "over" };
    timer.cancel();
    if (reset) stream.reset(error);
    this.#complete(error);
  }

  #complete(outcome: AcceptedConnect | PathError): void {
    try {
      this.#done(outcome);
    } catch (thrown) {
      const error = this.#parts.faults.caught(thrown, "hbone/client");
      if (!(outcome instanceof PathError)) outcome.stream.reset(error);
    }
  }
}
