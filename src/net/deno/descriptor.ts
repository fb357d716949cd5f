// The runtime's private way to a descriptor: there for child_process, and all we need of it (spec/deno-runtime §2.4).
import type net from "node:net";

/** The runtime's private handle, as far as it is needed to duplicate the descriptor. */
interface HandleWithDescriptor {
  readonly _handle?: { fdForIpc?: () => number } | null;
}

/** A duplicate of the descriptor below; null where there is none, or none to be had. The caller owns it. */
export function duplicateDescriptor(owner: net.Server | net.Socket): number | null {
  const handle = (owner as unknown as HandleWithDescriptor)._handle;
  try {
    return handle?.fdForIpc?.() ?? null;
  } catch {
    return null; // Out of descriptors.
  }
}
