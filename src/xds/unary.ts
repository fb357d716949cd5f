// What both transports do alike for a call of one message there and one back.
import type { Clock } from "../base/clock.ts";
import { GrpcError } from "./grpc_error.ts";
import { GrpcFrameReader } from "./grpc_frame.ts";
import type { UnaryCall } from "./transport.ts";

/** Largest answer of a unary call, in octets: a certificate chain has some KiB. */
export const UNARY_BYTES_MAX = 4 * 1024 * 1024;

/** Runs `work` with a signal that aborts at the call's deadline or with its own signal. */
export async function withDeadline(
  call: UnaryCall,
  clock: Clock,
  work: (signal: AbortSignal) => Promise<Uint8Array>,
): Promise<Uint8Array> {
  const abort = new AbortController();
  let end: GrpcError | null = null;
  const stop = (error: GrpcError) => {
    end ??= error;
    abort.abort();
  };
  const cancelled = () =>
    stop(
      new GrpcError("GRPC_CLOSED", { code: "Cancelled", message: "the call was cancelled" }),
    );
  const timer = clock.after(call.deadlineMs, () =>
    stop(
      new GrpcError("GRPC_DEADLINE", { code: "DeadlineExceeded", message: "Timeout expired" }),
    ));
  call.signal?.addEventListener("abort", cancelled, { once: true });
  if (call.signal?.aborted) cancelled();
  try {
    return await work(abort.signal);
  } catch (error) {
    if (end !== null) throw end;
    if (error instanceof GrpcError) throw error;
    const message = error instanceof Error ? error.message : String(error);
    throw new GrpcError("GRPC_CONNECTION_LOST", { code: "Unknown", message }, { cause: error });
  } finally {
    timer.cancel();
    call.signal?.removeEventListener("abort", cancelled);
  }
}

/**
 * The one message of a body.
 * @param nextChunk Null at its end.
 * @param checkEnd Looks at what came after it; a bad status says more than a message that is missing.
 * @throws {GrpcError} for anything else than exactly one whole message.
 */
export async function unaryAnswer(
  nextChunk: () => Promise<Uint8Array | null>,
  checkEnd: () => void,
): Promise<Uint8Array> {
  const frames = new GrpcFrameReader(UNARY_BYTES_MAX);
  let answer: Uint8Array | null = null;
  for (;;) {
    const message = frames.next();
    if (message !== null) {
      if (answer !== null) throw messageCount("more than one message");
      answer = message;
      continue;
    }
    const chunk = await nextChunk();
    if (chunk === null) break;
    frames.add(chunk);
  }
  checkEnd();
  frames.end();
  if (answer === null) throw messageCount("no message");
  return answer;
}

function messageCount(what: string): GrpcError {
  return new GrpcError("GRPC_MESSAGE_COUNT", {
    code: "Internal",
    message: `Cannot take the answer of a unary call: ${what}`,
  });
}
