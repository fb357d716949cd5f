// PEM blocks: what is read, what is not, and that hostile text costs one pass.
import { assertEquals, assertThrows } from "@std/assert";
import { PEM_LABEL_MAX, pemBlocks, PemError, pemText } from "./pem.ts";

const BYTES = new Uint8Array(100).map((_, at) => at);

Deno.test("pemText() is read back by pemBlocks()", () => {
  const text = pemText("CERTIFICATE", BYTES);
  assertEquals([...pemBlocks(text)], [{ label: "CERTIFICATE", der: BYTES }]);
  assertEquals(text.split("\n").map(({ length }) => length), [27, 64, 64, 8, 25, 0]);
});

Deno.test("pemBlocks() gives blocks in order and skips what is around them", () => {
  const one = pemText("CERTIFICATE", BYTES.subarray(0, 48));
  const two = pemText("X509 CRL", BYTES.subarray(0, 3)).replaceAll("\n", "\r\n");
  const blocks = [...pemBlocks(`subject=/CN=x\n${one}\n# more\n${two}the end`)];
  assertEquals(blocks.map(({ label, der }) => [label, der.length]), [["CERTIFICATE", 48], [
    "X509 CRL",
    3,
  ]]);
});

Deno.test.each([
  { name: "no text", text: "" },
  { name: "no block", text: "-----END CERTIFICATE-----\nAAAA" },
])("pemBlocks() finds nothing: $name", ({ text }) => {
  assertEquals([...pemBlocks(text)], []);
});

Deno.test.each([
  { name: "no end", text: "-----BEGIN CERTIFICATE-----\nAAAA\n" },
  { name: "another end", text: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END X-----\n" },
  { name: "a first line without end", text: "-----BEGIN CERTIFICATE" },
  { name: "a block in a block", text: "-----BEGIN A-----\n-----BEGIN A-----\n-----END A-----\n" },
  { name: "no base64", text: "-----BEGIN A-----\nAA*A\n-----END A-----\n" },
  { name: "cut base64", text: "-----BEGIN A-----\nAAA\n-----END A-----\n" },
  { name: "headers", text: "-----BEGIN A-----\nProc-Type: 4,X\n\nAAAA\n-----END A-----\n" },
  { name: "NUL", text: "-----BEGIN A-----\nAAAA\0\n-----END A-----\n" },
])("pemBlocks() refuses $name", ({ text }) => {
  assertThrows(() => [...pemBlocks(text)], PemError);
});

Deno.test.each([
  { length: PEM_LABEL_MAX - 1, isTaken: true },
  { length: PEM_LABEL_MAX, isTaken: true },
  { length: PEM_LABEL_MAX + 1, isTaken: false },
])("pemBlocks() meets a label of $length characters", ({ length, isTaken }) => {
  const text = pemText("A".repeat(length), BYTES);
  if (isTaken) assertEquals([...pemBlocks(text)][0]?.label.length, length);
  else assertThrows(() => [...pemBlocks(text)], PemError);
});

Deno.test("pemBlocks() reads no further than it is asked", () => {
  const { value } = pemBlocks(pemText("A", BYTES) + "-----BEGIN A-----\n").next();
  assertEquals(value?.label, "A");
});
