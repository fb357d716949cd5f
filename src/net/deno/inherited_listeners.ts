// Listening sockets that whoever started the process opened for us, on the runtime's own sockets (LISTEN_FDS).
import net from "node:net";
import { parseIp, type SocketAddress } from "../../base/address.ts";
import { InheritedListenerError } from "../inherited.ts";
import { duplicateDescriptor } from "./descriptor.ts";

/** One that was handed over. */
export interface InheritedListener {
  /** A descriptor of the same socket, owned by whoever took it. */
  readonly descriptor: number;
  readonly local: SocketAddress;
}

interface Waiting {
  /** The runtime's way to own a descriptor and to ask for its address without accepting from it. */
  readonly holder: net.Socket;
  readonly local: SocketAddress;
}

/** Holds them until somebody listens on their port; connections wait in the kernel's queue meanwhile. */
export class InheritedListeners {
  readonly #waiting: Waiting[] = [];

  /**
   * Takes `fds` over.
   * @throws {InheritedListenerError} where one is no TCP socket with a port of its own; all are closed then.
   */
  constructor(fds: readonly number[]) {
    try {
      for (const fd of fds) this.#waiting.push(hold(fd));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Where those listen that nobody has taken yet. */
  get waiting(): readonly SocketAddress[] {
    return this.#waiting.map(({ local }) => local);
  }

  /** Gives the first on `port` away; null where there is none. */
  take(port: number): InheritedListener | null {
    const at = this.#waiting.findIndex(({ local }) => local.port === port);
    if (at < 0) return null;
    const { holder, local } = this.#waiting[at]!;
    const descriptor = duplicateDescriptor(holder);
    if (descriptor === null) return null; // Out of descriptors: listening will fail, and say so.
    this.#waiting.splice(at, 1);
    holder.destroy();
    return { descriptor, local };
  }

  /** Closes those that nobody took. */
  close(): void {
    for (const { holder } of this.#waiting.splice(0)) holder.destroy();
  }
}

/** Neither reads nor accepts. */
function hold(fd: number): Waiting {
  let holder: net.Socket;
  try {
    holder = new net.Socket({ fd, readable: false, writable: false });
  } catch (cause) {
    throw unusable(fd, "it is no TCP socket", { cause });
  }
  holder.on("error", () => {});
  const { localAddress, localPort } = holder;
  const ip = parseIp(localAddress ?? "");
  if (ip !== null && localPort !== undefined && localPort > 0 && holder.remotePort === undefined) {
    return { holder, local: { ip, port: localPort } };
  }
  holder.destroy();
  const isTcp = ip !== null && localPort !== undefined;
  throw unusable(fd, isTcp ? "it does not listen" : "it is no TCP socket");
}

function unusable(fd: number, why: string, options?: ErrorOptions): InheritedListenerError {
  return new InheritedListenerError(
    `Cannot use inherited descriptor ${fd}: ${why}; LISTEN_FDS must name listening TCP sockets`,
    options,
  );
}
