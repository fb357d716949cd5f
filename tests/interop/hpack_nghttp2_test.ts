// Our HPACK against nghttp2's: each reads what the other wrote, and both call the same blocks malformed.
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { HpackEncoder } from "../../src/h2/hpack/encoder.ts";
import { HpackError } from "../../src/h2/hpack/errors.ts";
import { STATIC_NAMES } from "../../src/h2/hpack/static_table.ts";
import type { HeaderField, HeaderList } from "../../src/h2/types.ts";
import { decodeAll, decoderOf, encodeAll, fields, hexOf } from "../support/hpack.ts";
import { Nghttp2Decoder, Nghttp2Encoder, Nghttp2Failure } from "./nghttp2_hpack.ts";

/** CONNECTs and answers as they repeat on a tunnel. */
const TUNNEL: readonly HeaderList[] = Array.from(
  { length: 200 },
  (_, n) =>
    n % 5 === 4 ? fields(`:status: ${[200, 401, 503][n % 3]}`, "baggage: k8s.pod.name=b") : fields(
      ":method: CONNECT",
      `:authority: 10.0.0.${n % 40}:8080`,
      `baggage: k8s.cluster.name=Kubernetes,k8s.namespace.name=ns${n % 7}`,
      `forwarded: for=10.1.${n}.1:${40000 + n}`,
      `traceparent: 00-${n.toString(16).padStart(32, "a")}-00000000000000ab-01`,
      `x-forwarded-network: ${n % 2 === 0 ? "" : "network-1"}`,
    ),
);

const anyOctets = fc.uint8Array({ maxLength: 200 })
  .map((bytes) => String.fromCharCode(...bytes));
const name = fc.oneof(fc.constantFrom(...STATIC_NAMES.slice(1), "baggage", "x"), anyOctets);
const value = fc.oneof(fc.constantFrom("", "a", "200", "GET", "k8s.pod.name=b"), anyOctets);
const headerList = fc.array(fc.record({ name, value }), { maxLength: 20 });
/** Lists with changes of SETTINGS_HEADER_TABLE_SIZE between them. */
const steps = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.record({ headers: headerList }) },
    { weight: 1, arbitrary: fc.record({ tableBytes: fc.nat(9000) }) },
  ),
  { maxLength: 12 },
);

Deno.test("HpackDecoder reads the tunnel's headers from nghttp2", () => {
  using peer = new Nghttp2Encoder();
  const decoder = decoderOf();
  for (const headers of TUNNEL) {
    assertEquals(decodeAll(decoder, peer.encode(headers, isNever)), headers);
  }
});

Deno.test("nghttp2 reads the tunnel's headers from HpackEncoder", () => {
  using peer = new Nghttp2Decoder();
  const encoder = new HpackEncoder();
  for (const headers of TUNNEL) {
    assertEquals(peer.decode(encodeAll(encoder, headers)), headers);
    assertEquals(peer.tableBytes, encoder.tableBytes);
  }
});

Deno.test("HpackDecoder reads every octet from nghttp2, Huffman code or not", () => {
  using peer = new Nghttp2Encoder();
  const decoder = decoderOf();
  for (let octet = 0; octet < 256; octet++) {
    // The zeros around it are short, so that Huffman code wins for long codes too.
    const headers = [{ name: "x", value: "0".repeat(60) + String.fromCharCode(octet) + "0" }];
    const block = peer.encode(headers, isNever);
    assert(block.length < 60, "nghttp2 chose Huffman code");
    assertEquals(decodeAll(decoder, block), headers);
  }
});

Deno.test("nghttp2 reads every octet from HpackEncoder, Huffman code or not", () => {
  using peer = new Nghttp2Decoder();
  const encoder = new HpackEncoder();
  for (let octet = 0; octet < 256; octet++) {
    const headers = [{ name: "x", value: "0".repeat(60) + String.fromCharCode(octet) + "0" }];
    const block = encodeAll(encoder, headers);
    assert(block.length < 60, "we chose Huffman code");
    assertEquals(peer.decode(block), headers);
  }
});

Deno.test("HpackDecoder reads any headers from nghttp2, whatever table sizes we advertise", () => {
  fc.assert(fc.property(steps, (sequence) => {
    using peer = new Nghttp2Encoder();
    const decoder = decoderOf();
    for (const step of sequence) {
      if ("tableBytes" in step) {
        peer.setPeerTableBytes(step.tableBytes);
        decoder.setTableBytesMax(step.tableBytes);
      } else {
        assertEquals(decodeAll(decoder, peer.encode(step.headers, isNever)), step.headers);
      }
    }
  }));
});

Deno.test("nghttp2 reads any headers from HpackEncoder, whatever table sizes it advertises", () => {
  fc.assert(fc.property(steps, (sequence) => {
    using peer = new Nghttp2Decoder();
    const encoder = new HpackEncoder();
    for (const step of sequence) {
      if ("tableBytes" in step) {
        peer.setTableBytesMax(step.tableBytes);
        encoder.setPeerTableBytes(step.tableBytes);
      } else {
        assertEquals(peer.decode(encodeAll(encoder, step.headers)), step.headers);
      }
    }
  }));
});

Deno.test("nghttp2 and HpackDecoder agree on which octets are malformed, and on the fields", () => {
  const octet = fc.oneof(
    fc.integer({ min: 0, max: 255 }),
    fc.constantFrom(0x40, 0x41, 0x82, 0xbe, 0x20, 0x3f, 0x1f, 0xe1, 0x7f, 0xff, 0x00, 0x01, 0x81),
  );
  let wellFormed = 0;
  let malformed = 0;
  fc.assert(
    fc.property(fc.array(fc.array(octet, { maxLength: 12 }), { maxLength: 4 }), (blocks) => {
      using peer = new Nghttp2Decoder();
      const decoder = decoderOf();
      for (const block of blocks) {
        const bytes = Uint8Array.from(block);
        const theirs = verdict(() => peer.decode(bytes));
        assertEquals(verdict(() => decodeAll(decoder, bytes)), theirs, hexOf(bytes));
        if (theirs === null) {
          malformed++;
          return;
        }
        wellFormed++;
      }
    }),
    { numRuns: 3000 },
  );
  assert(wellFormed > 300 && malformed > 300, `${wellFormed} good, ${malformed} bad`);
});

function isNever({ name }: HeaderField): boolean {
  return name === "authorization" || name === "cookie";
}

/** The fields, or null for a malformed block. */
function verdict(decode: () => HeaderField[]): HeaderField[] | null {
  try {
    return decode();
  } catch (error) {
    if (error instanceof HpackError || error instanceof Nghttp2Failure) return null;
    throw error;
  }
}
