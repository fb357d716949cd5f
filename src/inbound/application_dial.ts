// The connection to the application behind us, in its client's name where that is possible (spec/data-path §3.5, T1-T6).
import { isIpv6, isLoopback, type SocketAddress } from "../base/address.ts";
import { type Cancel, type Channel, type Done, NOTHING_TO_CANCEL } from "../base/channel.ts";
import { ProxyError } from "../base/errors.ts";
import type { DataPlaneParts } from "../hbone/parts.ts";

export interface ApplicationTarget {
  readonly target: SocketAddress;
  /** The address to dial from, our own, where the route names one (T4); else null. */
  readonly fromIp: string | null;
  /** Whose address the application is to see; null for our own. */
  readonly clientIp: string | null;
  /** Of the line that says why it sees ours nevertheless. */
  readonly logScope: string;
}

/**
 * Dials once, and once more without the client's address where the system will not let us use it (T6). Fails with what
 * the network says.
 */
export function dialApplication(
  application: ApplicationTarget,
  parts: DataPlaneParts,
  done: Done<Channel>,
): Cancel {
  const dial = new ApplicationDial(application, parts, done);
  dial.start();
  return dial;
}

class ApplicationDial implements Cancel {
  readonly #application: ApplicationTarget;
  readonly #parts: DataPlaneParts;
  readonly #done: Done<Channel>;
  #step: Cancel = NOTHING_TO_CANCEL;

  constructor(application: ApplicationTarget, parts: DataPlaneParts, done: Done<Channel>) {
    this.#application = application;
    this.#parts = parts;
    this.#done = done;
  }

  start(): void {
    const { target, clientIp, fromIp } = this.#application;
    if (fromIp !== null) {
      this.#dial({ sourceIp: fromIp, spoof: false }, this.#done);
      return;
    }
    const spoof = clientIp !== null && canBeSource(clientIp, target.ip);
    const sourceIp = spoof ? clientIp : null;
    this.#dial({ sourceIp, spoof }, (outcome) => this.#onDialed(sourceIp, outcome));
  }

  cancel(): void {
    this.#step.cancel();
  }

  #dial(
    source: { readonly sourceIp: string | null; readonly spoof: boolean },
    done: Done<Channel>,
  ): void {
    const { network, limits, settings } = this.#parts;
    this.#step = network.dial(this.#application.target, {
      timeoutMs: limits.connectMsMax,
      keepalive: settings.keepalive,
      userTimeoutMs: settings.userTimeoutMs,
      ...source,
    }, done);
  }

  #onDialed(sourceIp: string | null, outcome: Channel | ProxyError): void {
    const refused = outcome instanceof ProxyError && SPOOF_FAILURES.has(outcome.code);
    if (sourceIp === null || !refused) {
      this.#done(outcome);
      return;
    }
    const text = `cannot use the source address ${sourceIp}: ${outcome.message}`;
    this.#parts.events.log("warn", this.#application.logScope, text);
    this.#dial({ sourceIp: null, spoof: false }, this.#done);
  }
}

/**
 * A client that is the application itself is not imitated (T3); nor is one that a socket to the application cannot
 * start from: of another family, or foreign on the loopback interface (T4).
 */
function canBeSource(clientIp: string, targetIp: string): boolean {
  return clientIp !== targetIp && isIpv6(clientIp) === isIpv6(targetIp) && !isLoopback(targetIp);
}

/** What a kernel says when a foreign source address may not be used. */
const SPOOF_FAILURES: ReadonlySet<string> = new Set([
  "EPERM",
  "EACCES",
  "EADDRNOTAVAIL",
  "EADDRINUSE",
  "EINVAL",
  "ENOPROTOOPT",
]);
