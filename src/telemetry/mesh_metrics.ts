// What is counted about the control plane, names and revocation (spec/config-and-observability §6.2).
import type { RevocationCounts } from "../tls/revocation.ts";
import { Counter } from "./counters.ts";

/** Of `istio_on_demand_dns_total`, in order (spec/xds-state-and-dns §3.11). */
export const ON_DEMAND_DNS_LABELS = [
  "source_workload",
  "source_canonical_service",
  "source_canonical_revision",
  "source_workload_namespace",
  "source_principal",
  "source_app",
  "source_version",
  "source_cluster",
  "hostname",
] as const;

/** A value for each label; "" is written as `unknown`. */
export type OnDemandDnsLabels = Readonly<Record<typeof ON_DEMAND_DNS_LABELS[number], string>>;

/** The counters of one process. */
export class MeshMetrics {
  readonly #terminations = new Counter({
    name: "istio_xds_connection_terminations",
    help: "Ended streams to the control plane, by reason (unstable)",
    labels: ["reason"],
  });
  readonly #messages = new Counter({
    name: "istio_xds_message",
    help: "Responses of the control plane, by type (unstable)",
    labels: ["url"],
  });
  readonly #bytes = new Counter({
    name: "istio_xds_message_bytes",
    help: "Payload of those responses (unstable)",
    unit: "bytes",
    labels: ["url"],
  });
  readonly #names = new Counter({
    name: "istio_on_demand_dns",
    help: "Names of workloads that connections asked for (unstable)",
    labels: ON_DEMAND_DNS_LABELS,
  });
  readonly #revoked = new Counter({
    name: "istio_crl_policy_rejections",
    help: "Handshakes refused and connections ended because of a revocation list (unstable)",
    labels: ["reporter"],
  });
  readonly #listErrors = new Counter({
    name: "istio_crl_load_errors",
    help: "Revocation lists that could not be taken, or are used beyond their time (unstable)",
    labels: ["reason"],
  });
  #revokedTold: RevocationCounts = { source: 0, destination: 0 };

  /** A stream to the control plane ended. */
  terminated(reason: string): void {
    this.#terminations.add([reason]);
  }

  /** A response came; `payloadBytes` is the sum over its resources. */
  message(typeUrl: string, payloadBytes: number): void {
    this.#messages.add([typeUrl]);
    this.#bytes.add([typeUrl], payloadBytes);
  }

  /** A connection needs a name resolved. */
  hostAsked(labels: OnDemandDnsLabels): void {
    this.#names.add(ON_DEMAND_DNS_LABELS.map((label) => labels[label] || "unknown"));
  }

  /** What revocation has done so far; never less than before. */
  revoked(counts: RevocationCounts): void {
    for (const reporter of ["source", "destination"] as const) {
      const more = counts[reporter] - this.#revokedTold[reporter];
      if (more > 0) this.#revoked.add([reporter], more);
    }
    this.#revokedTold = counts;
  }

  /** The file of revocation lists is not as it should be: an error's code, or `EXPIRED`. */
  listsFailed(reason: string): void {
    this.#listErrors.add([reason]);
  }

  /** In the order of §6.2. */
  render(): string {
    return [
      this.#terminations,
      this.#messages,
      this.#bytes,
      this.#names,
      this.#revoked,
      this.#listErrors,
    ].map((counter) => counter.render()).join("");
  }
}
