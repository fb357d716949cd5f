// A root file that is replaced, broken and mended while connections are made from it.
import { assertEquals, assertRejects } from "@std/assert";
import { MeshCa } from "../../tests/support/mesh_ca.ts";
import { ROOT_FILE_BYTES_MAX, RootFile } from "./root_file.ts";

const encode = (text: string) => new TextEncoder().encode(text);
const GARBAGE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

/** A disk with one file; null: it is gone. */
class World {
  file: string | null = "";
  readonly lines: unknown[][] = [];
  readonly #root = new RootFile("roots.pem", {
    readFile: (path) => {
      if (path !== "roots.pem") return Promise.resolve(encode(`as it is: ${path}`));
      if (this.file === null) return Promise.reject(new Deno.errors.NotFound("No such file"));
      return Promise.resolve(encode(this.file));
    },
    log: (...line) => void this.lines.push(line),
  });

  async read(path = "roots.pem"): Promise<string> {
    const { read } = this.#root;
    return new TextDecoder().decode(await read(path));
  }
}

Deno.test("RootFile gives what is in the file now", async () => {
  const world = new World();
  for (const _ of [1, 2]) {
    const { rootPem } = await MeshCa.create();
    world.file = `# our root\n${rootPem}`;
    assertEquals(await world.read(), rootPem);
  }
  assertEquals(world.lines, []);
});

Deno.test("RootFile skips certificates that cannot be read, in silence", async () => {
  const [one, two] = [await MeshCa.create(), await MeshCa.create()];
  const noBase64 = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
  const world = new World();
  world.file = one.rootPem + GARBAGE + noBase64 + two.rootPem;
  assertEquals(await world.read(), one.rootPem + two.rootPem);
  assertEquals(world.lines, []);
});

Deno.test.each([
  { name: "empty", file: "", why: "it has no certificate that can be used" },
  { name: "words", file: "no roots today", why: "it has no certificate that can be used" },
  { name: "garbage", file: GARBAGE, why: "it has no certificate that can be used" },
  { name: "gone", file: null, why: "No such file" },
])("RootFile keeps the last roots while the file is $name, and takes the next", async (row) => {
  const world = new World();
  const [old, fresh] = [await MeshCa.create(), await MeshCa.create()];
  world.file = old.rootPem;
  await world.read();
  world.file = row.file;
  assertEquals(await world.read(), old.rootPem);
  assertEquals(world.lines, [[
    "warn",
    "ztunnel::tls::control",
    "trust roots cannot be read; the last ones that could go on",
    { path: "roots.pem", error: row.why },
  ]]);
  world.file = fresh.rootPem;
  assertEquals(await world.read(), fresh.rootPem);
  world.file = row.file;
  assertEquals(await world.read(), fresh.rootPem);
});

Deno.test("RootFile keeps the last roots while the file is cut", async () => {
  const world = new World();
  const { rootPem } = await MeshCa.create();
  for (let length = 0; length < rootPem.trimEnd().length; length++) {
    world.file = rootPem;
    await world.read();
    world.file = rootPem.slice(0, length);
    assertEquals(await world.read(), rootPem);
  }
});

Deno.test("RootFile that never held a root tells what its reader told", async () => {
  const world = new World();
  world.file = "no roots today";
  assertEquals(await world.read(), "no roots today");
  world.file = null;
  await assertRejects(() => world.read(), Deno.errors.NotFound);
  assertEquals(world.lines, []);
});

Deno.test("RootFile leaves other files alone", async () => {
  assertEquals(await new World().read("token"), "as it is: token");
});

Deno.test.each([-1, 0, 1].map((over) => ({ over })))(
  "RootFile looks at files of up to ROOT_FILE_BYTES_MAX: $over more",
  async ({ over }) => {
    const [old, fresh] = [await MeshCa.create(), await MeshCa.create()];
    const world = new World();
    world.file = old.rootPem;
    await world.read();
    world.file = fresh.rootPem.padEnd(ROOT_FILE_BYTES_MAX + over, "\n");
    assertEquals(await world.read(), over > 0 ? old.rootPem : fresh.rootPem);
  },
);
