// Requests against the bytes of spec/xds-state-and-dns §1.13, and the Test lines of §1.3 and §1.5.
import { assertEquals } from "@std/assert";
import { envoy } from "../proto/messages.js";
import { encodeDeltaRequest } from "./delta_request.ts";
import { METADATA_DEPTH_MAX, nodeIdentity } from "./node_identity.ts";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from "./types.ts";
import { bytesOf, hexOf } from "../../tests/support/protobuf_bytes.ts";

const { DeltaDiscoveryRequest } = envoy.service.discovery.v3;

const ACK =
  "1230747970652e676f6f676c65617069732e636f6d2f697374696f2e73656375726974792e417574686f72697a61" +
  "74696f6e32026e31";
const INITIAL =
  "0a3e0a277a74756e6e656c7e312e312e312e317e702e6e7e6e2e7376632e636c75737465722e6c6f63616c1a130a110a" +
  "094e4f44455f4e414d4512041a026e311201741a012a22012a2a0d0a04666f6f301205302e302e31";

/** An identity with nothing in it but what a test says. */
function identity(about: Partial<Parameters<typeof nodeIdentity>[0]>, skipped?: string[]) {
  return nodeIdentity({
    instanceIp: "1.1.1.1",
    podName: "",
    podNamespace: "",
    nodeName: "",
    metadata: new Map(),
    jsonMetadata: new Map(),
    ...about,
  }, (key, why) => skipped?.push(`${key}: ${why}`));
}

Deno.test("encodeDeltaRequest() writes the ACK of §1.13", () => {
  assertEquals(hexOf(encodeDeltaRequest({ typeUrl: AUTHORIZATION_TYPE, nonce: "n1" })), ACK);
  const read = DeltaDiscoveryRequest.decode(bytesOf(ACK));
  assertEquals([read.typeUrl, read.responseNonce], [AUTHORIZATION_TYPE, "n1"]);
  assertEquals([read.node, read.errorDetail], [null, null]);
});

Deno.test("encodeDeltaRequest() writes the NACK of §1.13: the ACK and a message, code 0", () => {
  const nack = { typeUrl: AUTHORIZATION_TYPE, nonce: "n1", errorMessage: "bad: x" };
  assertEquals(hexOf(encodeDeltaRequest(nack)), `${ACK}3a0812066261643a2078`);
  const detail = DeltaDiscoveryRequest.decode(bytesOf(`${ACK}3a0812066261643a2078`)).errorDetail;
  assertEquals([detail?.code, detail?.message, detail?.details], [0, "bad: x", []]);
});

Deno.test("encodeDeltaRequest() makes a NACK of an empty message too", () => {
  const bytes = encodeDeltaRequest({ typeUrl: "t", nonce: "n", errorMessage: "" });
  assertEquals(DeltaDiscoveryRequest.decode(bytes).errorDetail?.message, "");
});

Deno.test("encodeDeltaRequest() writes the first request of §1.13", () => {
  const node = {
    id: "ztunnel~1.1.1.1~p.n~n.svc.cluster.local",
    metadata: { fields: { NODE_NAME: { stringValue: "n1" } } },
  };
  const bytes = encodeDeltaRequest({
    typeUrl: "t",
    node,
    subscribe: ["*"],
    unsubscribe: ["*"],
    initialVersions: new Map([["foo0", "0.0.1"]]),
  });
  assertEquals(hexOf(bytes), INITIAL);
  const read = DeltaDiscoveryRequest.decode(bytesOf(INITIAL));
  assertEquals(read.node?.id, node.id);
  assertEquals(read.node?.metadata?.fields["NODE_NAME"]?.stringValue, "n1");
  assertEquals([read.resourceNamesSubscribe, read.resourceNamesUnsubscribe], [["*"], ["*"]]);
  assertEquals(Object.entries(read.initialResourceVersions), [["foo0", "0.0.1"]]);
});

Deno.test("encodeDeltaRequest() of a first stream sends empty lists and an empty map", () => {
  const bytes = encodeDeltaRequest({ typeUrl: ADDRESS_TYPE, node: identity({}) });
  const read = DeltaDiscoveryRequest.decode(bytes);
  assertEquals(read.resourceNamesSubscribe.length + read.resourceNamesUnsubscribe.length, 0);
  assertEquals(read.initialResourceVersions, {});
  assertEquals([read.responseNonce, read.errorDetail], ["", null]);
});

Deno.test("encodeDeltaRequest() sends names with the empty version, and whatever they are called", () => {
  const initialVersions = new Map([["ns/p", ""], ["__proto__", "1"], ["constructor", "2"], [
    "7",
    "3",
  ]]);
  const bytes = encodeDeltaRequest({ typeUrl: AUTHORIZATION_TYPE, initialVersions });
  const read = DeltaDiscoveryRequest.decode(bytes).initialResourceVersions;
  assertEquals(new Map(Object.entries(read)), initialVersions);
});

Deno.test("encodeDeltaRequest() gives bytes that a later request does not change", () => {
  const first = encodeDeltaRequest({ typeUrl: "t", nonce: "n1" });
  const before = hexOf(first);
  encodeDeltaRequest({ typeUrl: "u", nonce: "m2" });
  assertEquals(hexOf(first), before);
  assertEquals(first.byteLength, first.buffer.byteLength);
});

Deno.test("encodeDeltaRequest() sends no text that is not UTF-8", () => {
  const bytes = encodeDeltaRequest({ typeUrl: "t", errorMessage: "cut \ud83d" });
  assertEquals(DeltaDiscoveryRequest.decode(bytes).errorDetail?.message, "cut \ufffd");
});

Deno.test("nodeIdentity() builds the id of §1.3", () => {
  const node = identity({ instanceIp: "10.1.2.3", podName: "zt-1", podNamespace: "istio-system" });
  assertEquals(node.id, "ztunnel~10.1.2.3~zt-1.istio-system~istio-system.svc.cluster.local");
});

Deno.test("nodeIdentity() of an empty environment still has four parts", () => {
  assertEquals(identity({}).id, "ztunnel~1.1.1.1~.~.svc.cluster.local");
});

/** The metadata as a server reads it. */
function sentMetadata(about: Parameters<typeof identity>[0]) {
  const bytes = encodeDeltaRequest({ typeUrl: "t", node: identity(about) });
  return DeltaDiscoveryRequest.decode(bytes).node!.metadata!.fields;
}

Deno.test("nodeIdentity() sends who we are, as strings", () => {
  const sent = sentMetadata({ podName: "p", podNamespace: "n", nodeName: "node-1" });
  const texts = Object.entries(sent).map(([key, value]) => [key, value.stringValue]);
  assertEquals(texts, [
    ["NAME", "p"],
    ["NAMESPACE", "n"],
    ["INSTANCE_IPS", "1.1.1.1"],
    ["NODE_NAME", "node-1"],
  ]);
});

Deno.test("nodeIdentity() lets metadata overwrite our own keys, and JSON overwrite metadata", () => {
  const sent = sentMetadata({
    podName: "p",
    metadata: new Map([["NAME", "other"], ["CLUSTER_ID", "c1"], ["LABELS", "text"]]),
    jsonMetadata: new Map<string, unknown>([["LABELS", { app: "foo" }]]),
  });
  assertEquals(sent["NAME"]?.stringValue, "other");
  assertEquals(sent["CLUSTER_ID"]?.stringValue, "c1");
  assertEquals(sent["LABELS"]?.stringValue, null);
  assertEquals(sent["LABELS"]?.structValue?.fields["app"]?.stringValue, "foo");
});

Deno.test("nodeIdentity() turns JSON into the matching protobuf values", () => {
  const json = JSON.parse('{"app":"foo","n":1,"l":[true,null],"e":{},"f":false}');
  const sent = sentMetadata({ jsonMetadata: new Map([["LABELS", json]]) });
  const fields = sent["LABELS"]!.structValue!.fields;
  assertEquals(fields["app"]?.stringValue, "foo");
  assertEquals(fields["n"]?.numberValue, 1);
  const list = fields["l"]!.listValue!.values;
  assertEquals(list.map((value) => [value.boolValue, value.nullValue]), [[true, null], [null, 0]]);
  assertEquals(fields["e"]?.structValue?.fields, {});
  assertEquals(fields["f"]?.boolValue, false);
});

Deno.test("nodeIdentity() keeps keys that objects have of themselves, and mends lone surrogates", () => {
  const json = JSON.parse('{"__proto__":"a","k\\ud800":"b\\udc00"}');
  const fields = sentMetadata({ jsonMetadata: new Map([["J", json]]) })["J"]!.structValue!.fields;
  const texts = Object.entries(fields).map(([key, value]) => [key, value.stringValue]);
  assertEquals(texts, [["__proto__", "a"], ["k\ufffd", "b\ufffd"]]);
});

Deno.test("nodeIdentity() sends JSON of METADATA_DEPTH_MAX levels and skips what is deeper", () => {
  for (const deeper of [-1, 0, 1]) {
    const levels = METADATA_DEPTH_MAX + deeper;
    const json = JSON.parse("[".repeat(levels) + "]".repeat(levels));
    const skipped: string[] = [];
    const node = identity({ jsonMetadata: new Map([["J", json]]) }, skipped);
    const bytes = encodeDeltaRequest({ typeUrl: "t", node });
    const sent = DeltaDiscoveryRequest.decode(bytes).node!.metadata!.fields;
    assertEquals(sent["J"] !== undefined, deeper <= 0);
    assertEquals(skipped, deeper <= 0 ? [] : ["J: nested deeper than 32 levels"]);
  }
});
