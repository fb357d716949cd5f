// Tests of mesh_file_follower.ts, on real files.
import { assertEquals, assertStringIncludes } from "@std/assert";
import { YOUNG_MS } from "./file_reading.ts";
import { type Look, MeshFileFollower } from "./mesh_file_follower.ts";
import { MESH_FILE_BYTES_MAX, type MeshFile, parseMeshFile } from "./state/mesh_file.ts";

const mesh = (uid: string) =>
  `workloads:\n  - { uid: ${uid}, namespace: n, workloadIps: [], services: {} }\n`;

class World implements AsyncDisposable {
  readonly folder = Deno.makeTempDirSync();
  readonly path = `${this.folder}/mesh.yaml`;
  readonly meshes: string[] = [];
  readonly lines: string[] = [];
  parses = 0;
  wallMs = Date.now();

  write(text: string | Uint8Array, path = this.path): void {
    if (typeof text === "string") Deno.writeTextFileSync(path, text);
    else Deno.writeFileSync(path, text);
  }

  follower(loaded?: string): MeshFileFollower {
    return new MeshFileFollower({
      path: this.path,
      clock: { wallMs: () => this.wallMs },
      log: (level, _scope, message, fields) => {
        const error = fields?.["error"];
        this.lines.push(`${level} ${message}${error === undefined ? "" : `: ${error}`}`);
      },
      parse: (text) => {
        this.parses++;
        return parseMeshFile(text, { source: "mesh.yaml" });
      },
      onMesh: (found: MeshFile) => this.meshes.push(found.workloads.map(({ uid }) => uid).join()),
      ...(loaded === undefined ? {} : {
        loadedDigest: parseMeshFile(loaded, { source: "mesh.yaml" }).digest!,
      }),
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Deno.remove(this.folder, { recursive: true });
  }
}

async function looks(follower: MeshFileFollower, count: number): Promise<Look[]> {
  const found: Look[] = [];
  while (found.length < count) found.push(await follower.look());
  return found;
}

Deno.test("MeshFileFollower takes a changed file once it stands still for a look", async () => {
  await using world = new World();
  world.write(mesh("a"));
  const follower = world.follower(mesh("a"));
  assertEquals(await looks(follower, 3), ["settling", "same", "same"]);
  world.write(mesh("bb"));
  assertEquals(await looks(follower, 3), ["settling", "loaded", "same"]);
  assertEquals(world.meshes, ["bb"]);
  assertEquals(world.lines, ["info mesh file reloaded"]);
  assertEquals(world.parses, 1);
});

Deno.test("MeshFileFollower takes whatever it finds first where nothing was loaded", async () => {
  await using world = new World();
  world.write(mesh("a"));
  assertEquals(await looks(world.follower(), 2), ["settling", "loaded"]);
});

Deno.test("MeshFileFollower does not read a file again that is old and unchanged", async () => {
  await using world = new World();
  world.write(mesh("a"));
  world.wallMs = Deno.statSync(world.path).mtime!.getTime() + YOUNG_MS - 1;
  const follower = world.follower();
  assertEquals(await looks(follower, 3), ["settling", "loaded", "same"], "young");
  world.wallMs++;
  assertEquals(await looks(follower, 2), ["same", "unchanged"]);
});

Deno.test("MeshFileFollower notices another text of the same size at the same time", async () => {
  await using world = new World();
  world.write(mesh("a"));
  const { mtime } = Deno.statSync(world.path);
  const follower = world.follower(mesh("a"));
  await looks(follower, 2);
  world.write(mesh("b"));
  Deno.utimeSync(world.path, mtime!, mtime!);
  assertEquals((await looks(follower, 2)).includes("loaded"), true);
  assertEquals(world.meshes, ["b"]);
});

Deno.test("MeshFileFollower waits for the rest of a file that is being written", async () => {
  await using world = new World();
  world.write(mesh("a"));
  const follower = world.follower(mesh("a"));
  await looks(follower, 2);
  const whole = mesh("b") + mesh("c").slice("workloads:\n".length);
  for (const end of [0, 12, mesh("b").length]) {
    world.write(whole.slice(0, end));
    assertEquals(await follower.look(), "settling");
  }
  world.write(whole);
  assertEquals(await looks(follower, 2), ["settling", "loaded"]);
  assertEquals(world.meshes, ["b,c"]);
  assertEquals(world.parses, 1);
});

Deno.test("MeshFileFollower keeps what is in use when the new text is wrong, and says so once", async () => {
  await using world = new World();
  const follower = world.follower(mesh("a"));
  world.write(`${mesh("a")}nonsense: 1\n`);
  assertEquals(await looks(follower, 4), ["settling", "refused", "refused", "refused"]);
  const wrong =
    "error mesh file is wrong, the mesh stays as it was: Cannot read mesh file mesh.yaml";
  const unknown =
    'line 3: the file has the unknown key "nonsense", known are workloads, services, policies';
  assertEquals(world.lines, [`${wrong}, ${unknown}`]);
  assertEquals(world.parses, 1);
  world.write("");
  assertEquals(await looks(follower, 2), ["settling", "refused"]);
  assertStringIncludes(world.lines[1]!, `${wrong}, line 1`);
  world.write(mesh("a"));
  assertEquals(await looks(follower, 3), ["settling", "same", "same"]);
  assertEquals(world.lines.slice(2), ["info mesh file is again what is in use"]);
  assertEquals(world.meshes, []);
});

Deno.test("MeshFileFollower follows a file that is replaced by renaming", async () => {
  await using world = new World();
  world.write(mesh("a"));
  const follower = world.follower(mesh("a"));
  await looks(follower, 2);
  world.write(mesh("b"), `${world.folder}/next`);
  Deno.renameSync(`${world.folder}/next`, world.path);
  assertEquals(await looks(follower, 2), ["settling", "loaded"]);
  assertEquals(world.meshes, ["b"]);
});

Deno.test("MeshFileFollower follows Kubernetes' swap of a mounted map", async () => {
  await using world = new World();
  const { folder } = world;
  const version = (name: string, text: string) => {
    Deno.mkdirSync(`${folder}/${name}`);
    world.write(text, `${folder}/${name}/mesh.yaml`);
    Deno.symlinkSync(name, `${folder}/..data_tmp`);
    Deno.renameSync(`${folder}/..data_tmp`, `${folder}/..data`);
  };
  version("..2026_01", mesh("a"));
  Deno.symlinkSync("..data/mesh.yaml", world.path);
  const follower = world.follower(mesh("a"));
  assertEquals(await looks(follower, 2), ["settling", "same"]);
  version("..2026_02", mesh("b"));
  Deno.removeSync(`${folder}/..2026_01`, { recursive: true });
  assertEquals(await looks(follower, 2), ["settling", "loaded"]);
  assertEquals(world.meshes, ["b"]);
});

Deno.test("MeshFileFollower keeps what is in use while the file is gone", async () => {
  await using world = new World();
  world.write(mesh("a"));
  const follower = world.follower(mesh("a"));
  await looks(follower, 2);
  Deno.removeSync(world.path);
  assertEquals(await looks(follower, 2), ["gone", "gone"]);
  assertEquals(world.lines, ["warn mesh file is gone, the mesh stays as it was"]);
  world.write(mesh("a"));
  assertEquals(await looks(follower, 2), ["settling", "same"]);
  Deno.removeSync(world.path);
  assertEquals(await follower.look(), "gone");
  world.write(mesh("b"));
  assertEquals(await looks(follower, 2), ["settling", "loaded"]);
  assertEquals(world.meshes, ["b"]);
});

Deno.test("MeshFileFollower reads files of MESH_FILE_BYTES_MAX", async () => {
  await using world = new World();
  const largest = new Uint8Array(MESH_FILE_BYTES_MAX + 1).fill(0x23);
  largest.set(new TextEncoder().encode(mesh("a")));
  world.write(largest.subarray(0, MESH_FILE_BYTES_MAX));
  const follower = world.follower();
  assertEquals(await looks(follower, 2), ["settling", "loaded"]);
  world.write(largest);
  assertEquals(await looks(follower, 3), ["settling", "refused", "refused"]);
  assertEquals(world.lines.slice(1), [
    "error mesh file is wrong, the mesh stays as it was: Cannot read mesh file " +
    `${world.path}: larger than ${MESH_FILE_BYTES_MAX} bytes`,
  ]);
});

Deno.test("MeshFileFollower refuses what is no text, no file, or not to be read", async () => {
  await using world = new World();
  const follower = world.follower(mesh("a"));
  world.write(new Uint8Array([0x77, 0xff, 0xfe]));
  assertEquals(await looks(follower, 2), ["settling", "refused"]);
  assertStringIncludes(world.lines[0]!, "it is no UTF-8 text");
  Deno.removeSync(world.path);
  Deno.mkdirSync(world.path);
  assertEquals(await looks(follower, 3), ["settling", "refused", "refused"]);
  assertStringIncludes(world.lines[1]!, "it is no file");
  Deno.removeSync(world.path);
  Deno.symlinkSync("mesh.yaml", world.path);
  assertEquals(await looks(follower, 2), ["refused", "refused"]);
  assertEquals(world.lines.length, 3);
});
