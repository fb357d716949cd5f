// The generated code against the specification's bytes, in both directions.
import { assert, assertEquals, assertThrows } from "@std/assert";
import { Buffer } from "node:buffer";
import { google, istio } from "./messages.js";
import type { Codec, Input } from "./messages.js";

const decodeHex = (hex: string) => new Uint8Array(Buffer.from(hex, "hex"));
const encodeHex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

/** A message, its bytes, and that each becomes the other. */
function assertBytes<Message>(codec: Codec<Message>, message: Input<Message>, hex: string) {
  assertEquals(encodeHex(codec.encode(message).finish()), hex);
  assertEquals(
    encodeHex(codec.encode(codec.decode(decodeHex(hex)) as Input<Message>).finish()),
    hex,
  );
}

const { ZdsHello, Version, WorkloadRequest, WorkloadResponse } = istio.workload.zds;

Deno.test("IstioCertificateRequest has the bytes of spec/identity-and-inpod §2.2", () => {
  const { IstioCertificateRequest } = istio.v1.auth;
  const hex =
    "0a034353521880a30522440a420a14496d706572736f6e617465644964656e74697479122a1a28737069666665" +
    "3a2f2f636c75737465722e6c6f63616c2f6e732f64656661756c742f73612f617070";
  const identity = "spiffe://cluster.local/ns/default/sa/app";
  assertBytes(IstioCertificateRequest, {
    csr: "CSR",
    validityDuration: 86_400,
    metadata: { fields: { ImpersonatedIdentity: { stringValue: identity } } },
  }, hex);
  const read = IstioCertificateRequest.decode(decodeHex(hex));
  assertEquals(read.validityDuration, 86_400);
  assertEquals(read.metadata?.fields["ImpersonatedIdentity"]?.stringValue, identity);
});

Deno.test("IstioCertificateRequest without metadata knows that it has none", () => {
  const { IstioCertificateRequest } = istio.v1.auth;
  assertBytes(IstioCertificateRequest, { csr: "CSR" }, "0a03435352");
  assertEquals(IstioCertificateRequest.decode(decodeHex("0a03435352")).metadata, null);
});

Deno.test("IstioCertificateResponse keeps the order of the chain", () => {
  assertBytes(istio.v1.auth.IstioCertificateResponse, { certChain: ["a", "b"] }, "0a01610a0162");
});

const SECONDS = [0, 1, 86_400, 2 ** 31, 2 ** 32, 2 ** 53 - 1, -1];

Deno.test.each(SECONDS.map((validityDuration) => ({ validityDuration })))(
  "a 64-bit number is a number: $validityDuration",
  ({ validityDuration }) => {
    const { IstioCertificateRequest } = istio.v1.auth;
    const bytes = IstioCertificateRequest.encode({ validityDuration }).finish();
    assertEquals(IstioCertificateRequest.decode(bytes).validityDuration, validityDuration);
  },
);

Deno.test.each([
  { name: "hello V1", codec: ZdsHello, message: { version: Version.V1 }, hex: "0801" },
  { name: "ack", codec: WorkloadResponse, message: { ack: {} }, hex: "0a00" },
  {
    name: "nack",
    codec: WorkloadResponse,
    message: { ack: { error: "boom" } },
    hex: "0a060a04626f6f6d",
  },
  { name: "snapshot sent", codec: WorkloadRequest, message: { snapshotSent: {} }, hex: "1a00" },
  {
    name: "del",
    codec: WorkloadRequest,
    message: { del: { uid: "uid0" } },
    hex: "1206120475696430",
  },
  {
    name: "keep",
    codec: WorkloadRequest,
    message: { keep: { uid: "uid0" } },
    hex: "2a060a0475696430",
  },
  {
    name: "add",
    codec: WorkloadRequest,
    message: {
      add: { uid: "uid0", workloadInfo: { name: "name", namespace: "ns", serviceAccount: "sa" } },
    },
    hex: "0a160a0475696430120e0a046e616d6512026e731a027361",
  },
])("ZDS $name has the bytes of spec/identity-and-inpod §7.2", ({ codec, message, hex }) => {
  assertBytes(codec as Codec<unknown>, message as Input<unknown>, hex);
});

Deno.test("WorkloadRequest says which packet it is, and of an unknown one nothing", () => {
  const kind = (hex: string) => WorkloadRequest.decode(decodeHex(hex)).payload;
  assertEquals(kind("1a00"), "snapshotSent");
  assertEquals(kind("2a060a0475696430"), "keep");
  assertEquals(kind("3200"), undefined);
});

Deno.test("DelWorkload does not take its uid from field 1", () => {
  assertEquals(WorkloadRequest.decode(decodeHex("12060a0475696430")).del?.uid, "");
});

Deno.test("presence differs from zero: a length, a capacity, a member of a oneof", () => {
  const { NetworkAddress, Workload } = istio.workload;
  assertEquals(NetworkAddress.decode(decodeHex("")).length, null);
  assertEquals(NetworkAddress.decode(decodeHex("1800")).length, 0);
  assertBytes(NetworkAddress, { length: 0 }, "1800");
  assertEquals(Workload.decode(decodeHex("")).capacity, null);
  assertEquals(Workload.decode(decodeHex("da0100")).capacity?.value, 0);
  assertBytes(Workload, { capacity: { value: 0 } }, "da0100");
  assertBytes(google.protobuf.Value, { nullValue: 0 }, "0800");
  assertBytes(google.protobuf.Value, { stringValue: "" }, "1a00");
});

Deno.test("repeated numbers are written packed and read both ways", () => {
  const { Match } = istio.security;
  assertBytes(Match, { destinationPorts: [80, 443] }, "4a0350bb03");
  assertEquals(Match.decode(decodeHex("485048bb03")).destinationPorts, [80, 443]);
});

Deno.test("a field that comes twice: the last scalar, messages merged, the last member of a oneof", () => {
  const { Workload, GatewayAddress } = istio.workload;
  assertEquals(Workload.decode(decodeHex("0a01610a0162")).name, "b");
  assertEquals(Workload.decode(decodeHex("0a01610a00")).name, "");
  const locality = Workload.decode(decodeHex("c201030a0172c201031a0173")).locality;
  assertEquals([locality?.region, locality?.subzone], ["r", "s"]);
  const gateway = GatewayAddress.decode(decodeHex("0a030a016e12030a016d"));
  assertEquals([gateway.destination, gateway.hostname], ["address", null]);
});

Deno.test("the last entry of a map's key counts, also under names that objects have of themselves", () => {
  const { Workload } = istio.workload;
  const twice = Workload.decode(decodeHex("b201070a016b12020a00" + "b201030a016b")).services;
  assertEquals(Object.keys(twice), ["k"]);
  assertEquals(twice["k"]?.ports.length, 0);
  const key = encodeHex(new TextEncoder().encode("__proto__"));
  const odd = Workload.decode(decodeHex(`b2010f0a09${key}12020a00`)).services;
  assertEquals(Object.keys(odd), ["__proto__"]);
});

Deno.test("a string that is not UTF-8 is refused", () => {
  for (const bad of ["ff", "c080", "eda080", "f8808080"]) {
    const length = (bad.length / 2).toString(16).padStart(2, "0");
    assertThrows(() => istio.workload.Workload.decode(decodeHex(`0a${length}${bad}`)), Error);
  }
});

Deno.test("an unknown enumeration value is kept as its number", () => {
  assertEquals(istio.workload.Workload.decode(decodeHex("2863")).tunnelProtocol, 99);
});

Deno.test("what nests too deep is refused, not followed", () => {
  const nested = (levels: number): Uint8Array => {
    let bytes = new Uint8Array();
    for (let at = 0; at < levels; at++) {
      // Value{list_value: ListValue{values: [the one before]}}
      for (const tag of [0x0a, 0x32]) {
        const longer = new Uint8Array([tag, ...varint(bytes.length), ...bytes]);
        bytes = longer;
      }
    }
    return bytes;
  };
  assert(google.protobuf.Value.decode(nested(40)).listValue !== null);
  assertThrows(() => google.protobuf.Value.decode(nested(60)), Error, "max depth exceeded");
});

function varint(value: number): number[] {
  return value < 128 ? [value] : [value & 127 | 128, ...varint(value >> 7)];
}
