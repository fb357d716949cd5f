// What can go wrong at the border between isolates, and errors that came across it.
import { ProxyError } from "../base/errors.ts";
import { RouteError, type RouteErrorCode } from "../seam/router.ts";

/** Characters of any text that crosses in an error or event; what is longer is cut. */
export const TEXT_CHARS_MAX = 16_384;

/** An error as a message carries it: structured clone would keep the text and lose the rest. */
export interface WireError {
  /** Name of its class, for whoever reads a stack. */
  readonly name: string;
  readonly code: string;
  readonly message: string;
  /** True for a `RouteError`. */
  readonly route: boolean;
}

/** An error of the other isolate: same code, same words. Its class does not cross. */
export class RemoteError extends ProxyError {
  readonly code: string;

  constructor(error: Pick<WireError, "name" | "code" | "message">) {
    super(error.message);
    this.name = error.name;
    this.code = error.code;
  }
}

/** A message of the data plane cannot be read: a bug, or a data plane that somebody took over. */
export class MessageError extends ProxyError {
  readonly code = "BAD_MESSAGE";
}

/** The data plane's isolate did not come up. The message is one sentence for the operator. */
export class DataPlaneStartError extends ProxyError {
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** The data plane's isolate ended while something was asked of it. */
export class DataPlaneDead extends ProxyError {
  readonly code = "DATA_PLANE_DEAD";
}

export function encodeError(error: ProxyError): WireError {
  return {
    name: error.name,
    code: error.code,
    message: cutText(error.message),
    route: error instanceof RouteError,
  };
}

/** A `RouteError` stays one; every other error becomes a {@link RemoteError}. */
export function decodeError(error: WireError): ProxyError {
  return error.route
    ? new RouteError(error.code as RouteErrorCode, error.message)
    : new RemoteError(error);
}

/** `text`, or its first `charsMax` characters, the last one then being `…`. */
export function cutText(text: string, charsMax = TEXT_CHARS_MAX): string {
  return text.length <= charsMax ? text : `${text.slice(0, charsMax - 1)}…`;
}
