// Decides when a listener that may have died silently is opened anew (spec/deno-runtime §7.4). Pure.

/** Sockets open since the last accept below which running out of descriptors is not suspected. */
export const SUSPECT_SOCKETS = 16;
/** A listener is looked at this often … */
export const WATCH_INTERVAL_MS = 300;
/** … and so often in the time after a renewal: the kernel's queue alone may exhaust the descriptors again. */
export const WATCH_CLOSELY_INTERVAL_MS = 100;
const WATCH_CLOSELY_MS = 2000;
/** Without any sign of freed descriptors a suspected listener is renewed this often. */
export const RENEW_QUIET_MS = 5000;

/**
 * The runtime stops a listener for good, without a word, when accepting fails for want of descriptors. Nobody
 * can ask it whether it is alive, but renewing a living one costs a tenth of a millisecond and loses nothing
 * (the kernel's queue is shared by duplicate descriptors). So: renew where descriptors may have run out since
 * the last accept, and some may have come free since.
 */
export class AcceptWatch {
  #acceptedSinceCheck = false;
  #peakOpen = 0;
  #closedSinceRenewal = false;
  #exhausted = false;
  #renewedMs: number;
  #everRenewed = false;

  constructor(nowMs: number) {
    this.#renewedMs = nowMs;
  }

  accepted(): void {
    this.#acceptedSinceCheck = true;
    this.#peakOpen = 0;
    this.#exhausted = false;
  }

  /** How many sockets are open now. */
  opened(openSockets: number): void {
    if (openSockets > this.#peakOpen) this.#peakOpen = openSockets;
  }

  /** Some socket of the process was closed. */
  closed(): void {
    this.#closedSinceRenewal = true;
  }

  /** Something failed for want of descriptors. */
  exhausted(): void {
    this.#exhausted = true;
  }

  /** Milliseconds until {@link mustRenew} wants to be asked again. */
  nextCheckMs(nowMs: number): number {
    const closely = this.#everRenewed && nowMs - this.#renewedMs < WATCH_CLOSELY_MS;
    return closely ? WATCH_CLOSELY_INTERVAL_MS : WATCH_INTERVAL_MS;
  }

  /** Asked every so often: true if the listener is to be renewed now. */
  mustRenew(openSockets: number, nowMs: number): boolean {
    const quiet = !this.#acceptedSinceCheck;
    this.#acceptedSinceCheck = false;
    const suspect = this.#exhausted || this.#peakOpen >= SUSPECT_SOCKETS;
    this.opened(openSockets);
    if (!quiet || !suspect) return false;
    if (!this.#closedSinceRenewal && nowMs - this.#renewedMs < RENEW_QUIET_MS) return false;
    this.#closedSinceRenewal = false;
    this.#exhausted = false;
    this.#peakOpen = openSockets;
    this.#renewedMs = nowMs;
    this.#everRenewed = true;
    return true;
  }
}
