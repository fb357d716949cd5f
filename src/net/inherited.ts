// Which descriptors were handed over at start, by systemd's protocol (sd_listen_fds(3)). Pure.
import { ProxyError } from "../base/errors.ts";

/** The first descriptor handed over; the others follow without a gap. */
export const INHERITED_FIRST = 3;
/** More than the proxy's listeners of every pod mode need; a greater number is a mistake. */
export const INHERITED_MAX = 64;

/** What was handed over cannot be used; the message is the whole explanation. */
export class InheritedListenerError extends ProxyError {
  readonly code = "INHERITED_LISTENER";
}

/** `LISTEN_FDS` and `LISTEN_PID`, as they are in the environment. */
export interface HandedOver {
  readonly fds: string;
  readonly pid: string | null;
}

export interface InheritedDescriptors {
  readonly fds: readonly number[];
  /** Why those that the environment names are not ours, as one sentence; null where they are. */
  readonly ignored: string | null;
}

/**
 * Reads the two variables. Descriptors meant for another process (a launcher that did not `exec`, a shell that was
 * started by socket) are left alone, as sd_listen_fds does; names (`LISTEN_FDNAMES`) do not matter.
 * @throws {InheritedListenerError} if `LISTEN_FDS` is not a number from 0 to {@link INHERITED_MAX}.
 */
export function inheritedDescriptors(handed: HandedOver, ownPid: number): InheritedDescriptors {
  const { fds, pid } = handed;
  if (pid !== String(ownPid)) {
    const whose = pid === null ? "LISTEN_PID is not set" : `LISTEN_PID is ${pid}`;
    const ignored = `LISTEN_FDS is ignored: ${whose}, this process is ${ownPid}`;
    return { fds: [], ignored };
  }
  const count = /^\d{1,5}$/.test(fds) ? Number(fds) : NaN;
  if (!(count <= INHERITED_MAX)) {
    throw new InheritedListenerError(
      `Cannot use LISTEN_FDS=${
        JSON.stringify(fds)
      }: it must be a number from 0 to ${INHERITED_MAX}`,
    );
  }
  return {
    fds: Array.from({ length: count }, (_, index) => INHERITED_FIRST + index),
    ignored: null,
  };
}
