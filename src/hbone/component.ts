// What a data plane is made of: listeners with everything they accepted, driven alike (spec/data-path §6).
import type { ProxyError } from "../base/errors.ts";
import type { Intake } from "./intake.ts";

/** One listener of a data plane with everything it accepted, as the data plane drives it. */
export interface Component {
  readonly name: "inbound" | "inbound passthrough" | "outbound" | "socks5";
  /** Its listener. */
  readonly intake: Intake;
  /** Application connections it holds. */
  readonly connections: number;
  /** True while anything it accepted is not over. */
  readonly busy: boolean;
  /** Closes the listener and lets what lives end by itself; `onQuiet` follows, in a later turn. Once. */
  drain(onQuiet: () => void): void;
  /** Ends everything now. After `drain`. */
  force(reason: ProxyError): void;
}
