// Who asks the control plane for what the mesh lacks, one key at a time (spec/xds-state-and-dns §1.9).
import type { Cancel } from "../base/channel.ts";

export interface OnDemand {
  /**
   * Asks for `network/ip`, a workload's uid or `namespace/hostname`. `done` is called in a later turn, once readers
   * see a response that named the key (also as an alias, removed or rejected), or never: the asker bounds its wait.
   */
  want(key: string, done: () => void): Cancel;
}
