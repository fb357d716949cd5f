// An authorization policy and a connection, as values (spec/data-path §4.1, §4.4). Pure.
import type { SpiffeId } from "../tls/spiffe_id.ts";

export type StringMatch =
  | { readonly kind: "exact" | "prefix" | "suffix"; readonly text: string }
  | { readonly kind: "presence" };

/** A network: canonical address and prefix length in bits; host bits may be set. */
export interface Cidr {
  readonly ip: string;
  readonly prefixBits: number;
}

export interface ServiceAccountMatch {
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** All set fields hold; a field = (positive list empty or one matches) and (no negative one matches). */
export interface PolicyMatch {
  readonly namespaces: readonly StringMatch[];
  readonly notNamespaces: readonly StringMatch[];
  readonly principals: readonly StringMatch[];
  readonly notPrincipals: readonly StringMatch[];
  readonly serviceAccounts: readonly ServiceAccountMatch[];
  readonly notServiceAccounts: readonly ServiceAccountMatch[];
  readonly sourceIps: readonly Cidr[];
  readonly notSourceIps: readonly Cidr[];
  readonly destinationIps: readonly Cidr[];
  readonly notDestinationIps: readonly Cidr[];
  readonly destinationPorts: readonly number[];
  readonly notDestinationPorts: readonly number[];
}

export type PolicyScope = "Global" | "Namespace" | "WorkloadSelector";

/** Rules are ORed; a rule's clauses ANDed; a clause's matches ORed. */
export interface Policy {
  readonly name: string;
  readonly namespace: string;
  readonly scope: PolicyScope;
  readonly action: "Allow" | "Deny";
  readonly dryRun: boolean;
  readonly rules: readonly (readonly (readonly PolicyMatch[])[])[];
}

/** What a policy is asked about. Addresses canonical, ports 0 to 65535. */
export interface PolicyInput {
  /** Null for plaintext. */
  readonly identity: SpiffeId | null;
  readonly sourceIp: string;
  readonly destinationIp: string;
  readonly destinationPort: number;
}
