import { assert, assertEquals, assertFalse, assertThrows } from "@std/assert";
import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { PrivateKey } from "./private_key.ts";

function newKey(): { key: PrivateKey; der: Uint8Array<ArrayBuffer> } {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const der = new Uint8Array(privateKey.export({ type: "pkcs8", format: "der" }));
  return { key: new PrivateKey(der.slice()), der };
}

Deno.test("PrivateKey lends the DER it was made from", () => {
  const { key, der } = newKey();
  assertEquals(key.use((lent) => lent.slice()), der);
});

Deno.test("PrivateKey.pem is text that other software reads as the same key", () => {
  const { key, der } = newKey();
  const read = createPrivateKey(key.pem()).export({ type: "pkcs8", format: "der" });
  assertEquals(new Uint8Array(read), der);
});

Deno.test("PrivateKey.wipe overwrites the memory, and nothing can use it afterwards", () => {
  const memory = Uint8Array.of(1, 2, 3);
  const key = new PrivateKey(memory);
  assertFalse(key.isWiped);
  key.wipe();
  key.wipe();
  assert(key.isWiped);
  assertEquals(memory, Uint8Array.of(0, 0, 0));
  assertThrows(() => key.use(() => {}), Error, "wiped");
  assertThrows(() => key.pem(), Error, "wiped");
});

Deno.test("PrivateKey shows nothing of itself", () => {
  const { key, der } = newKey();
  const shown = `${JSON.stringify({ key })} ${Deno.inspect(key, { depth: 9 })} ${String(key)}`;
  assertFalse(shown.includes(key.pem().split("\n")[1]!.slice(0, 20)));
  assertFalse(shown.includes(Array.from(der.slice(0, 4)).join(", ")));
});
