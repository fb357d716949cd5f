import { assertEquals } from "@std/assert";
import { NACK_PART_MAX, NACK_TEXT_MAX, NackText } from "./nack_text.ts";

Deno.test("NackText is null when nothing was rejected", () => {
  assertEquals(new NackText().text(), null);
});

Deno.test("NackText names each resource with its reason, conversions first", () => {
  const nack = new NackText();
  nack.add("d1", "decode: bad", "decode");
  nack.add("c1", "unknown address type", "convert");
  nack.add("d2", "XDS payload without resource", "decode");
  nack.add("c2", "x", "convert");
  assertEquals(
    nack.text(),
    "c1: unknown address type; c2: x; d1: decode: bad; d2: XDS payload without resource",
  );
});

Deno.test("NackText stays within NACK_TEXT_MAX and counts what it does not list", () => {
  const nack = new NackText();
  for (let index = 0; index < 100_000; index++) nack.add(`resource${index}`, "bad", "convert");
  const text = nack.text()!;
  assertEquals(text.length <= NACK_TEXT_MAX + 40, true);
  const listed = text.split("; ").length - 1;
  assertEquals(text.endsWith(`; and ${100_000 - listed} more`), true);
  assertEquals(nack.count, 100_000);
});

Deno.test("NackText cuts one resource's part at NACK_PART_MAX", () => {
  for (const over of [-1, 0, 1]) {
    const nack = new NackText();
    nack.add("n", "r".repeat(NACK_PART_MAX - 3 + over), "decode");
    assertEquals(nack.text()!.length, Math.min(NACK_PART_MAX, NACK_PART_MAX + over));
  }
});

Deno.test("NackText leaves room for as much as fits", () => {
  const nack = new NackText();
  for (let index = 0; index < 100; index++) nack.add("n", "r".repeat(NACK_PART_MAX), "decode");
  assertEquals(
    nack.text()!.endsWith(`; and ${100 - Math.floor(NACK_TEXT_MAX / (NACK_PART_MAX + 2))} more`),
    true,
  );
});
