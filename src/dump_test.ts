// What the dump says of the mesh file, whatever stands at its place.
import { assertEquals } from "@std/assert";
import { staticMesh } from "./dump.ts";
import { MESH_FILE_BYTES_MAX } from "./state/mesh_file.ts";

Deno.test("staticMesh() is the file's mesh, and empty without waiting for a pipe, a device or too large a file", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/mesh.yaml`;
  const names = (path: string) =>
    staticMesh({ kind: "file", path }).services.map((s) => s.service.name);
  try {
    const service = {
      name: "web",
      namespace: "ns",
      hostname: "web.ns",
      vips: [],
      ports: { 80: 80 },
    };
    const text = JSON.stringify({ workloads: [], services: [service], policies: [] });
    await Deno.writeTextFile(path, text);
    assertEquals(names(path), ["web"]);
    await Deno.writeTextFile(path, text.padEnd(MESH_FILE_BYTES_MAX + 1));
    assertEquals(names(path), []);
    await new Deno.Command("mkfifo", { args: [`${folder}/pipe`] }).output();
    assertEquals(names(`${folder}/pipe`), []);
    assertEquals(names("/dev/zero"), []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
