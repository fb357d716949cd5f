// Authorization messages to policies, the same values that a local file gives (spec/xds-state-and-dns §2.3, §2.5).
import type { istio } from "../proto/messages.js";
import type {
  Cidr,
  Policy,
  PolicyMatch,
  ServiceAccountMatch,
  StringMatch,
} from "../rbac/policy.ts";
import { convertAll, portOf } from "./convert_common.ts";
import { cidrOf } from "./ip_text.ts";
import { enumValue } from "./resource_error.ts";

const SCOPES = ["Global", "Namespace", "WorkloadSelector"] as const;
const ACTIONS = ["Allow", "Deny"] as const;

/**
 * Converts a policy.
 * @throws {ResourceError} of kind "convert", for an unknown scope or action.
 */
export function convertPolicy(message: istio.security.Authorization): Policy {
  return {
    name: message.name,
    namespace: message.namespace,
    scope: enumValue(SCOPES, message.scope),
    action: enumValue(ACTIONS, message.action),
    dryRun: message.dryRun,
    rules: convertAll(message.rules, convertRule),
  };
}

function convertRule({ clauses }: istio.security.Rule): readonly (readonly PolicyMatch[])[] {
  return convertAll(clauses, convertClause);
}

function convertClause({ matches }: istio.security.Clause): readonly PolicyMatch[] {
  return convertAll(matches, convertMatch);
}

function convertMatch(match: istio.security.Match): PolicyMatch {
  return {
    namespaces: kept(match.namespaces, stringMatch),
    notNamespaces: kept(match.notNamespaces, stringMatch),
    principals: kept(match.principals, stringMatch),
    notPrincipals: kept(match.notPrincipals, stringMatch),
    serviceAccounts: convertAll(match.serviceAccounts, serviceAccountMatch),
    notServiceAccounts: convertAll(match.notServiceAccounts, serviceAccountMatch),
    sourceIps: kept(match.sourceIps, network),
    notSourceIps: kept(match.notSourceIps, network),
    destinationIps: kept(match.destinationIps, network),
    notDestinationIps: kept(match.notDestinationIps, network),
    destinationPorts: convertAll(match.destinationPorts, portOf),
    notDestinationPorts: convertAll(match.notDestinationPorts, portOf),
  };
}

/** What a Match cannot understand is left out of its list; the policy stays in force (§2.5). */
function kept<Item, Value>(
  items: readonly Item[],
  convert: (item: Item) => Value | null,
): readonly Value[] {
  const values = convertAll(items, convert);
  return values.includes(null)
    ? convertAll(values.filter((value) => value !== null), (value) => value)
    : values as readonly Value[];
}

function stringMatch(match: istio.security.StringMatch): StringMatch | null {
  if (match.exact !== null) return { kind: "exact", text: match.exact };
  if (match.prefix !== null) return { kind: "prefix", text: match.prefix };
  if (match.suffix !== null) return { kind: "suffix", text: match.suffix };
  return match.presence === null ? null : { kind: "presence" };
}

function network({ address, length }: istio.security.Address): Cidr | null {
  return address.length === 4 || address.length === 16 ? cidrOf(address, length) : null;
}

function serviceAccountMatch(match: istio.security.ServiceAccountMatch): ServiceAccountMatch {
  return { namespace: match.namespace, serviceAccount: match.serviceAccount };
}
