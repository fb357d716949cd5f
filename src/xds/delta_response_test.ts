// Responses, whole and hostile (spec/xds-state-and-dns §1.4, §1.6, §1.13).
import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { envoy } from "../proto/messages.js";
import {
  ALIASES_MAX,
  DeltaResponseError,
  DeltaResponseReader,
  GROUPS_MAX,
  NAME_BYTES_MAX,
  REMOVED_MAX,
  RESOURCES_MAX,
} from "./delta_response.ts";
import {
  bytesOf,
  field,
  hexOf,
  join,
  numberField,
  varint,
} from "../../tests/support/protobuf_bytes.ts";

const { DeltaDiscoveryResponse } = envoy.service.discovery.v3;

const SAMPLE =
  "0a017612240a02616212060a01741201011a0b632f2f506f642f6e732f7022092f31302e302e302e312201742a" +
  "026e3132046e732f68";

function readAll(message: Uint8Array, fieldsMax = 1_000): DeltaResponseReader {
  const reader = new DeltaResponseReader(message);
  while (!reader.read(fieldsMax));
  return reader;
}

function contents({ typeUrl, nonce, removed, resources }: DeltaResponseReader) {
  return {
    typeUrl,
    nonce,
    removed,
    resources: resources.map(({ name, version, aliases, payload, error }) => ({
      name,
      version,
      aliases,
      payload: payload === null ? null : hexOf(payload),
      error,
    })),
  };
}

/** The first resource of a response that consists of `resource` (field bytes) and a good one after it. */
function readResource(...resource: Uint8Array[]) {
  const { resources } = readAll(join(field(2, join(...resource)), field(2, field(3, "good"))));
  assertEquals(resources.length, 2);
  assertEquals([resources[1]!.name, resources[1]!.error], ["good", null]);
  return resources[0]!;
}

const SAMPLE_CONTENTS = {
  typeUrl: "t",
  nonce: "n1",
  removed: ["ns/h"],
  resources: [{
    name: "c//Pod/ns/p",
    version: "ab",
    aliases: ["/10.0.0.1"],
    payload: "01",
    error: null,
  }],
};

Deno.test("DeltaResponseReader reads the sample of §1.13, in steps of any size", () => {
  for (const fieldsMax of [1, 2, 3, 7, 1_000]) {
    assertEquals(contents(readAll(bytesOf(SAMPLE), fieldsMax)), SAMPLE_CONTENTS);
  }
});

Deno.test("DeltaDiscoveryResponse encodes to the sample of §1.13", () => {
  const bytes = DeltaDiscoveryResponse.encode({
    systemVersionInfo: "v",
    typeUrl: "t",
    nonce: "n1",
    removedResources: ["ns/h"],
    resources: [{
      name: "c//Pod/ns/p",
      version: "ab",
      aliases: ["/10.0.0.1"],
      resource: { type_url: "t", value: new Uint8Array([1]) },
    }],
  }).finish();
  assertEquals(hexOf(bytes), SAMPLE);
});

Deno.test("DeltaResponseReader reads an empty response", () => {
  const nothing = { typeUrl: "", nonce: "", removed: [], resources: [] };
  assertEquals(contents(readAll(new Uint8Array())), nothing);
});

Deno.test("DeltaResponseReader says false until the last field is read", () => {
  const reader = new DeltaResponseReader(
    join(field(4, "t"), field(2, field(3, "n")), field(5, "n1")),
  );
  assertEquals([reader.read(1), reader.typeUrl], [false, "t"]);
  assertEquals([reader.read(1), reader.resources.length], [false, 1]);
  assertEquals([reader.read(1), reader.resources[0]?.name], [false, "n"]);
  assertEquals([reader.read(1), reader.nonce], [true, "n1"]);
});

Deno.test("DeltaResponseReader skips what newer servers send: numbers 3, 7, 8, 9 of any kind", () => {
  const unknown = join(
    field(7, field(1, "istiod")),
    field(8, "x"),
    numberField(9, 3),
    join(varint(3 << 3 | 1), "8 bytes.", varint(3 << 3 | 5), "4 by"),
    join(varint(100 << 3 | 3), field(2, "not a resource"), varint(100 << 3 | 4)),
  );
  assertEquals(contents(readAll(join(unknown, bytesOf(SAMPLE), unknown))), SAMPLE_CONTENTS);
});

Deno.test("DeltaResponseReader skips unknown fields inside a resource and inside its Any", () => {
  const group = join(varint(9 << 3 | 3), numberField(1, 1), varint(9 << 3 | 4));
  const any = join(
    group,
    field(1, "t"),
    field(3, "?"),
    field(2, "payload"),
    group,
    numberField(2, 5),
  );
  const resource = readResource(
    numberField(3, 1),
    group,
    field(6),
    field(3, "n"),
    field(2, any),
    field(7),
  );
  assertEquals(resource.error, null);
  assertEquals([resource.name, new TextDecoder().decode(resource.payload!)], ["n", "payload"]);
});

Deno.test("DeltaResponseReader tells a resource without Any from one with an empty Any", () => {
  const none = readResource(field(3, "n"));
  assertEquals([none.payload, none.hasPayload, none.payloadBytes], [null, false, 0]);
  const empty = readResource(field(3, "n"), field(2));
  assertEquals([empty.payload?.length, empty.hasPayload, empty.payloadBytes], [0, true, 0]);
});

Deno.test("DeltaResponseReader merges an Any that comes twice", () => {
  const value = (text: string) => field(2, field(2, text));
  const payload = (...parts: Uint8Array[]) =>
    new TextDecoder().decode(readResource(...parts).payload!);
  assertEquals(payload(value("a"), field(2, field(1, "t"))), "a");
  assertEquals(payload(value("a"), value("b")), "b");
});

Deno.test.each([
  { name: "a string that is not UTF-8", bytes: field(3, new Uint8Array([0xff])) },
  { name: "a length beyond its end", bytes: join([0x1a, 5], "ab") },
  { name: "a length of 4 GiB", bytes: bytesOf("1affffffff0f") },
  { name: "a length without end", bytes: bytesOf("1affffffffffff") },
  { name: "an Any that is longer than it", bytes: bytesOf("120501") },
  { name: "a value that is longer than its Any", bytes: field(2, bytesOf("1205")) },
  { name: "a cut tag", bytes: bytesOf("80") },
  { name: "field number 0", bytes: bytesOf("0000") },
  { name: "wire type 6", bytes: bytesOf("1e") },
  { name: "a group that never ends", bytes: bytesOf("4b") },
  { name: "a group that never ends in its Any", bytes: field(2, bytesOf("4b")) },
  { name: "a group that never began", bytes: bytesOf("4c") },
  { name: "a varint of eleven bytes", bytes: bytesOf("40ffffffffffffffffffff01") },
])("DeltaResponseReader rejects a resource with $name, and only it", ({ bytes }) => {
  const resource = readResource(field(1, "v1"), bytes);
  assertEquals(resource.version, "v1");
  assertEquals(resource.error?.startsWith("decode: "), true);
});

Deno.test.each([
  { name: "a resource longer than the message", bytes: bytesOf("120501") },
  { name: "a cut tag", bytes: bytesOf("80") },
  { name: "a type that is not UTF-8", bytes: field(4, new Uint8Array([0xc0, 0x80])) },
  { name: "a group that never ends", bytes: bytesOf("4b") },
  { name: "a group that ends as another", bytes: bytesOf("4b54") },
  { name: "field number 0", bytes: bytesOf("0200") },
  { name: "wire type 7", bytes: bytesOf("0f") },
  { name: "HTML", bytes: join("<html><body>503</body></html>") },
])("DeltaResponseReader refuses a message with $name", ({ bytes }) => {
  const error = assertThrows(() => readAll(join(field(4, "t"), bytes)), DeltaResponseError);
  assertEquals(error.code, "RESPONSE_MALFORMED");
});

Deno.test("DeltaResponseReader takes names of NAME_BYTES_MAX bytes and no longer ones", () => {
  for (const more of [-1, 0]) {
    const name = "n".repeat(NAME_BYTES_MAX + more);
    assertEquals(readResource(field(3, name)).name, name);
    assertEquals(readAll(field(6, name)).removed, [name]);
  }
  const long = "n".repeat(NAME_BYTES_MAX + 1);
  assertEquals(readResource(field(3, long)).error, "decode: a name of 8193 bytes, limit is 8192");
  assertThrows(() => readAll(field(6, long)), DeltaResponseError, "a name of 8193 bytes");
});

Deno.test("DeltaResponseReader follows GROUPS_MAX groups and no more", () => {
  const nested = (levels: number) =>
    join(new Array(levels).fill(0x4b), new Array(levels).fill(0x4c));
  assertEquals(readAll(join(nested(GROUPS_MAX), field(5, "n"))).nonce, "n");
  assertThrows(() => readAll(nested(GROUPS_MAX + 1)), DeltaResponseError, "max depth exceeded");
  assertEquals(readResource(nested(GROUPS_MAX)).error, null);
  assertEquals(readResource(nested(GROUPS_MAX + 1)).error, "decode: max depth exceeded");
});

/** `count` times the two bytes of an empty field. */
function manyEmpty(number: number, count: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(count * 2);
  for (let at = 0; at < bytes.length; at += 2) bytes[at] = number << 3 | 2;
  return bytes;
}

Deno.test("DeltaResponseReader takes RESOURCES_MAX resources; ten million empty ones are refused", () => {
  for (const fewer of [1, 0]) {
    const { resources } = readAll(manyEmpty(2, RESOURCES_MAX - fewer));
    assertEquals(resources.length, RESOURCES_MAX - fewer);
  }
  for (const count of [RESOURCES_MAX + 1, 10_000_000]) {
    const error = assertThrows(() => readAll(manyEmpty(2, count)), DeltaResponseError);
    assertEquals(error.code, "RESPONSE_TOO_LARGE");
    assertEquals(error.message, "Cannot take a response of more than 1000000 resources");
  }
});

Deno.test("DeltaResponseReader takes REMOVED_MAX removed names and no more", () => {
  for (const fewer of [1, 0]) {
    assertEquals(readAll(manyEmpty(6, REMOVED_MAX - fewer)).removed.length, REMOVED_MAX - fewer);
  }
  const error = assertThrows(() => readAll(manyEmpty(6, REMOVED_MAX + 1)), DeltaResponseError);
  assertEquals(error.message, "Cannot take a response of more than 1000000 removed names");
});

Deno.test("DeltaResponseReader keeps ALIASES_MAX aliases of a response and goes on without the rest", () => {
  for (const more of [-1, 0, 1]) {
    const first = field(2, manyEmpty(4, ALIASES_MAX + more - 1));
    const second = field(2, join(field(4, "last"), field(3, "n")));
    const { resources } = readAll(join(first, second));
    assertEquals(resources[1]?.name, "n");
    assertEquals(resources[1]?.aliases, more <= 0 ? ["last"] : []);
  }
});

Deno.test("DeltaResponseReader does bounded work in a step, whatever the message", () => {
  // Two million unknown fields inside a group, inside an Any, inside one resource.
  const filler = join(varint(9 << 3 | 3), manyEmpty(1, 2_000_000), varint(9 << 3 | 4));
  const reader = new DeltaResponseReader(field(2, field(2, filler)));
  let steps = 0;
  while (!reader.read(1_000)) steps++;
  assertEquals(steps, 2_000);
  assertEquals(reader.resources[0]?.error, null);
});

const resourceArbitrary = fc.record({
  name: fc.string({ unit: "grapheme" }),
  version: fc.string(),
  aliases: fc.array(fc.string({ unit: "binary" }).map((text) => text.toWellFormed())),
  payload: fc.option(fc.uint8Array({ maxLength: 300 })),
});

Deno.test("DeltaResponseReader reads any response that the generated code writes", () => {
  fc.assert(fc.property(
    fc.record({
      typeUrl: fc.string(),
      nonce: fc.string(),
      removed: fc.array(fc.string()),
      resources: fc.array(resourceArbitrary),
    }),
    fc.integer({ min: 1, max: 20 }),
    (response, fieldsMax) => {
      const bytes = DeltaDiscoveryResponse.encode({
        typeUrl: response.typeUrl,
        nonce: response.nonce,
        removedResources: response.removed,
        resources: response.resources.map(({ name, version, aliases, payload }) => ({
          name,
          version,
          aliases,
          resource: payload === null ? null : { value: payload },
        })),
      }).finish();
      assertEquals(contents(readAll(bytes, fieldsMax)), {
        ...response,
        resources: response.resources.map(({ payload, ...resource }) => ({
          ...resource,
          payload: payload === null ? null : hexOf(payload),
          error: null,
        })),
      });
    },
  ));
});

/** What comes of bytes that may be anything: null, or the error. */
function outcome(bytes: Uint8Array): DeltaResponseError | null {
  try {
    readAll(bytes, 50);
    return null;
  } catch (error) {
    if (error instanceof DeltaResponseError) return error;
    throw error;
  }
}

Deno.test("DeltaResponseReader ends on any bytes, with a typed error or without", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      outcome(bytes);
    }),
    { numRuns: 1_000 },
  );
});

Deno.test("DeltaResponseReader reads a broken sample as the generated code does, where that can", () => {
  const sample = bytesOf(SAMPLE);
  const place = fc.nat(sample.length);
  fc.assert(
    fc.property(place, fc.nat(255), place, (at, byte, cut) => {
      const broken = sample.slice(0, cut);
      if (at < cut) broken[at] = byte;
      let whole: ReturnType<typeof DeltaDiscoveryResponse.decode>;
      try {
        whole = DeltaDiscoveryResponse.decode(broken);
      } catch {
        outcome(broken);
        return;
      }
      const read = readAll(broken);
      assertEquals(read.typeUrl, whole.typeUrl);
      assertEquals(read.removed, whole.removedResources);
      const expected = whole.resources.map(({ name, version, aliases, resource }) => ({
        name,
        version,
        aliases,
        payload: resource === null ? null : hexOf(resource.value),
        error: null,
      }));
      assertEquals(contents(read).resources, expected);
    }),
    { numRuns: 1_000 },
  );
});
