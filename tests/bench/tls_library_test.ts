import { assertEquals } from "@std/assert";
import { isAtLeast, mappedLibcrypto, mappedOpenSslVersion, openSslVersion } from "./tls_library.ts";

Deno.test.each([
  {
    name: "finds the library among others",
    maps: "7f00-7f01 r-xp 00000000 08:01 12                         /usr/lib/libc.so.6\n" +
      "7f02-7f03 r-xp 00000000 08:01 13                         /opt/x/libcrypto-3a06.so.3\n",
    expected: "/opt/x/libcrypto-3a06.so.3",
  },
  { name: "is null without one", maps: "7f00-7f01 r-xp 00000000 08:01 12 /a/libssl.so.3\n" },
])("mappedLibcrypto() $name", ({ maps, expected }) => {
  assertEquals(mappedLibcrypto(maps), expected ?? null);
});

Deno.test.each([
  { text: "\0x\0OpenSSL 3.5.4 30 Sep 2025\0", expected: "3.5.4" },
  { text: "\0OpenSSL 3.0.17-dev 1 Jul 2025\0", expected: "3.0.17-dev" },
  { text: "OpenSSL 3.x", expected: null },
])("openSslVersion() reads $expected", ({ text, expected }) => {
  assertEquals(openSslVersion(new TextEncoder().encode(text)), expected);
});

Deno.test("mappedOpenSslVersion() is null of a process without OpenSSL", async () => {
  const sleeper = new Deno.Command("sleep", { args: ["60"] }).spawn();
  assertEquals(mappedOpenSslVersion(sleeper.pid), null);
  sleeper.kill("SIGKILL");
  await sleeper.status;
});

Deno.test.each([
  { version: "3.5.4", atLeast: "3.5", expected: true },
  { version: "3.10.0", atLeast: "3.5", expected: true },
  { version: "4.0.0", atLeast: "3.5", expected: true },
  { version: "3.0.17", atLeast: "3.5", expected: false },
])("isAtLeast($version, $atLeast) is $expected", ({ version, atLeast, expected }) => {
  assertEquals(isAtLeast(version, atLeast), expected);
});
