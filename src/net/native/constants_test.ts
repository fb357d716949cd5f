import { assertEquals, assertThrows } from "@std/assert";
import { platformOf } from "./constants.ts";
import { NativeStartError } from "./start_error.ts";

Deno.test.each([
  { arch: "x86_64", epollEventBytes: 12, epollDataOffset: 4 },
  { arch: "aarch64", epollEventBytes: 16, epollDataOffset: 8 },
])("platformOf() lays out an epoll event on $arch", ({ arch, ...expected }) => {
  assertEquals(platformOf(arch), expected);
});

Deno.test("platformOf() refuses an architecture it has no numbers for", () => {
  assertThrows(() => platformOf("riscv64"), NativeStartError, "riscv64");
});
