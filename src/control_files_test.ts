// Root and token files as they are found on disks.
import { assertEquals, assertRejects } from "@std/assert";
import { OddCa } from "../tests/support/certificates.ts";
import { controlFileReader } from "./control_files.ts";
import { pemText } from "./identity/pem.ts";

Deno.test("roots that cannot be read are left out, the last good ones go on, and a token loses its line end", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const root = { kind: "file", path: `${folder}/root-cert.pem` } as const;
    const lines: string[] = [];
    const read = controlFileReader(
      { root },
      (level, _scope, text) => void lines.push(`${level} ${text}`),
    );
    const text = async (path: string) => new TextDecoder().decode(await read(path));
    const good = pemText("CERTIFICATE", new Uint8Array((await OddCa.root()).certificate.rawData));
    const bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    await assertRejects(() => read(root.path), Deno.errors.NotFound);
    await Deno.writeTextFile(root.path, bad + good);
    assertEquals((await text(root.path)).trim(), good.trim());
    await Deno.writeTextFile(root.path, "garbage");
    assertEquals((await text(root.path)).trim(), good.trim());
    assertEquals(lines, ["warn trust roots cannot be read; the last ones that could go on"]);
    await Deno.writeTextFile(`${folder}/token`, "secret\r\n");
    assertEquals(await text(`${folder}/token`), "secret");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("without a root file only the token is read", async () => {
  const path = await Deno.makeTempFile();
  await Deno.writeTextFile(path, "secret\n");
  const read = controlFileReader({ root: { kind: "system" } }, () => {});
  assertEquals(new TextDecoder().decode(await read(path)), "secret");
  await Deno.remove(path);
});
