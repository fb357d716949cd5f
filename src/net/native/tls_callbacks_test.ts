// Lists of protocols, well formed and not. What the callbacks decide on peers is in tls_engine_test.ts.
import { assertEquals } from "@std/assert";
import { ALPN_BYTES_MAX, offersH2 } from "./tls_callbacks.ts";

const names = (...list: string[]) =>
  Uint8Array.from(list.flatMap((name) => [name.length, ...new TextEncoder().encode(name)]));

Deno.test.each([
  { name: "h2", list: names("h2"), expected: true },
  { name: "h2 at the end", list: names("http/1.1", "h3", "h2"), expected: true },
  { name: "h2 as part of a name", list: names("h2c", "xh2", "h"), expected: false },
  { name: "capitals", list: names("H2"), expected: false },
  { name: "nothing", list: names(), expected: false },
  { name: "a name cut off", list: names("http/1.1", "h2").subarray(0, -1), expected: false },
  { name: "a length beyond the end", list: Uint8Array.of(255, 2, 0x68, 0x32), expected: false },
  { name: "empty names", list: Uint8Array.of(0, 0, 0, 2, 0x68, 0x32), expected: true },
])("offersH2() $name: $expected", ({ list, expected }) => {
  assertEquals(offersH2(list, list.length), expected);
});

Deno.test("offersH2() of a whole buffer of anything ends (ALPN_BYTES_MAX)", () => {
  assertEquals(ALPN_BYTES_MAX, 4096);
  for (let fill = 0; fill < 256; fill++) {
    assertEquals(offersH2(new Uint8Array(ALPN_BYTES_MAX).fill(fill), ALPN_BYTES_MAX), false);
  }
});
