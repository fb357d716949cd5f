// Who we say we are to the control plane: computed once, sent with the first request of each type (spec/xds-state-and-dns §1.3).
import type { google, Input } from "../proto/messages.js";

/** A `Node` message, ready to be encoded; only these two fields are sent. */
export interface NodeIdentity {
  readonly id: string;
  readonly metadata: Input<google.protobuf.Struct>;
}

/** How deep the JSON of one ISTIO_METAJSON_ variable may nest; protobuf readers give up at 100 messages, two for each level. */
export const METADATA_DEPTH_MAX = 32;

type Value = Input<google.protobuf.Value>;

/**
 * Builds the identity.
 * @param about.metadata Plain entries, names as they are sent; they overwrite the four of our own.
 * @param about.jsonMetadata Parsed JSON values; they overwrite everything else.
 * @param skipped Hears of entries that cannot be sent, and why.
 */
export function nodeIdentity(
  about: {
    readonly instanceIp: string;
    readonly podName: string;
    readonly podNamespace: string;
    readonly nodeName: string;
    readonly metadata: ReadonlyMap<string, string>;
    readonly jsonMetadata: ReadonlyMap<string, unknown>;
  },
  skipped?: (key: string, why: string) => void,
): NodeIdentity {
  const { instanceIp, podName, podNamespace, nodeName } = about;
  const fields = record<Value>();
  const put = (key: string, value: Value) => fields[key.toWellFormed()] = value;
  put("NAME", textValue(podName));
  put("NAMESPACE", textValue(podNamespace));
  put("INSTANCE_IPS", textValue(instanceIp));
  put("NODE_NAME", textValue(nodeName));
  for (const [key, text] of about.metadata) put(key, textValue(text));
  for (const [key, json] of about.jsonMetadata) {
    if (depthOf(json) <= METADATA_DEPTH_MAX) put(key, jsonValue(json));
    else skipped?.(key, `nested deeper than ${METADATA_DEPTH_MAX} levels`);
  }
  const id = `ztunnel~${instanceIp}~${podName}.${podNamespace}~${podNamespace}.svc.cluster.local`;
  return { id: id.toWellFormed(), metadata: { fields } };
}

/** An object that has no names of its own, not even `__proto__`. */
function record<Item>(): Record<string, Item> {
  return Object.create(null);
}

/** A string that has lone surrogates (JSON can say so) would be no UTF-8, and the server would drop the whole request. */
function textValue(text: string): Value {
  return { stringValue: text.toWellFormed() };
}

/** 0 for plain values, 1 for [] and {}; one more than the maximum for whatever is deeper than that. */
function depthOf(json: unknown, above = 0): number {
  if (typeof json !== "object" || json === null) return above;
  let deepest = above + 1;
  if (deepest > METADATA_DEPTH_MAX) return deepest;
  for (const inner of Object.values(json)) deepest = Math.max(deepest, depthOf(inner, above + 1));
  return deepest;
}

function jsonValue(json: unknown): Value {
  switch (typeof json) {
    case "string":
      return textValue(json);
    case "number":
      return { numberValue: json };
    case "boolean":
      return { boolValue: json };
    default:
      break;
  }
  if (Array.isArray(json)) return { listValue: { values: json.map(jsonValue) } };
  if (typeof json !== "object" || json === null) return { nullValue: 0 };
  const fields = record<Value>();
  for (const [key, inner] of Object.entries(json)) fields[key.toWellFormed()] = jsonValue(inner);
  return { structValue: { fields } };
}
