import { assertEquals } from "@std/assert";
import {
  decodeFlight,
  encodeAlert,
  encodeFlight,
  HANDSHAKE_PAYLOAD_BYTES_MAX,
  HandshakeReader,
} from "./memory_tls_messages.ts";

const CHAIN = [Uint8Array.of(1, 2, 3), new Uint8Array(0), new Uint8Array(1_000).fill(7)];

/** What a reader gives after each of the pieces. */
function read(pieces: readonly Uint8Array[]) {
  const reader = new HandshakeReader();
  return pieces.map((piece) => [reader.push(piece), reader.take()?.type ?? null]);
}

Deno.test("HandshakeReader reads a flight at every split", () => {
  const bytes = encodeFlight("certificates", { alpn: ["h2", "x"], chainDer: CHAIN });
  for (let split = 1; split < bytes.length; split++) {
    const reader = new HandshakeReader();
    reader.push(bytes.subarray(0, split));
    assertEquals(reader.take(), null);
    reader.push(bytes.subarray(split));
    const message = reader.take();
    if (message?.type !== "certificates") throw new Error(`split at ${split}: ${message?.type}`);
    assertEquals(decodeFlight(message.payload), { alpn: ["h2", "x"], chainDer: CHAIN });
  }
});

Deno.test("HandshakeReader takes no byte behind the message", () => {
  const alert = encodeAlert("CertificateUnknown");
  const both = new Uint8Array([...alert, 1, 2, 3]);
  assertEquals(read([both]), [[alert.length, "alert"]]);
});

Deno.test.each([
  { name: "just under", bytes: HANDSHAKE_PAYLOAD_BYTES_MAX - 1, type: "hello" },
  { name: "at", bytes: HANDSHAKE_PAYLOAD_BYTES_MAX, type: "hello" },
  { name: "just over", bytes: HANDSHAKE_PAYLOAD_BYTES_MAX + 1, type: "garbage" },
])(
  "HandshakeReader that is announced $name HANDSHAKE_PAYLOAD_BYTES_MAX says $type",
  ({ bytes, type }) => {
    const header = Uint8Array.of(0xc1, bytes >> 16, bytes >> 8, bytes);
    const early = type === "garbage" ? type : null;
    const [announced, whole] = read([header, new Uint8Array(bytes)]);
    assertEquals([announced, whole![1]], [[4, early], type]);
  },
);

Deno.test.each([
  { name: "nothing", payload: [] },
  { name: "half a length", payload: [0, 0] },
  { name: "less than announced", payload: [0, 0, 2, 65] },
])("decodeFlight() refuses $name", ({ payload }) => {
  assertEquals(decodeFlight(Uint8Array.from(payload)), null);
});
