// TLS goes on after ffi was given up, as the data-plane isolate does once it runs (spec/deno-runtime §9.3).
import { assertEquals } from "@std/assert";

const PROCESS = new URL("../../../tests/support/native_tls_process.ts", import.meta.url);
const ROUNDS = 300;

for (const verify of ["verdict", "library"]) {
  Deno.test(`TlsEngine works without ffi once it was made, verified by ${verify}`, async () => {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", "--no-check", PROCESS.href, `${ROUNDS}`, verify],
    }).output();
    const text = new TextDecoder();
    assertEquals([code, text.decode(stderr)], [0, ""]);
    assertEquals(JSON.parse(text.decode(stdout)), {
      bytes: 1000 * ROUNDS,
      refused: "WRONG_IDENTITY",
      alert: "TLS_ALERT",
      ffi: "prompt",
      garbage: 2000,
    });
  });
}
