// One resource cannot be used; the others of the response can (spec/xds-state-and-dns §1.6, §2.5).
import { ProxyError } from "../base/errors.ts";

/** The message is the reason that a NACK gives after the resource's name. */
export class ResourceError extends ProxyError {
  readonly code = "RESOURCE_REJECTED";
  /** Whether the bytes were no message, or the message meant nothing: a NACK names the latter first (§1.7). */
  readonly kind: "decode" | "convert";

  constructor(message: string, options: ErrorOptions & { readonly kind: "decode" | "convert" }) {
    super(message, options);
    this.kind = options.kind;
  }
}

/** The message means something that this proxy cannot do, or nothing. */
export function cannotConvert(message: string): ResourceError {
  return new ResourceError(message, { kind: "convert" });
}

/** The meaning of an enumeration's number; enumerations are open, so any may come. */
export function enumValue<Value>(values: readonly Value[], number: number): Value {
  const value = values[number];
  if (value === undefined) throw cannotConvert(`decode error: unknown enumeration value ${number}`);
  return value;
}
