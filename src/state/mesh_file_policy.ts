// The policies of a mesh file (spec/xds-state-and-dns §4.4).
import { parseCidr } from "../rbac/cidr.ts";
import type {
  Cidr,
  Policy,
  PolicyMatch,
  ServiceAccountMatch,
  StringMatch,
} from "../rbac/policy.ts";
import type { YamlValue } from "./yaml_reader.ts";

const PORT_MAX = 65_535;

const MATCH_KEYS = [
  "namespaces",
  "notNamespaces",
  "principals",
  "notPrincipals",
  "serviceAccounts",
  "notServiceAccounts",
  "sourceIps",
  "notSourceIps",
  "destinationIps",
  "notDestinationIps",
  "destinationPorts",
  "notDestinationPorts",
];

/**
 * Reads one policy.
 * @param warn Hears of keys in a match that mean nothing; the format says they are ignored (§4.1).
 */
export function readPolicy(value: YamlValue, warn: (what: string) => void): Policy {
  const map = value.object(["name", "namespace", "scope", "action", "dryRun", "rules"]);
  return {
    name: map.required("name").string(),
    namespace: map.required("namespace").string(),
    scope: map.required("scope").word(["Global", "Namespace", "WorkloadSelector"]),
    action: map.required("action").word(["Allow", "Deny"]),
    dryRun: map.required("dryRun").boolean(),
    rules: map.required("rules").list((rule) =>
      rule.list((clause) => clause.list((match) => readMatch(match, warn)))
    ),
  };
}

function readMatch(value: YamlValue, warn: (what: string) => void): PolicyMatch {
  const map = value.object(MATCH_KEYS, (key, name) => {
    warn(key.note(`ignores the unknown key ${JSON.stringify(name)}`));
  });
  const list = <Item>(key: string, read: (item: YamlValue) => Item): readonly Item[] =>
    map.optional(key, (items) => items.list(read), []);
  const readPort = (port: YamlValue) => port.integer(PORT_MAX);
  return {
    namespaces: list("namespaces", readStringMatch),
    notNamespaces: list("notNamespaces", readStringMatch),
    principals: list("principals", readStringMatch),
    notPrincipals: list("notPrincipals", readStringMatch),
    serviceAccounts: list("serviceAccounts", readServiceAccount),
    notServiceAccounts: list("notServiceAccounts", readServiceAccount),
    sourceIps: list("sourceIps", readCidr),
    notSourceIps: list("notSourceIps", readCidr),
    destinationIps: list("destinationIps", readCidr),
    notDestinationIps: list("notDestinationIps", readCidr),
    destinationPorts: list("destinationPorts", readPort),
    notDestinationPorts: list("notDestinationPorts", readPort),
  };
}

const STRING_MATCH =
  "a string match such as !Exact text, !Prefix text, !Suffix text or !Presence []";

/** `!Exact text` or `{Exact: text}`. */
function readStringMatch(value: YamlValue): StringMatch {
  if (value.tag !== null) return stringMatch(value.tag.slice(1), value, value);
  if (!value.isMap) value.mismatch(STRING_MATCH);
  const matches = value.entries((key, text) => stringMatch(key.string(), text, key));
  return matches.length === 1 ? matches[0]! : value.mismatch(STRING_MATCH);
}

function stringMatch(kind: string, value: YamlValue, blame: YamlValue): StringMatch {
  switch (kind) {
    case "Exact":
      return { kind: "exact", text: value.string() };
    case "Prefix":
      return { kind: "prefix", text: value.string() };
    case "Suffix":
      return { kind: "suffix", text: value.string() };
    case "Presence":
      if (!value.isNothing) value.mismatch("[] after Presence");
      return { kind: "presence" };
    default:
      return blame.mismatch(STRING_MATCH);
  }
}

/** `address/length`. */
export function readCidr(value: YamlValue): Cidr {
  return parseCidr(value.string()) ?? value.mismatch("a network such as 10.0.0.0/24");
}

function readServiceAccount(value: YamlValue): ServiceAccountMatch {
  const map = value.object(["namespace", "serviceAccount"]);
  return {
    namespace: map.required("namespace").string(),
    serviceAccount: map.required("serviceAccount").string(),
  };
}
